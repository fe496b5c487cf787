"""The commands of reviewing, and settings from a file."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import pytest
from typer.testing import CliRunner

from flows.cli import main as cli
from flows.cli.output import Output
from flows.cli.review import serve
from flows.runs.results import DatasetSummary
from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tasks.review.log import DropPerson, Role, SetOrder, SetRole, append_change
from tests.command_line import COMMAND_LINE
from tests.review_outputs import make_outputs


def run(*arguments: object, expect: int = 0) -> str:
    """Run a command in this process and return what it prints."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result.output


def test_apply_review_tells_what_it_did_and_what_does_not_fit(tmp_path):
    """Exit code 1 where something does not."""
    outputs = make_outputs(tmp_path, 3)
    assert json.loads(run("apply-review", outputs.root, "--json"))["corrected"] == []
    append_change(outputs.root, outputs.clips[0].frame_dir, "t", SetOrder(track_ids=(1,)))
    assert "1 annotations corrected, 0 restored" in run("apply-review", outputs.root)
    append_change(outputs.root, outputs.clips[0].frame_dir, "t", DropPerson(track_id=9))
    assert "there is no person 9" in run("apply-review", outputs.root, expect=1)


def test_review_stats_as_json_and_into_a_file(tmp_path):
    """The figures are the same as in the text; what is not known is null."""
    outputs = make_outputs(tmp_path, 2)
    assert json.loads(run("review-stats", outputs.root, "--json"))["ranking"]["p_at_2"] is None
    for track_id, role in ((3, Role.BYSTANDER), (2, Role.FIGHTER), (1, Role.FIGHTER)):
        append_change(outputs.root, outputs.clips[0].frame_dir, "t", SetRole(track_id=track_id, role=role))
    assert json.loads(run("review-stats", outputs.root, "--json"))["ranking"]["p_at_2"] == 0.5
    assert "p_at_2         0.500" in run("review-stats", outputs.root)


def test_analyze_against_another_run(tmp_path):
    """What differs is listed."""
    one, other = make_outputs(tmp_path / "one", 2), make_outputs(tmp_path / "other", 3)
    assert "set/Walk/clip2" in run("analyze", other.root, "--against", one.root)


def test_typed_options_win_over_the_settings_file(tmp_path, monkeypatch):
    """The file wins over the defaults."""
    file, path = tmp_path / "settings.toml", tmp_path / "a.mp4"
    path.write_bytes(b"clip")
    file.write_text("[selection]\nmax_persons = 6\nmin_track_length = 5\n[scoring]\nwindow_seconds = 2.0\n")
    found: list[Settings] = []
    monkeypatch.setattr(
        "flows.cli.running.run_clips", lambda work, output: found.append(work.settings) or DatasetSummary()
    )
    run("annotate", path, "--output-root", tmp_path, "--settings", file, "--max-persons", "2")
    assert (found[0].selection.max_persons, found[0].selection.min_track_length) == (2, 5)
    assert found[0].scoring.window_seconds == 2.0


def test_classes_of_a_typed_pattern_may_stand_in_the_settings_file(tmp_path, monkeypatch):
    """The two are checked together, and refused together."""
    file, path = tmp_path / "settings.toml", tmp_path / "a.mp4"
    path.write_bytes(b"clip")
    found: list[Settings] = []
    monkeypatch.setattr(
        "flows.cli.running.run_clips", lambda work, output: found.append(work.settings) or DatasetSummary()
    )
    typed = ("annotate", path, "--output-root", tmp_path, "--label-pattern", "cam(.)", "--settings", file, "--quiet")
    file.write_text("[dataset.classes]\nx = 1\n")
    run(*typed)
    assert (found[0].dataset.label_pattern, found[0].dataset.classes) == ("cam(.)", {"x": 1})
    file.write_text("[tracking]\ntrack_min_hits = 2\n")
    result = CliRunner().invoke(cli.app, [str(part) for part in typed])
    assert "label_pattern needs classes" in str(result.exception)


def test_review_serves_until_it_is_stopped(tmp_path):
    """The printed address opens, another one does not, and Ctrl-C is a normal end."""
    outputs = make_outputs(tmp_path, 2)
    command = [*COMMAND_LINE, "review", str(outputs.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            url = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S{32}", server.stdout.readline())[0]
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            assert b"fightpose review" in opener.open(url, timeout=60).read()
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(url.partition("?")[0], timeout=60)  # noqa: S310 - our own address
        finally:
            server.send_signal(signal.SIGINT)
            output, errors = server.communicate(timeout=60)
    assert (server.returncode, errors) == (0, "")
    assert "Corrections are kept" in output


def test_a_port_that_is_taken_is_one_line(tmp_path):
    """Nothing else is tried in its place."""
    outputs = make_outputs(tmp_path, 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(FightposeError, match="cannot be used"):
            serve(outputs.root, other.getsockname()[1], "tester", Output())
