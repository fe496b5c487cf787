"""Which clips of an input a run takes."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from tasks.clips.choosing import across_folders, chosen_clips
from tasks.clips.discovery import Clip
from tasks.core.errors import FightposeError
from tasks.core.settings import DatasetSettings
from tests.tasks.samples import sample_clip

NAMES = ("Fight/a.mp4", "Fight/b_old.mp4", "NonFight/cam 1/c.avi", "NonFight/홀.mp4")


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Give clips of two classes; they need not exist."""
    return [sample_clip(name, tmp_path / "set") for name in NAMES]


def names(clips: list[Clip]) -> list[str]:
    """Return the paths of clips below the input."""
    return [clip.relative for clip in clips]


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        ((), (), NAMES),
        (("Fight/*",), (), NAMES[:2]),
        (("*.avi",), (), NAMES[2:3]),
        (("NonFight/*",), (), NAMES[2:]),
        ((), ("*_old.mp4",), (NAMES[0], *NAMES[2:])),
        (("Fight/*", "*.avi"), ("b*",), (NAMES[0], NAMES[2])),
        ((unicodedata.normalize("NFD", "홀*"),), (), NAMES[3:]),
    ],
)
def test_patterns_match_paths_or_names(clips, include, exclude, left):
    """A star matches folders, too; a name counts in either Unicode form."""
    chosen = chosen_clips(clips, DatasetSettings(include=include, exclude=exclude))
    assert names(chosen) == list(left)


def test_a_list_takes_its_clips_in_the_order_of_the_input(clips, tmp_path):
    """By path below the input or absolute; comments, empty lines and spaces around a path do not count."""
    path = tmp_path / "list.txt"
    path.write_text(f"# chosen by hand\r\n\r\nNonFight/홀.mp4\r\n  {clips[0].path} \n", encoding="utf-8-sig")
    assert names(chosen_clips(clips, DatasetSettings(clip_list=path))) == [NAMES[0], NAMES[3]]


def test_a_list_that_is_wrong_is_one_line(clips, tmp_path):
    """It names the line, or says that the file cannot be read."""
    path = tmp_path / "list.txt"
    path.write_text("Fight/a.mp4\nFight/z.mp4\n")
    with pytest.raises(FightposeError, match=r"list\.txt, line 2: there is no clip 'Fight/z\.mp4'"):
        chosen_clips(clips, DatasetSettings(clip_list=path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FightposeError, match="cannot read the list of clips"):
        chosen_clips(clips, DatasetSettings(clip_list=path))
    with pytest.raises(FightposeError, match="cannot read the list of clips"):
        chosen_clips(clips, DatasetSettings(clip_list=tmp_path / "nowhere.txt"))


def test_nothing_left_is_one_line(clips):
    """A pattern with a typing error must not pass for an empty input."""
    with pytest.raises(FightposeError, match="none of the 4 clips is left"):
        chosen_clips(clips, DatasetSettings(include=("fight/*",)))


def test_a_demo_shows_every_folder(clips, tmp_path):
    """In turn, as far as each folder lasts."""
    many = [sample_clip(f"Fight/{number}.mp4", tmp_path / "set") for number in range(9)]
    assert names(across_folders([*many, *clips[2:]], 4)) == ["Fight/0.mp4", "Fight/1.mp4", *NAMES[2:]]
    assert len(across_folders(many, 100)) == 9
