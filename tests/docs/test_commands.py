"""The command lines of the docs run: those that take seconds on tiny outputs, of all others the help."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tests.docs.test_docs import FENCE, HISTORY, PAGES, ROOT, command_lines, commands
from tests.review_outputs import make_outputs

QUICK = {"analyze", "apply-review", "convert", "explain", "learn-region-weights", "models list", "review-stats"}
QUICK |= {"purge", "settings", "training", "verify", "windows"}
"""Commands that need no model, no server and no second program."""

PLANNED = {"annotate"}
"""Commands that are run with `--dry-run`: everything but the work itself."""

ELSEWHERE = {"--fix", "--mode pool", "--config", "--region-weights", "--calibrate", "OLD.pkl"}
"""What a line needs that tiny outputs lack: a server, a model, a checkpoint, files of earlier commands or programs."""


def typed() -> list[str]:
    """Return every command line of the pages once, without those that only name a command in a sentence."""
    lines = {tuple(words) for page in PAGES if page.name not in HISTORY for words in command_lines(page.read_text())}
    return sorted(" ".join(words) for words in lines if words[0] not in {"...", "COMMAND"})


def typed_of_others() -> list[str]:
    """Return every command line of another program that a page names in code, once."""
    found = set()
    for page in PAGES:
        if page.name not in HISTORY:
            text = page.read_text()
            lines = [line.strip() for block in FENCE.findall(text) for line in block.splitlines()]
            lines += [line.strip() for line in text.splitlines() if line.startswith("    ")]
            lines += re.findall(r"`([^`\n]+)`", text)
            found.update(line for line in lines if re.match(r"(prefect|python -m|\.ci/run)\b(?! [=>])", line))
    return sorted(found - {"prefect"})


@pytest.mark.parametrize("line", typed_of_others())
def test_a_command_line_of_another_program_is_understood(line):
    """Prefect's by its help, modules and scripts of this repository by their source: each option is there."""
    words = shlex.split(line)
    options = {word for word in words if word.startswith("--")}
    if words[0] == "prefect":
        # Options of prefect itself come before the command.
        names = [word for word in itertools.dropwhile(lambda word: word.startswith("-"), words[1:]) if word.isascii()]
        command = list(itertools.takewhile(lambda word: not word.startswith("-"), names))
        command = [word for word in command if word not in {"gpu", "N"}]
        program = Path(sys.executable).with_name("prefect")
        said = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        known = said.stdout + subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    elif words[0] == "python":
        # A package is run by its __main__.
        place = ROOT / words[2].replace(".", "/")
        known = "".join(path.read_text() for path in [place.with_suffix(".py"), *place.glob("*.py")] if path.exists())
        assert known, f"no module {words[2]}"
    else:
        known = (ROOT / words[0]).read_text()
    assert [option for option in options if option not in known] == []


def name_of(words: list[str]) -> str:
    """Return the command of a line: one word or two."""
    both = " ".join(words[:2])
    return both if both in commands() else words[0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """Give a folder with `set`, four clips, and `out`, their outputs with overlays."""
    folder = tmp_path_factory.mktemp("docs")
    make_outputs(folder, 4, overlays=True)
    return folder


@pytest.mark.parametrize("line", typed())
def test_a_command_line_of_the_docs_runs(line, tiny, tmp_path, monkeypatch):
    """With the placeholders of the docs replaced by real folders and files; nothing ends in a traceback."""
    words = line.split()
    name = name_of(words)
    if name not in commands():
        return
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    annotation = next(Path("out").rglob("*_annotation.pkl"))
    stands_for = {
        "/data/clips": "set", "IN": "set", "CLIPS": "set", "/data/out": "out", "/data/out2": "out2",
        "FILE.pkl": str(annotation), "CLIP_enhanced_stgcn_annotation.pkl": str(annotation),
    }  # fmt: skip
    # `OUT` is an output folder, but what `convert` writes.
    stands_for["OUT"] = "converted" if name == "convert" else "out"
    arguments = [stands_for.get(word, word) for word in words]
    complete = len(words) > len(name.split()) or name in {"models list"}
    runs = complete and (name in QUICK or name in PLANNED) and not any(part in line for part in ELSEWHERE)
    if not runs or ("windows.pkl" in line and name == "training"):
        arguments = [*name.split(), "--help"]
    elif name in PLANNED:
        arguments.append("--dry-run")
    # What asks before it removes files is told to go on.
    done = CliRunner().invoke(app, arguments, input="y\n")
    # 1 says that a check found something, as these outputs without a model have it.
    assert done.exit_code in (0, 1), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
