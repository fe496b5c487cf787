"""Names of files are hostile: what a terminal, a spreadsheet or another locale would make of them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flows.cli import main as cli
from tasks.annotations.convert.tables import write_csv
from tasks.annotations.format import read_annotation, write_annotation
from tasks.clips.failures import log_failure
from tasks.core.errors import FailureReason
from tasks.core.text import FORMULA_STARTS
from tasks.report.write import CSV_NAME, write_report
from tasks.review.log import DropPerson, append_change
from tests.command_line import COMMAND_LINE, run_alone
from tests.flows.cli.test_output import COMMANDS
from tests.review_outputs import Outputs, make_outputs
from tests.tasks.samples import sample_annotation

HOSTILE = "\x1b]0;owned\x07\x1b[31m\r\x9b2J\u202e"
"""Sets a title, colours, goes back in the line, clears the screen, and turns the direction of writing."""

ARGUMENTS: dict[tuple[str, ...], list[str]] = {
    ("annotate",): ["{set}", "--output-root", "{new}", "--dry-run"],
    ("verify",): ["{root}"],
    ("apply-review",): ["{root}"],
    ("retry-failed",): ["{new}"],
    ("analyze",): ["{root}"],
    ("explain",): ["{pkl}"],
    ("convert",): ["{root}", "{new}", "--to", "csv"],
    ("windows",): ["{pkl}", "{new}.pkl", "--window", "10"],
    ("import-poses",): ["{set}", "{set}", "--output-root", "{new}"],
    ("import-review",): ["{new}", "{root}"],
    ("training",): ["{root}"],
    ("purge",): ["{root}", "--yes"],
    ("settings",): ["--example"],
    ("doctor",): ["--output-root", "{new}"],
    ("learn-region-weights",): ["{root}", "{new}.json"],
    ("review-stats",): ["{root}"],
    ("tune",): ["{root}"],
    ("export-model",): ["{new}", "{new}", "{new}"],
    ("quantize-model",): ["{new}", "{set}"],
    ("models", "list"): [],
    ("models", "fetch"): ["{new}"],
    ("review",): ["{new}"],
}
"""What each command is called with: an output root whose names are all hostile, or a path that is not there."""

NAMELESS = {("settings",), ("models", "list"), ("purge",), ("review-stats",)}
"""Commands that have no name to print about this output root."""

SERVERS = {("demo",), ("up",)}
"""Commands that take no name."""


def hostile_outputs(folder: Path) -> Outputs:
    """Return an output root whose every name is hostile, with a broken annotation, a failure and a correction."""
    below = folder / f"a{HOSTILE}"
    below.mkdir()
    outputs = make_outputs(below, 4, names=[f"{number}{HOSTILE}.mp4" for number in range(4)])
    outputs.clips[3].annotation_path.write_bytes(b"broken")
    log_failure(outputs.root, outputs.clips[2].path, outputs.clips[2].frame_dir, FailureReason.NO_TRACKS, HOSTILE)
    append_change(outputs.root, outputs.clips[0].frame_dir, HOSTILE, DropPerson(track_id=1))
    return outputs


def test_the_table_holds_every_command():
    """A new command is asked, too."""
    assert set(COMMANDS) == set(ARGUMENTS) | SERVERS


@pytest.mark.parametrize("words", ARGUMENTS, ids=" ".join)
def test_no_command_prints_what_a_terminal_obeys(tmp_path, monkeypatch, capfd, words):
    """Neither results nor warnings nor errors, in text and in JSON."""
    outputs = hostile_outputs(tmp_path)
    places = {
        "root": outputs.root,
        "set": outputs.clips[0].path.parents[1],
        "pkl": outputs.clips[0].annotation_path,
        "new": outputs.root.parent / f"new{HOSTILE}",
    }
    typed = [argument.format(**places) for argument in ARGUMENTS[words]]
    for form in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["fightpose", *words, *typed, *form])
        with pytest.raises(SystemExit):
            cli.main()
        printed = "".join(capfd.readouterr())
        assert [char for char in printed if not char.isprintable() and char != "\n"] == []
        if words not in NAMELESS:
            # Something was printed about it, so that the test can fail.
            assert "owned" in printed or "\\u202e" in printed, printed


def test_log_lines_of_a_command_are_printable(tmp_path):
    """Warnings of the steps reach the terminal of a command that starts no server by Python's own last resort."""
    outputs = hostile_outputs(tmp_path)
    for words in ("verify", "analyze", "training"):
        done = run_alone(words, outputs.root)
        assert [char for char in done.stdout + done.stderr if not char.isprintable() and char != "\n"] == []


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_no_table_holds_a_formula(tmp_path, start):
    """Identifiers and classes come from foreign files and folders: every CSV that is written marks them as text."""
    name = f'{start}HYPERLINK("x")'
    annotation = sample_annotation(2, 20) | {"frame_dir": name, "class_name": name}
    write_csv(tmp_path / "poses.csv", annotation)
    outputs = make_outputs(tmp_path, 2)
    path = outputs.clips[0].annotation_path
    write_annotation(path, [annotation])
    # The data set of a foreign program, with a card.
    data = {"split": {"train": [name]}, "annotations": [annotation], "classes": {"0": name}}
    from tasks.training.card import write_card

    write_report(outputs.root)
    tables = [tmp_path / "poses.csv", outputs.root / CSV_NAME]
    tables += [made for made in write_card(outputs.root / "dataset.pkl", data) if made.suffix == ".csv"]
    assert len(tables) == 3
    for table in tables:
        with table.open(encoding="utf-8", newline="") as lines:
            cells = [cell for row in csv.reader(lines) for cell in row]
        assert [cell for cell in cells if cell.startswith(FORMULA_STARTS) and not _is_number(cell)] == []
        assert any("HYPERLINK" in cell for cell in cells) or table.name == CSV_NAME


def _is_number(cell: str) -> bool:
    """Tell whether a cell is a number, which no spreadsheet runs."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


LOCALES = {
    "POSIX without UTF-8": {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "EUC-KR": {"LC_ALL": "ko_KR.euckr"},
    "UTF-8": {"LC_ALL": "C.UTF-8"},
}


@pytest.fixture(scope="module")
def euc_kr(tmp_path_factory):
    """Give the folder of a Korean locale of old, made here: few machines have it any more."""
    folder = tmp_path_factory.mktemp("locales")
    made = ["localedef", "-f", "EUC-KR", "-i", "ko_KR", str(folder / "ko_KR.euckr")]
    try:
        subprocess.run(made, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no locale can be made here: {error}")
    environment = {**os.environ, "LOCPATH": str(folder), **LOCALES["EUC-KR"]}
    environment.pop("PYTHONUTF8", None)
    program = "import sys; print(sys.getfilesystemencoding())"
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "euc_kr"
    return folder


@pytest.mark.parametrize("locale", LOCALES)
def test_names_mean_the_same_under_every_locale(tmp_path, euc_kr, locale):
    """Found, checked and written as under UTF-8: no phantom clips, no other names in the files."""
    stem = "싸움 1번"
    outputs = make_outputs(tmp_path, 2, names=[f"{stem}.mp4", "가.mp4"])
    environment = {"LOCPATH": euc_kr, "PYTHONUTF8": None, **LOCALES[locale]}
    plan = run_alone(
        "annotate", tmp_path / "set", "--output-root", tmp_path / "new", "--dry-run", "--json", **environment
    )
    assert f"Fight/{stem}.mp4" in json.loads(plan.stdout)["to_do"], plan.stderr
    # Exit code 1 for missing overlays; the clips that it names are those that there are.
    found = json.loads(run_alone("verify", outputs.root, "--json", **environment).stdout)["findings"]
    assert {finding["clip"] for finding in found} <= {clip.frame_dir for clip in outputs.clips}
    done = run_alone("convert", outputs.root, tmp_path / f"{stem}.pkl", "--json", **environment)
    assert done.returncode == 0, done.stderr
    read = read_annotation(tmp_path / f"{stem}.pkl")["annotations"]
    assert {one["frame_dir"] for one in read} == {clip.frame_dir for clip in outputs.clips}
    assert all(np.isfinite(one["keypoint"]).all() for one in read)


def test_where_utf8_cannot_be_had_the_request_is_one_line(tmp_path):
    """An interpreter that ignores the environment: no new process starts another without end."""
    make_outputs(tmp_path, 1)
    command = [COMMAND_LINE[0], "-X", "utf8=0", *COMMAND_LINE[1:]]
    environment = {**os.environ, "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}
    typed = ["annotate", str(tmp_path / "set"), "--output-root", str(tmp_path / "new"), "--dry-run"]
    done = subprocess.run([*command, *typed], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: this process reads file names as ascii; set PYTHONUTF8=1 in its environment, before it starts"
    ]
