"""Reviewed clips teach what was said of them; what cannot teach is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.annotations.format import write_annotation
from tasks.core.errors import FightposeError
from tasks.poses.stored import poses_of_content
from tasks.review.log import Change, DropPerson, MergeTracks, Role, SetChecked, SetRole, append_change
from tasks.tuning.page import PAGE_NAME
from tasks.tuning.reviewed import read_reviewed
from tasks.tuning.tune import SETTINGS_NAME
from tests.review_outputs import Outputs, make_outputs
from tests.tasks.samples import SETTINGS, sample_annotation, sample_tracks

FIGHT = (SetRole(track_id=3, role=Role.FIGHTER), SetRole(track_id=2, role=Role.FIGHTER))
STAND = SetRole(track_id=1, role=Role.BYSTANDER)


def reviewed_outputs(folder: Path, count: int = 4, models: tuple[str, ...] = ("model",)) -> Outputs:
    """Return an output root whose annotations name their clip's content and model, with stored poses."""
    outputs = make_outputs(folder, count)
    for number, clip in enumerate(outputs.clips):
        made = {"model": "m", "model_key": models[number % len(models)], "video_sha256": f"{number:064d}"}
        annotation = sample_annotation(frames=40) | {"frame_dir": clip.frame_dir, "label": clip.label}
        write_annotation(clip.annotation_path, [annotation | {"provenance": made}])
        path = poses_of_content(outputs.root, made["video_sha256"], made["model_key"], SETTINGS.poses)
        sample_tracks(frames=40).poses.save(path)
    return outputs


def say(outputs: Outputs, number: int, *changes: Change) -> None:
    """Write corrections of a clip."""
    for change in changes:
        append_change(outputs.root, outputs.clips[number].frame_dir, "tester", change)


def test_roles_merges_and_drops_say_who_is_who(tmp_path: Path) -> None:
    """Each person at every half second, under the ID that was kept; a dropped one is not known."""
    outputs = reviewed_outputs(tmp_path)
    say(outputs, 0, *FIGHT, STAND)
    say(outputs, 1, *FIGHT, MergeTracks(into=3, other=1))
    say(outputs, 2, *FIGHT, DropPerson(track_id=1))
    cases = {case.label.clip: case.label for case in read_reviewed(outputs.root).cases}
    assert len(cases) == 3
    people = [
        {(person["person"], person["role"]) for known in cases[clip.frame_dir].frames.values() for person in known}
        for clip in outputs.clips[:3]
    ]
    fighters = {(3, "fighter"), (2, "fighter")}
    assert people == [fighters | {(1, "bystander")}, fighters, fighters]
    assert cases[outputs.clips[0].frame_dir].judged
    step = round(0.5 * sample_annotation()["fps"])
    assert set(cases[outputs.clips[0].frame_dir].frames) == set(range(step // 2, 40, step))


def test_a_checked_fight_confirms_its_first_two(tmp_path: Path) -> None:
    """A checked clip of another class, and one that was only labelled, say nothing of people."""
    outputs = reviewed_outputs(tmp_path)
    for number in range(4):
        say(outputs, number, SetChecked(checked=True))
    cases = read_reviewed(outputs.root).cases
    assert [case.label.clip for case in cases] == [clip.frame_dir for clip in outputs.clips if clip.label == 1]
    assert {p["person"] for people in cases[0].label.frames.values() for p in people} == {3, 2}


def test_what_cannot_teach_is_one_clear_line(tmp_path: Path) -> None:
    """No reviewed clip, poses that are gone, corrections that contradict each other, two models."""
    outputs = reviewed_outputs(tmp_path / "none")
    with pytest.raises(FightposeError, match="no reviewed clip"):
        read_reviewed(outputs.root)
    say(outputs, 0, *FIGHT)
    for path in (outputs.root / ".fightpose" / "poses").rglob("*.npz"):
        path.unlink()
    with pytest.raises(FightposeError, match="poses are gone; run annotate again"):
        read_reviewed(outputs.root)
    outputs = reviewed_outputs(tmp_path / "contradict")
    say(outputs, 0, *FIGHT, DropPerson(track_id=3), SetRole(track_id=3, role=Role.FIGHTER))
    with pytest.raises(FightposeError, match="contradict"):
        read_reviewed(outputs.root)
    outputs = reviewed_outputs(tmp_path / "models", models=("one", "two"))
    for number in range(4):
        say(outputs, number, *FIGHT)
    with pytest.raises(FightposeError, match="2 pose models"):
        read_reviewed(outputs.root)
    with pytest.raises(FightposeError, match="no output folder"):
        read_reviewed(tmp_path / "nowhere")


def test_the_command_reports_and_keeps_the_defaults_where_nothing_gains(tmp_path: Path) -> None:
    """Everyone is found as it is: no settings file is written, and the page says so."""
    outputs = reviewed_outputs(tmp_path, count=2)
    for number in range(2):
        say(outputs, number, *FIGHT, STAND)
    result = CliRunner().invoke(app, ["tune", str(outputs.root), "--num-workers", "1"])
    assert result.exit_code == 0, result.output
    assert "Keep the defaults" in result.output
    assert not (outputs.root / SETTINGS_NAME).exists()
    page = (outputs.root / PAGE_NAME).read_text(encoding="utf-8")
    assert "Keep the defaults" in page
    assert "<script" not in page
    value = json.loads(CliRunner().invoke(app, ["tune", str(outputs.root), "--num-workers", "1", "--json"]).stdout)
    assert value["settings"] == {}
    assert value["clips"] == 2
