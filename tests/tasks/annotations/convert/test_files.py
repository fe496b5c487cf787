"""Whole files converted."""

import pickle

import numpy as np
import pytest

from tasks.annotations.convert.files import convert_file, window_file
from tasks.annotations.convert.formats import FORMATS, Layout
from tasks.annotations.convert.layouts import read_any
from tasks.annotations.format import read_annotation, write_annotation
from tasks.annotations.validate import CONTRACT_KEYS
from tasks.annotations.validate_dataset import validate_dataset
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
    assert convert_file(source, tmp_path / "out.pkl", layout).files == [tmp_path / "out.pkl"]
    data = read_annotation(tmp_path / "out.pkl")
    assert data["split"] == read_annotation(source)["split"]
    assert validate_dataset(data) == []
    assert ("schema_version" in data["annotations"][0]) is (layout is Layout.STGCN)


def test_half_the_size_on_request(source, tmp_path):
    """Float16 comes back as float32 when it is read."""
    convert_file(source, tmp_path / "out.pkl", Layout.PYSKL_FLOAT16)
    assert read_annotation(tmp_path / "out.pkl")["annotations"][0]["keypoint"].dtype == np.float16
    assert read_any(tmp_path / "out.pkl").annotations[0]["keypoint"].dtype == np.float32


@pytest.mark.parametrize("layout", [Layout.PERSONS, Layout.CSV, Layout.MOT, Layout.COCO, Layout.CVAT])
def test_the_others_get_a_file_for_each_clip(source, tmp_path, layout):
    """Named by its identifier, folders included."""
    paths = convert_file(source, tmp_path / "out", layout).files
    assert [path.relative_to(tmp_path / "out").with_suffix("").as_posix() for path in paths] == [
        "set/Fight/가 1",
        "set/NonFight/b",
    ]
    assert all(path.stat().st_size > 0 for path in paths)


def test_earlier_files_are_converted_there_and_back(source, tmp_path):
    """To the earlier layout, and from it under the full identifier again."""
    path = convert_file(source, tmp_path / "out", Layout.PERSONS).files[0]
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


def test_every_layout_has_a_writer_and_help():
    """The list names functions by text: each is there."""
    for form in FORMATS.values():
        assert callable(form.function())
        assert form.help
        assert form.ending.startswith(".")


@pytest.mark.parametrize("layout", [name for name, form in FORMATS.items() if not form.whole])
def test_no_folder_is_called_like_a_file(source, tmp_path, layout):
    """A folder `x.pkl` would be taken for a file by everyone; for one clip a file name is one."""
    for ending in {form.ending for form in FORMATS.values()}:
        with pytest.raises(FightposeError, match="name a folder"):
            convert_file(source, tmp_path / f"out{ending}", Layout(layout))
    assert not list(tmp_path.glob("out*"))
    write_annotation(tmp_path / "one.pkl", [sample_annotation(1, 5)])
    file = tmp_path / f"out{FORMATS[layout].ending}"
    assert convert_file(tmp_path / "one.pkl", file, Layout(layout)).files == [file]
    assert file.is_file()


def test_a_folder_is_no_place_for_one_file(source, tmp_path):
    """The message names a file."""
    with pytest.raises(FightposeError, match="name it, such as"):
        convert_file(source, tmp_path, Layout.PYSKL)


def test_a_missing_package_is_reported_before_anything_is_written(source, tmp_path, monkeypatch):
    """With the command that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FightposeError, match="pip install pyarrow"):
        convert_file(source, tmp_path / "out", Layout.PARQUET)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_annotations_is_one_source(source, tmp_path):
    """As an output root holds them; what cannot be read costs only itself, unless that is not wanted."""
    for annotation in read_annotation(source)["annotations"]:
        name = f"{annotation['frame_dir']}_enhanced_stgcn_annotation.pkl"
        write_annotation(tmp_path / "root" / name, [annotation])
    write_annotation(tmp_path / "root/dataset.pkl", [sample_annotation(1, 5, "other.mp4")])
    (tmp_path / "root/.fightpose").mkdir()
    (tmp_path / "root/.fightpose/x_enhanced_stgcn_annotation.pkl").write_bytes(b"hidden")
    (tmp_path / "root/bad_enhanced_stgcn_annotation.pkl").write_bytes(b"no pickle")
    found = convert_file(tmp_path / "root", tmp_path / "all.pkl", Layout.STGCN)
    assert len(found.problems) == 1
    assert "bad_enhanced" in found.problems[0]
    data = read_annotation(tmp_path / "all.pkl")
    assert [one["frame_dir"] for one in data["annotations"]] == ["set/Fight/가 1", "set/NonFight/b"]
    assert data["split"] == {"all": ["set/Fight/가 1", "set/NonFight/b"]}
    with pytest.raises(FightposeError, match="bad_enhanced"):
        convert_file(tmp_path / "root", tmp_path / "all.pkl", Layout.STGCN, strict=True)
    (tmp_path / "out").mkdir()
    with pytest.raises(FightposeError, match="no annotation files"):
        convert_file(tmp_path / "out", tmp_path / "all.pkl", Layout.STGCN)


def test_files_without_a_single_annotation_are_one_line(tmp_path):
    """Such as a data set that every clip was taken out of, kept in a folder of outputs."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a_enhanced_stgcn_annotation.pkl").write_bytes(pickle.dumps({"split": {}, "annotations": []}))
    with pytest.raises(FightposeError, match="holds no annotations"):
        convert_file(tmp_path / "in", tmp_path / "all.pkl", Layout.STGCN)
    with pytest.raises(FightposeError, match="holds no annotations"):
        convert_file(tmp_path / "in/a_enhanced_stgcn_annotation.pkl", tmp_path / "all.pkl", Layout.STGCN)
