"""Interlaced clips: torn pictures are made whole, frame by frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.core.settings import LimitSettings
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.reading import Image, decode_frames, probe_video

WIDTH, HEIGHT = 128, 96


def half(index: int) -> Image:
    """Return the scene at one moment: a bright bar that moves eight pixels from field to field."""
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    left = 8 * index % (WIDTH - 16)
    image[24:72, left : left + 16] = 220
    return image


def write_interlaced(path: Path, frames: int, marked: bool = True) -> Path:
    """Write a clip whose frames hold two moments in alternating lines; recorders mark them as interlaced."""
    with av.open(str(path), "w") as container:
        options = {"x264-params": "tff=1"} if marked else {}
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "12", **options})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(frames):
            image = half(2 * index)
            image[1::2] = half(2 * index + 1)[1::2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def torn(image: Image) -> float:
    """Return how much neighbouring lines differ more than lines of the same field do."""
    lines = image[26:70].astype(float).mean(axis=2)
    return float(np.abs(lines[1:-1] - lines[:-2]).mean() - np.abs(lines[2:] - lines[:-2]).mean())


def test_interlaced_frames_are_made_whole_one_by_one(tmp_path: Path) -> None:
    """As many frames as before, with their times, and no comb in them."""
    path = write_interlaced(tmp_path / "a.mp4", 12)
    video = probe_video(path)
    assert video.interlaced
    frames = list(decode_frames(video))
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(12)])
    assert max(torn(frame.image) for frame in frames[1:-1]) < 2
    # Each shows one of its two moments, and all of them the same one.
    bars = [int(np.flatnonzero(frame.image[48].mean(axis=1) > 150).min()) for frame in frames[:7]]
    assert np.diff(bars) == pytest.approx(np.full(6, 16), abs=2)


def test_the_helper_process_deinterlaces_as_well(tmp_path: Path) -> None:
    """What it is asked for says so."""
    limits = ClipLimits(write_interlaced(tmp_path / "a.mp4", 6), LimitSettings())
    video = probe_guarded(limits)
    frames = list(decode_guarded(video, limits))
    assert len(frames) == 6
    assert torn(frames[3].image) < 2


def test_frames_without_a_mark_stay_as_they_are(tmp_path: Path) -> None:
    """Ordinary clips keep every bit."""
    video = probe_video(write_interlaced(tmp_path / "a.mp4", 6, marked=False))
    assert not video.interlaced
    assert torn(list(decode_frames(video))[3].image) > 10


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_clips_keep_all_their_frames(tmp_path: Path, count: int) -> None:
    """The filter waits for the next frame, and for the last one there is none."""
    video = probe_video(write_interlaced(tmp_path / "a.mp4", count))
    assert sum(1 for _ in decode_frames(video)) == count
