"""Whole files converted."""

import numpy as np
import pytest

from tasks.annotations.convert.files import Layout, convert_file, window_file
from tasks.annotations.convert.layouts import read_any
from tasks.annotations.format import read_annotation, write_annotation
from tasks.annotations.validate import CONTRACT_KEYS, validate_dataset
from tasks.core.errors import FightposeError
from tests.tasks.samples import sample_annotation


@pytest.fixture
def source(tmp_path):
    """Two clips in two splits."""
    clips = [sample_annotation(2, 30, name) for name in ("Fight/가 1.mp4", "NonFight/b.mp4")]
    split = {"train": ["set/Fight/가 1"], "test": ["set/NonFight/b"]}
    write_annotation(tmp_path / "source.pkl", clips, split)
    return tmp_path / "source.pkl"


@pytest.mark.parametrize("layout", [Layout.STGCN, Layout.PYSKL])
def test_a_file_of_many_clips_keeps_its_splits(source, tmp_path, layout):
    """Annotations of ours come back whole; for pyskl the contract's keys are left."""
    assert convert_file(source, tmp_path / "out.pkl", layout) == [tmp_path / "out.pkl"]
    data = read_annotation(tmp_path / "out.pkl")
    assert data["split"] == read_annotation(source)["split"]
    assert validate_dataset(data) == []
    assert ("schema_version" in data["annotations"][0]) is (layout is Layout.STGCN)


def test_half_the_size_on_request(source, tmp_path):
    """Float16 comes back as float32 when it is read."""
    convert_file(source, tmp_path / "out.pkl", Layout.PYSKL_HALF)
    assert read_annotation(tmp_path / "out.pkl")["annotations"][0]["keypoint"].dtype == np.float16
    assert read_any(tmp_path / "out.pkl")["annotations"][0]["keypoint"].dtype == np.float32


@pytest.mark.parametrize("layout", [Layout.PERSONS, Layout.CSV, Layout.MOT, Layout.COCO, Layout.CVAT])
def test_the_others_get_a_file_for_each_clip(source, tmp_path, layout):
    """Named by its identifier, folders included."""
    paths = convert_file(source, tmp_path / "out", layout)
    assert [path.relative_to(tmp_path / "out").with_suffix("").as_posix() for path in paths] == [
        "set/Fight/가 1",
        "set/NonFight/b",
    ]
    assert all(path.stat().st_size > 0 for path in paths)


def test_earlier_files_are_converted_there_and_back(source, tmp_path):
    """To the earlier layout, and from it under the full identifier again."""
    path = convert_file(source, tmp_path / "out", Layout.PERSONS)[0]
    convert_file(path, tmp_path / "again.pkl", Layout.STGCN, "set/Fight/가 1")
    found, original = (read_annotation(file)["annotations"][0] for file in (tmp_path / "again.pkl", source))
    for key in CONTRACT_KEYS:
        np.testing.assert_array_equal(found[key], original[key])


def test_windows_stand_in_the_splits_of_their_clips(source, tmp_path):
    """No split leak through overlapping windows."""
    window_file(source, tmp_path / "windows.pkl", 10, 5)
    data = read_annotation(tmp_path / "windows.pkl")
    assert validate_dataset(data) == []
    assert len(data["annotations"]) == 10
    assert all(name.startswith("set/Fight") for name in data["split"]["train"])


def test_a_place_that_cannot_be_written_is_a_clear_error(source):
    """A file stands where a folder is needed."""
    with pytest.raises(FightposeError, match="cannot write below"):
        convert_file(source, source, Layout.CSV)
