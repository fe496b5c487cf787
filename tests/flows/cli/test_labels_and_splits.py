"""Labels and splits through the dataset flow and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.annotate_dataset import annotate_dataset
from flows.cli import main as cli
from flows.cli.options import numbers_of
from flows.retry_failed import retry_failed
from flows.runs.results import Outcome
from tasks.annotations.dataset import read_split
from tasks.annotations.format import read_annotation
from tasks.core.errors import FightposeError
from tasks.core.settings import DatasetSettings, SelectionSettings, Settings
from tasks.mapping.receipts import recorded_settings
from tasks.mapping.verify import verify_mapping
from tests.video_factory import plain_frames, write_video


def clips(root: Path, *names: str) -> None:
    """Write clips, each of a content of its own: copies are one group, and must agree on their label."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        number = len(list(root.rglob("*.mp4")))
        write_video(root / name, plain_frames(16, width=128 + 16 * number, height=96))


def labels_in(out: Path) -> dict[str, int]:
    """Return the label of each clip of the merged data set; each clip's own file says the same."""
    labels = {one["frame_dir"]: one["label"] for one in read_annotation(out / "dataset.pkl")["annotations"]}
    for name, label in labels.items():
        path = out / f"{name}_enhanced_stgcn_annotation.pkl"
        assert read_annotation(path)["annotations"][0]["label"] == label
    return {name.removeprefix("data/"): label for name, label in labels.items()}


@pytest.mark.prefect
def test_other_labels_cost_no_extraction_and_no_overlay(tmp_path, out, stand_in, prefect_server):
    """By folder, then by file: poses and overlays stay, files and data set agree, and a retry knows the rules."""
    root = tmp_path / "data"
    clips(root, "Fight/cam1_a.mp4", "Fall/cam1_b.mp4", "Walk/cam2_c.mp4")
    first = annotate_dataset(root, out)
    assert labels_in(out) == {"Fight/cam1_a": 1, "Fall/cam1_b": 0, "Walk/cam2_c": 0}
    assert any("class 1 has 1 clip" in line for line in first.warnings)
    overlays = {path: path.stat().st_mtime_ns for path in out.rglob("*_overlay.mp4")}

    by_folder = Settings(dataset=DatasetSettings(classes={"Fight": 1, "Fall": 2}))
    second = annotate_dataset(root, out, settings=by_folder)
    assert labels_in(out) == {"Fight/cam1_a": 1, "Fall/cam1_b": 2, "Walk/cam2_c": 0}
    assert second.count(Outcome.UNCHANGED) == 2
    assert "no label rule matches 1 clip" in second.warnings[0]
    assert "data/Walk/cam2_c" in second.warnings[0]

    table = tmp_path / "labels.csv"
    table.write_text("clip,label\ncam1_a,5\n")
    by_file = Settings(dataset=DatasetSettings(classes={"Fall": 2}, labels=table))
    annotate_dataset(root, out, settings=by_file)
    assert labels_in(out) == {"Fight/cam1_a": 5, "Fall/cam1_b": 2, "Walk/cam2_c": 0}
    retry_failed(out, settings=Settings(selection=SelectionSettings(max_persons=1)), clips=["data/Fight/cam1_a"])
    assert labels_in(out)["Fight/cam1_a"] == 5
    assert recorded_settings(out).dataset == by_file.dataset
    assert {path: path.stat().st_mtime_ns for path in overlays if "cam1_a" not in path.name} == {
        path: time for path, time in overlays.items() if "cam1_a" not in path.name
    }
    assert stand_in.frames == 3 * 16
    assert verify_mapping(out, deep=True).lines() == []


@pytest.mark.prefect
def test_no_clip_changes_its_side_when_others_come(tmp_path, out, stand_in, prefect_server):
    """And one camera stands in one split only."""
    root, settings = tmp_path / "data", Settings(dataset=DatasetSettings(group_pattern="cam[0-9]+"))
    clips(root, *(f"Fight/cam{camera}_{take}.mp4" for camera in range(5) for take in range(2)))
    annotate_dataset(root, out, settings=settings)
    before = read_split(out / "dataset.pkl")
    clips(root, *(f"Fight/cam{camera}_new.mp4" for camera in (0, 3, 7)))
    annotate_dataset(root, out, settings=settings)
    after = read_split(out / "dataset.pkl")
    assert all(set(before[name]) <= set(after[name]) for name in before)
    sides = [{name.split("/")[2].split("_")[0] for name in members} for members in after.values()]
    assert sum(map(len, sides)) == 6
    assert verify_mapping(out, deep=True).ok


@pytest.mark.prefect
def test_the_command_line_takes_labels_and_groups(tmp_path, out, stand_in, prefect_server, monkeypatch):
    """By a pattern; the relative path of a file holds from another folder, too."""
    root = tmp_path / "data"
    clips(root, "a/fi1.mp4", "a/no2.mp4", "a/x3.mp4")
    (tmp_path / "groups.csv").write_text("clip,group\nfi1,one\nno2,one\n")
    monkeypatch.chdir(tmp_path)
    options = ["--label-pattern", "/(fi|no)[0-9]", "--classes", "fi=1,no=4", "--groups", "groups.csv"]
    result = CliRunner().invoke(cli.app, ["annotate", "data", "--output-root", str(out), *options])
    assert result.exit_code == 0, result.output
    assert "warning: no label rule matches 1 clip" in result.output
    assert labels_in(out) == {"a/fi1": 1, "a/no2": 4, "a/x3": 0}
    split = read_split(out / "dataset.pkl")
    assert any({"data/a/fi1", "data/a/no2"} <= set(members) for members in split.values())
    monkeypatch.chdir("/")
    assert CliRunner().invoke(cli.app, ["retry-failed", str(out)]).exit_code == 0


@pytest.mark.parametrize("text", ["Fight", "Fight=one", "=1", "Fight=1,,", "Fight=-1"])
def test_classes_that_are_no_pairs_are_one_line(text):
    """The line shows how it is written."""
    with pytest.raises(FightposeError, match="write it as Fight=1,NonFight=0"):
        numbers_of("--classes", text)


def test_classes_are_pairs_of_name_and_number():
    """Names may hold spaces and equal signs, as folders do."""
    assert numbers_of("--classes", "Fight=1, No Fight=0,a=b=2") == {"Fight": 1, "No Fight": 0, "a=b": 2}


def test_the_form_describes_every_setting_of_labels_and_splits():
    """Prefect's UI shows what stands in the schema."""
    schema = annotate_dataset.parameters.model_dump()["definitions"]["DatasetSettings"]["properties"]
    assert set(schema) == set(DatasetSettings.model_fields)
    assert all(field["description"] for field in schema.values())
