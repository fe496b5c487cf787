"""The list of inputs beside the outputs."""

import json
import os
from pathlib import Path

import pytest

from tasks.clips.discovery import discover_clips
from tasks.clips.manifest import read_manifests, write_manifest
from tasks.core.errors import FightposeError


def folder_of(root: Path, *names: str) -> Path:
    """Make a folder with empty files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def record(source: Path, output_root: Path) -> list:
    """Discover the clips of a source and list them."""
    found = discover_clips(source, output_root)
    write_manifest(output_root, found.root, found.clips)
    return found.clips


def test_what_is_written_is_read(tmp_path):
    """Every record comes back, odd names, shared stems and several roots included."""
    names = ("싸움/가.mp4", "a b.mp4", "a b.avi", os.fsdecode(b"\xff.mp4"))
    first = record(folder_of(tmp_path / "Fight", *names), tmp_path / "out")
    second = record(folder_of(tmp_path / "NonFight", "a b.mp4"), tmp_path / "out")
    assert read_manifests(tmp_path / "out") == sorted(first + second, key=lambda clip: clip.frame_dir)


def test_a_run_over_one_file_keeps_the_others_listed(tmp_path):
    """A retry of one clip must not make the check forget the rest; a clip that was deleted is forgotten."""
    root = folder_of(tmp_path / "set", "a.mp4", "b.mp4", "c.mp4")
    record(root, tmp_path / "out")
    (root / "c.mp4").unlink()
    record(root / "a.mp4", tmp_path / "out")
    assert [clip.relative for clip in read_manifests(tmp_path / "out")] == ["a.mp4", "b.mp4"]


def test_two_roots_of_one_name_are_refused(tmp_path):
    """Their outputs would replace each other."""
    record(folder_of(tmp_path / "1/Fight", "a.mp4"), tmp_path / "out")
    with pytest.raises(FightposeError, match="choose another --output-root"):
        record(folder_of(tmp_path / "2/Fight", "a.mp4"), tmp_path / "out")


def test_a_root_that_was_moved_is_accepted(tmp_path):
    """A data set mounted elsewhere is still the same."""
    root = folder_of(tmp_path / "1/Fight", "a.mp4")
    record(root, tmp_path / "out")
    root.rename(tmp_path / "Fight")
    record(tmp_path / "Fight", tmp_path / "out")
    assert read_manifests(tmp_path / "out")[0].path == tmp_path / "Fight/a.mp4"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"root": "/x", "clips": [1]}',
        json.dumps({"root": "/x", "clips": [{"path": "../../etc/a.mp4", "stem": "a"}]}),
        json.dumps({"root": "/x", "clips": [{"path": "a.mp4", "stem": "../a"}]}),
    ],
)
def test_a_damaged_manifest_is_a_clear_error(tmp_path, text):
    """It is named, and nothing in it leads out of the output root."""
    path = tmp_path / "out/set/fightpose_inputs.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(FightposeError, match=r"fightpose_inputs\.json"):
        read_manifests(tmp_path / "out")
