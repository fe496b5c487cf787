"""The demo clips and the picture."""

from __future__ import annotations

import cv2
import pytest

from flows.cli.demo import DEMO_CLIPS, TILE_HEIGHT, contact_sheet, fetch_demo_clips
from tasks.core.errors import FightposeError
from tests.video_factory import plain_frames, write_video


def test_the_picture_shows_the_middle_frame_of_each_overlay_side_by_side(tmp_path):
    """Each tile has the sheet's height and its own shape."""
    overlays = [
        write_video(tmp_path / "a.mp4", plain_frames(9, width=64, height=48)),
        write_video(tmp_path / "b.avi", plain_frames(9, width=48, height=96)),
    ]
    picture = cv2.imread(str(contact_sheet(overlays, tmp_path / "sheet.png")))
    assert picture is not None
    assert picture.shape == (TILE_HEIGHT, TILE_HEIGHT * 64 // 48 + TILE_HEIGHT * 48 // 96, 3)
    assert picture.std() > 5


def test_without_overlays_there_is_a_line_and_no_picture(tmp_path):
    """A sheet of nothing would pass for a result."""
    with pytest.raises(FightposeError, match="no overlay"):
        contact_sheet([], tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.model
def test_the_four_demo_clips_are_fetched_and_checked_by_hash(tmp_path):
    """A second call finds them; one that was changed is replaced."""
    folder = fetch_demo_clips(tmp_path)
    clips = sorted((folder / "Fight").iterdir())
    assert [clip.name for clip in clips] == ["cam01.mp4", "cam02.mp4", "cam03.mp4", "cam04.mp4"]
    whole = clips[0].read_bytes()
    clips[0].write_bytes(b"damaged")
    fetch_demo_clips(tmp_path)
    assert clips[0].read_bytes() == whole
    assert len({clip.sha256 for clip in DEMO_CLIPS}) == 4
