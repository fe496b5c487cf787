"""How a run starts and ends: what is refused at once, and what an interruption costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.cli.main import main
from tasks.core.choices import Tracker
from tests.command_line import COMMAND_LINE, run_alone
from tests.flows.cli.recorded import recording
from tests.video_factory import plain_frames, write_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with one clip."""
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4", plain_frames(3))
    return tmp_path / "in"


REFUSED = [
    (("--model", "rtm0-s"), "unknown model 'rtm0-s'"),
    (("--device", "gpu"), "unknown device 'gpu'"),
    (("--device", "cuda:0"), "does not run on 'cuda:0'"),
    (("--runtime", "tensorrt"), "'tensorrt' is not one of"),
    (("--precision", "int8"), "has no int8 form"),
    (("--labels", "nowhere.csv"), "nowhere.csv"),
    (("--settings", "nowhere.toml"), "cannot read the settings"),
    (("--region-weights", "nowhere.json"), "cannot read the region weights"),
    (("--include", "*.mov"), "none of the 1 clips is left"),
    (("--list", "nowhere.txt"), "cannot read the list of clips"),
    (("--time-limit", "inf"), "less than or equal to 604800"),
    (("--time-limit", "nan"), "less than or equal to 604800"),
    (("--max-persons", "99999999999999999999"), "less than or equal to 100"),
    (("--classes", "Fight=99999999999999999999"), "is not name=number"),
    (("--classes", "Fight=10000"), "class numbers lie in 0 to 9999"),
    (("--second-look", "off", "--look-budget", "2"), "look_budget has no effect"),
    (("--no-adaptive", "--region-rounds", "2"), "region_rounds has no effect"),
    (("--max-person", "2"), "No such option"),
]


@pytest.mark.parametrize(
    ("options", "why"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_request_that_cannot_be_carried_out_ends_at_once(folder, options, why, monkeypatch):
    """Exit code 2, one JSON value with the reason, no server, no lock, no line in the failure log."""
    from flows.cli import main

    monkeypatch.setattr("flows.cli.running.with_server", lambda *arguments, **named: pytest.fail("a server is started"))
    out = folder.parent / "out"
    arguments = ["annotate", str(folder), "--output-root", str(out), "--json", *options]
    monkeypatch.setattr("sys.argv", ["fightpose", *arguments])
    printed: list[str] = []
    monkeypatch.setattr("typer.echo", lambda line="", err=False, **rest: err or printed.append(line))
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 2
    value = json.loads("\n".join(printed))
    assert value["ok"] is False
    assert why in value["error"]
    assert "Value error" not in value["error"]
    assert not list(out.rglob("*")) if out.exists() else True


WITHOUT_FOLDER = {
    "retry": ["retry-failed", "{out}"],
    "verify": ["verify", "{out}"],
    "analyze": ["analyze", "{out}"],
    "review": ["review", "{out}"],
    "apply": ["apply-review", "{out}"],
    "no poses": ["import-poses", "{empty}", "{folder}", "--output-root", "{out}"],
    "purge": ["purge", "{out}", "--yes"],
    "windows": ["windows", "{out}", "{out}.pkl"],
    "training": ["training", "{out}"],
    "statistics": ["review-stats", "{out}"],
    "tune": ["tune", "{out}"],
    "learn": ["learn-region-weights", "{out}", "{out}.json"],
}
"""Requests that cannot be carried out, for an output folder that is not there."""


@pytest.mark.parametrize("words", WITHOUT_FOLDER)
def test_a_refused_request_is_one_line_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys, words):
    """Neither an empty output folder nor a lock nor a file, whichever command it is."""
    (tmp_path / "empty").mkdir()
    places = {"folder": folder, "empty": tmp_path / "empty", "out": tmp_path / "out"}
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["fightpose", *(part.format(**places) for part in WITHOUT_FOLDER[words])])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "rror: " in capsys.readouterr().err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_self_check_leaves_nothing(tmp_path):
    """It writes for trial, into a folder that may not be there yet."""
    from flows.cli.doctor import run_checks

    found = [check.found for check in run_checks(tmp_path / "out")]
    assert f"{tmp_path / 'out'} can be written" in found
    assert any("free" in text for text in found)
    assert not (tmp_path / "out").exists()


def test_a_tracker_that_is_not_installed_is_refused_before_extraction(folder, monkeypatch):
    """Hours of it were lost before."""
    from tasks.core.errors import FightposeError
    from tasks.tracking import baselines

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FightposeError, match="needs the package trackers"):
        baselines.require_tracker(Tracker.SORT)
    baselines.require_tracker(Tracker.FIGHTPOSE)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(folder):
    """Not even the output folder is made."""
    out = folder.parent / "out"
    run = run_alone("annotate", folder, "--output-root", out, "--dry-run", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["to_do"] == ["a.mp4"]
    assert not out.exists()


def test_an_interrupted_start_ends_with_one_line_and_leaves_no_server(folder):
    """While Prefect is loaded and its server starts."""
    command = [*COMMAND_LINE, "annotate", str(folder), "--output-root", str(folder.parent / "out")]
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment["PREFECT_HOME"] = str(folder.parent / "home")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stderr is not None
        assert run.stderr.readline().rstrip() == recording("interrupted_start.txt").splitlines()[0]
        first = run.stderr.readline().rstrip()
        run.send_signal(signal.SIGINT)
        servers = psutil.Process(run.pid).children()
        errors = run.communicate(timeout=300)[1]
    assert run.returncode == 130, errors
    assert [first, *errors.splitlines()][-2:] == recording("interrupted_start.txt").splitlines()[-2:]
    assert psutil.wait_procs(servers, timeout=300)[1] == []
