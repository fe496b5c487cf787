"""Splits that a data set brings along."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tasks.clips.given_splits import check_given, divided_groups, given_splits, split_by_folder
from tasks.clips.labels import check_sources, group_rule, label_clips
from tasks.core.choices import SplitBy
from tasks.core.errors import FightposeError
from tasks.core.settings import DatasetSettings
from tests.tasks.samples import sample_clip

RWF = [f"RWF/{side}/{label}/{side}_{i}" for side, label, i in product(("train", "val"), ("Fight", "NonFight"), (1, 2))]


@pytest.mark.parametrize(
    ("frame_dir", "split"),
    [
        ("RWF/train/Fight/a", "train"),
        ("x/Validation/a", "val"),
        ("x/VALID/a", "val"),
        ("x/Testing/b/a", "test"),
        ("x/test/train/a", "test"),
        ("x/training day/a", None),
        ("x/Fight/train", None),
    ],
)
def test_folders_name_splits_in_the_usual_ways(frame_dir, split):
    """Whatever the case; the outermost decides; the clip's own name does not count."""
    assert split_by_folder(frame_dir) == split


def test_each_source_gives_splits_and_the_closer_one_goes_first(tmp_path):
    """A column before the pattern before the folders."""
    by_folder = given_splits(RWF, DatasetSettings(split_by=SplitBy.FOLDER))
    assert by_folder == {name: name.split("/")[1] for name in RWF}
    by_pattern = given_splits(RWF, DatasetSettings(split_pattern="/(train|val)_1"))
    assert by_pattern == {name: name.split("/")[1] for name in RWF if name.endswith("_1")}
    (tmp_path / "labels.csv").write_text("clip,label,Split\nval\\Fight\\val_1.avi,1,Testing\nval_2,1,\n")
    settings = DatasetSettings(labels=tmp_path / "labels.csv", split_by=SplitBy.FOLDER)
    assert given_splits(RWF, settings) == by_folder | {"RWF/val/Fight/val_1": "test"}
    (tmp_path / "groups.csv").write_text("clip,group,split\ntrain/Fight/train_1,g,holdout\n")
    assert given_splits(RWF, DatasetSettings(groups=tmp_path / "groups.csv")) == {"RWF/train/Fight/train_1": "holdout"}
    assert given_splits(RWF, DatasetSettings()) == {}


def test_a_source_that_gives_nothing_is_refused(tmp_path):
    """And clips that it leaves out are counted."""
    flat = ["set/Fight/a", "set/Walk/b"]
    for settings in (DatasetSettings(split_by=SplitBy.FOLDER), DatasetSettings(split_pattern="cam(.)")):
        with pytest.raises(FightposeError, match="no clip has a split by"):
            check_given(flat, settings)
    assert check_given(RWF, DatasetSettings(split_by=SplitBy.FOLDER)) == []
    (line,) = check_given([*RWF, "RWF/more/x"], DatasetSettings(split_by=SplitBy.FOLDER))
    assert line == "clips that the folder gives no split, and that are split at random: 1 of 9; the first: RWF/more/x"


def test_a_table_may_give_splits_alone(tmp_path):
    """Its rows are held against the clips, labels come from the folders, and no clip is said to lack a label."""
    path = tmp_path / "splits.csv"
    clips = [sample_clip(f"{name.removeprefix('RWF/')}.avi", Path("/in/RWF")) for name in RWF]
    assert [clip.frame_dir for clip in clips] == RWF
    path.write_text("clip,split\nval\\Fight\\val_1.avi,Testing\nnobody,train\n")
    for settings in (DatasetSettings(labels=path), DatasetSettings(groups=path)):
        assert check_sources(clips, settings) == []
        assert label_clips(clips, settings) == (clips, [])
        assert group_rule(settings) is None
        assert given_splits(RWF, settings) == {"RWF/val/Fight/val_1": "test"}
        unused, left = check_given(RWF, settings)
        assert unused == f"{path}: 1 row without a clip: line 3"
        assert left.startswith("clips that the column split gives no split,")
        assert f": {len(RWF) - 1} of {len(RWF)};" in left
    path.write_text("clip,split\nval_1,\n")
    with pytest.raises(FightposeError, match="column split is empty"):
        check_given(RWF, DatasetSettings(labels=path))
    # Without a column for what is asked for, and without splits, it is a table of something else.
    path.write_text("clip,camera\nval_1,3\n")
    with pytest.raises(FightposeError, match="has no column label"):
        check_sources(clips, DatasetSettings(labels=path))


def test_folders_that_nobody_mentions_are_reported():
    """A published set would be mixed without a word."""
    (line,) = check_given(RWF, DatasetSettings())
    assert "4 train, 4 val" in line
    assert "--split-by folder" in line
    assert check_given(["set/Fight/a"], DatasetSettings()) == []


def test_a_given_split_that_divides_a_group_is_reported():
    """By the group's name."""
    given = {"a": "train", "b": "val", "c": "val"}
    assert divided_groups(given, lambda name: "g" if name in "ab" else name) == [
        "the given split divides the group g: it is in train and val"
    ]
