"""What commands print: one JSON value, or if quiet nothing unless something is wrong; every command alike."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flows.cli import main as cli
from flows.runs.results import ClipResult, DatasetSummary, Outcome
from tasks.core.errors import ClipError, FailureReason
from tasks.mapping.summary import ClipSummary
from tasks.review.log import DropPerson, append_change
from tests.review_outputs import Outputs, make_outputs


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(cli.app)))


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """Give an output root with overlays that the check finds in order."""
    return make_outputs(tmp_path, 3, overlays=True)


def run(*arguments: object, expect: int = 0) -> Any:
    """Run a command and return what it printed to standard output."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result.stdout


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_takes_json_and_quiet(words):
    """A script has to learn it once."""
    options = {name for parameter in COMMANDS[words].params for name in parameter.opts}
    assert {"--json", "--quiet"} <= options


def test_commands_answer_in_json_or_not_at_all(outputs, tmp_path):
    """One value on standard output; if quiet nothing where all is well, unless it was asked for by name."""
    pkl = outputs.clips[0].annotation_path
    cases: list[tuple[tuple[object, ...], str]] = [
        (("verify", outputs.root), "findings"),
        (("analyze", outputs.root), "charts"),
        (("apply-review", outputs.root), "corrected"),
        (("review-stats", outputs.root), "ranking"),
        (("convert", pkl, tmp_path / "a.pkl"), "files"),
        (("windows", pkl, tmp_path / "w.pkl", "--window", 10, "--stride", 5), "files"),
        (("learn-region-weights", outputs.root, tmp_path / "weights.json"), "weights"),
    ]
    for arguments, key in cases:
        assert key in json.loads(run(*arguments, "--json")), arguments
        assert run(*arguments, "--quiet") == "", arguments
    assert json.loads(run("explain", pkl, "--json"))[0]["people"][0]["rank"] == 1
    assert "movenet-multipose" in {row["name"] for row in json.loads(run("models", "list", "--json"))}
    assert "movenet-multipose" in run("models", "list", "--quiet").splitlines()


def test_what_is_wrong_is_told_if_quiet_too(outputs):
    """With the same exit code."""
    append_change(outputs.root, outputs.clips[0].frame_dir, "t", DropPerson(track_id=9))
    assert run("apply-review", outputs.root, "--quiet", expect=1) == (
        f"{outputs.clips[0].frame_dir}: drop: there is no person 9\n"
    )
    outputs.clips[1].overlay_path.unlink()
    assert "overlay missing" in run("verify", outputs.root, "--quiet", expect=1)
    assert json.loads(run("verify", outputs.root, "--json", expect=1))["ok"] is False


def test_doctor_tells_failed_checks_only_if_quiet(tmp_path, monkeypatch):
    """And all of them as JSON."""
    from flows.cli import doctor

    checks = [doctor.Check("one", True, "fine"), doctor.Check("two", False, "broken")]
    monkeypatch.setattr(doctor, "run_checks", lambda root: checks)
    quiet = run("doctor", "--quiet", expect=1)
    assert ("two" in quiet, "one" in quiet) == (True, False)
    assert [check["ok"] for check in json.loads(run("doctor", "--json", expect=1))] == [True, False]


def test_no_extraction_was_needed_only_if_every_clip_was_done(tmp_path, monkeypatch):
    """Of a clip that failed nothing of the kind is known."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"clip")
    found = ClipSummary(20, 2, [], {}, extracted=False)
    error = ClipError(FailureReason.NO_TRACKS, path, "nobody")
    results = [
        ClipResult("b.mp4", Outcome.FAILED, 1.0, error=error),
        ClipResult("a.mp4", Outcome.UNCHANGED, 1.0, found),
    ]
    monkeypatch.setattr("flows.cli.running.run_clips", lambda *arguments: DatasetSummary(results))
    told = run("annotate", path, "--output-root", tmp_path, expect=1)
    assert told.startswith(
        "2 clips: 0 annotated, 1 unchanged, 1 failed; pose extraction run for 0.\nFailed: 1 x NO_TRACKS;"
    )
    assert f"After that: fightpose retry-failed {tmp_path}" in told
    del results[0]
    told = run("annotate", path, "--output-root", tmp_path)
    assert told.startswith("1 clip: 0 annotated, 1 unchanged, 0 failed; pose extraction run for 0.\nNo pose extraction")


def test_a_run_is_told_clip_by_clip_in_json(tmp_path, monkeypatch):
    """With reasons of failures, and figures of the rest."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"clip")
    error = ClipError(FailureReason.NO_TRACKS, path, "nobody")
    found = ClipSummary(20, 2, [(1, 0.9), (2, 0.5)], {"poses": 1.0}, extracted=True)
    summary = DatasetSummary(
        [ClipResult("a.mp4", Outcome.ANNOTATED, 1.0, found), ClipResult("b.mp4", Outcome.FAILED, 1.0, error=error)]
    )
    monkeypatch.setattr("flows.cli.running.run_clips", lambda *arguments: summary)
    value = json.loads(run("annotate", path, "--output-root", tmp_path, "--json", expect=1))
    assert value["counts"] == {"annotated": 1, "unchanged": 0, "failed": 1}
    assert value["clips"][0]["found"]["people"] == 2
    assert (value["clips"][1]["reason"], value["clips"][1]["info"]) == ("NO_TRACKS", "nobody")
    assert run("annotate", path, "--output-root", tmp_path, "--quiet", expect=1) == ""


def test_the_list_of_commands_is_whole_and_in_the_order_of_need():
    """What each does is not cut off in 80 columns; people start with the first four."""
    text = run("-h")
    listed = [line.split(maxsplit=1) for line in text.partition("Commands:\n")[2].splitlines()]
    assert [name for name, _ in listed[:4]] == ["annotate", "demo", "verify", "review"]
    too_long = [name for name, words in listed if len(words) > 45 or words.endswith("...")]
    assert too_long == []
    assert run("--version").startswith("fightpose ")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_does_and_every_number_has_bounds(words):
    """Nobody has to read the source to know what a number counts, or to find out what it must not be."""
    command = COMMANDS[words]
    with command.make_context(words[-1], [], resilient_parsing=True) as context:
        for parameter in command.get_params(context):
            shown = " ".join(" ".join(parameter.get_help_record(context) or ("", "")).split())
            assert parameter.help, parameter.name
            assert not re.search(r"<(int|float)>|[\[; ]x[<>]=", shown), shown


def test_findings_are_one_line_each_with_sums_and_what_mends_them(outputs):
    """In the order of the clips; a few are listed without sums."""
    for clip in outputs.clips[:2]:
        clip.overlay_path.unlink()
    lines = run("verify", outputs.root, expect=1).splitlines()
    assert len([line for line in lines if line.startswith("overlay missing: ")]) == 2
    assert "2 x overlay missing" in lines
    assert f"To mend them: fightpose verify {outputs.root} --quarantine --fix" in lines


def test_the_end_of_a_run_lists_ten_lines_of_a_kind(tmp_path, monkeypatch):
    """And one command that shows the rest."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"clip")
    findings = [f"output out of date: {number}" for number in range(280)]
    summary = DatasetSummary([], mapping_ok=False, mapping_lines=findings)
    monkeypatch.setattr("flows.cli.running.run_clips", lambda *arguments: summary)
    told = run("annotate", path, "--output-root", tmp_path, expect=1)
    assert told.count("output out of date") == 10
    assert f"270 more: fightpose verify {tmp_path}" in told


def test_settings_are_listed_and_the_example_is_toml(tmp_path):
    """What is printed can be used as it is."""
    assert "tracking.track_min_hits = 3 detections" in run("settings")
    example = tmp_path / "a.toml"
    example.write_text(run("settings", "--example", "--quiet"))
    assert tomllib.loads(example.read_text())["selection"] == {}
    assert {row["key"] for row in json.loads(run("settings", "--json"))} >= {"poses.model", "limits.time_limit"}
