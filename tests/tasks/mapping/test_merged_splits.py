"""The merged data set of an output root: given splits, copies, folds and names of classes."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tasks.annotations.dataset import read_split
from tasks.annotations.format import read_annotation, write_annotation
from tasks.clips.discovery import Clip
from tasks.clips.manifest import write_manifest
from tasks.core.choices import SplitBy
from tasks.core.settings import DatasetSettings
from tasks.mapping.merged import merge_outputs, named_classes
from tests.tasks.samples import sample_annotation, sample_clip


def outputs(tmp_path: Path, contents: dict[str, str]) -> list[Clip]:
    """Write the annotations of clips with these contents, and the list of inputs."""
    root = tmp_path / "set"
    clips = []
    for name, content in contents.items():
        # The list of inputs forgets clips that are not there.
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        clip = sample_clip(name, root, tmp_path / "out")
        annotation = sample_annotation(1, 10, name)
        annotation |= {"label": clip.label, "provenance": {"video_sha256": content}}
        write_annotation(clip.annotation_path, [annotation])
        clips.append(clip)
    write_manifest(tmp_path / "out", root, clips, "key")
    return clips


def sides(tmp_path: Path) -> dict[str, str]:
    """Return the split of each clip; the file beside the data set and the data set itself agree."""
    split = read_split(tmp_path / "out/dataset.pkl")
    assert read_annotation(tmp_path / "out/dataset.pkl")["split"] == split
    return {name.removeprefix("set/"): key for key, members in split.items() for name in members}


RWF = [f"{side}/{label}/{i}.avi" for side, label, i in product(("train", "val"), ("Fight", "NonFight"), range(3))]


def test_a_given_split_is_taken_over_and_kept(tmp_path):
    """As RWF-2000 has it, also after an earlier merge that dealt the clips."""
    outputs(tmp_path, {name: name for name in RWF})
    dealt = merge_outputs(tmp_path / "out", DatasetSettings())
    assert set(dealt.counts) == {"train", "val", "test"}
    settings = DatasetSettings(split_by=SplitBy.FOLDER)
    for _ in range(2):
        report = merge_outputs(tmp_path / "out", settings)
        assert report.counts == {"train": 6, "val": 6, "test": 0}
        assert sides(tmp_path) == {Path(name).with_suffix("").as_posix(): name.split("/")[0] for name in RWF}


def test_shares_and_seed_count_for_new_clips_and_are_reported_where_they_come_too_late(tmp_path):
    """No clip changes its side, and nobody wonders why."""
    outputs(tmp_path, {f"Fight/{i}.avi": str(i) for i in range(20)})
    report = merge_outputs(tmp_path / "out", DatasetSettings(split="50/50"))
    assert report.counts == {"train": 10, "val": 10}
    before = sides(tmp_path)
    report = merge_outputs(tmp_path / "out", DatasetSettings(split="80/20", split_seed=3))
    assert sides(tmp_path) == before
    assert "20 clips keep the split of earlier runs, made by 50/50, seed 0" in report.warnings[-1]


def test_copies_are_on_one_side_and_contradicting_labels_are_named(tmp_path):
    """The same bytes under ten names and two labels, beside clips that are not copies."""
    copies = {f"Fight/f{i}.avi": "same" for i in range(5)} | {f"NonFight/n{i}.avi": "same" for i in range(5)}
    outputs(tmp_path, copies | {f"Fight/x{i}.avi": str(i) for i in range(20)})
    report = merge_outputs(tmp_path / "out", DatasetSettings())
    found = sides(tmp_path)
    assert len({found[Path(name).with_suffix("").as_posix()] for name in copies}) == 1
    assert report.warnings[0].startswith("the same video has different labels: 1 (set/Fight/f0, set/Fight/f1")
    assert "0 (set/NonFight/n0" in report.warnings[0]
    assert report.warnings[1].startswith("clips that are copies of others: 9; the first: set/Fight/f0")


def test_a_copy_that_comes_later_joins_its_original(tmp_path):
    """Whatever split lacks clips."""
    outputs(tmp_path, {f"Fight/{i}.avi": str(i) for i in range(20)})
    merge_outputs(tmp_path / "out", DatasetSettings())
    before = sides(tmp_path)
    outputs(tmp_path, {f"Fight/copy of {i}.avi": str(i) for i in range(20)})
    merge_outputs(tmp_path / "out", DatasetSettings())
    after = sides(tmp_path)
    assert {name: after[name] for name in before} == before
    assert all(after[f"Fight/copy of {i}"] == before[f"Fight/{i}"] for i in range(20))


def test_folds_are_files_of_their_own_and_stay_as_they_are(tmp_path):
    """By group; every clip is validated once; a test split that the set brings along is in none."""
    names = [f"{'test' if camera == 9 else 'x'}/Fight/cam{camera}_{i}.avi" for camera in range(10) for i in range(2)]
    outputs(tmp_path, {name: name for name in names})
    settings = DatasetSettings(folds=3, split_by=SplitBy.FOLDER, group_pattern="cam[0-9]")
    merge_outputs(tmp_path / "out", settings)
    validated = []
    for fold in (1, 2, 3):
        data = read_annotation(tmp_path / f"out/dataset.fold{fold}.pkl")
        assert len(data["annotations"]) == 20
        assert data["split"]["test"] == ["set/test/Fight/cam9_0", "set/test/Fight/cam9_1"]
        cameras = [{name.split("cam")[1][0] for name in data["split"][key]} for key in ("train", "val")]
        assert not cameras[0] & cameras[1]
        validated += data["split"]["val"]
    assert len(validated) == len(set(validated)) == 18
    first = read_annotation(tmp_path / "out/dataset.fold1.pkl")["split"]["val"]
    outputs(tmp_path, {f"x/Fight/cam{camera}_new.avi": f"new {camera}" for camera in range(9)})
    merge_outputs(tmp_path / "out", settings)
    assert set(first) < set(read_annotation(tmp_path / "out/dataset.fold1.pkl")["split"]["val"])


@pytest.mark.parametrize(
    ("classes", "labels", "names"),
    [
        ({}, [0, 1], {"NonFight": 0, "Fight": 1}),
        ({}, [0, 1, 5], {}),
        ({"Push": 2, "Fall": 3}, [0, 2], {"Push": 2, "Fall": 3}),
    ],
)
def test_names_of_classes_go_into_the_data_set(tmp_path, classes, labels, names):
    """Under a key of their own; the usual two names only where there are no other classes."""
    settings = DatasetSettings(classes=classes)
    assert named_classes(settings, labels) == names
    if classes:
        outputs(tmp_path, {"Fight/a.avi": "a"})
        merge_outputs(tmp_path / "out", settings)
        assert read_annotation(tmp_path / "out/dataset.pkl")["classes"] == names
