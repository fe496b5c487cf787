"""Frames that are decoded once for two uses: the same as those decoded twice, and never more than fit."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from tasks.core.settings import LimitSettings
from tasks.video.decoder import helper_processes
from tasks.video.kept_frames import (
    CLIP_BYTES,
    SPARE_FRAMES,
    KeptBudget,
    MoreFramesError,
    bytes_to_keep,
    frames_of,
    keeping,
)
from tasks.video.limits import ClipLimits
from tasks.video.reading import decode_frames, probe_video
from tests.video_factory import plain_frames, write_video


@pytest.fixture
def limits(tmp_path):
    """Give the limits of a clip of 100 frames, more than a helper may be ahead."""
    return ClipLimits(write_video(tmp_path / "a.mp4", plain_frames(100)), LimitSettings())


def test_kept_frames_are_those_that_the_decoder_gives(limits):
    """While they are decoded, and again by the descriptor, as another process reads them."""
    video = probe_video(limits.path)
    expected = [(frame.image, frame.time) for frame in decode_frames(video)]
    with keeping(video, limits) as decoder:
        first = [(frame.image.copy(), frame.time) for frame in decoder.frames()]
        again = [(frame.image, frame.time) for frame in frames_of(decoder.kept, decoder.descriptor)]
        for found in (first, again):
            assert [time for _, time in found] == [time for _, time in expected]
            assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(found, expected, strict=True))


def test_the_helper_serves_the_next_clip_and_holds_no_memory_meanwhile(limits):
    """One process for both clips; the frames of the first are gone."""
    video = probe_video(limits.path)
    for _ in range(2):
        with keeping(video, limits) as decoder:
            assert sum(1 for _ in decoder.frames()) == 100
            helper = set(helper_processes())
        assert os.fstat(decoder.descriptor).st_size == 0
        assert set(helper_processes()) == helper


def test_a_clip_with_more_frames_than_its_header_says_is_not_kept(limits):
    """It is told before the helper waits for memory that nobody gives back."""
    video = replace(probe_video(limits.path), header_frames=100 - SPARE_FRAMES - 1)
    with keeping(video, limits) as decoder, pytest.raises(MoreFramesError):
        list(decoder.frames())


@pytest.mark.parametrize(
    ("frames", "width", "memory_limit", "kept"),
    [
        (50, 640, 4096, True),
        (0, 640, 4096, False),
        (CLIP_BYTES // (640 * 360 * 3), 640, 4096, False),
        (50, 640, 64, False),
        (50, 1920, 4096, False),
    ],
)
def test_only_clips_that_fit_are_kept(limits, frames, width, memory_limit, kept):
    """By the header's number of frames, and within the clip's own limit on memory."""
    video = replace(probe_video(limits.path), header_frames=frames, width=width, height=width * 9 // 16)
    size = bytes_to_keep(video, ClipLimits(limits.path, LimitSettings(memory_limit=memory_limit)))
    assert (size is not None) is kept


def test_the_clips_of_a_process_share_a_budget():
    """Who finds nothing left streams; what is given back can be taken again."""
    budget = KeptBudget(100)
    with budget.part(60) as first:
        assert first
        with budget.part(60) as second, budget.part(40) as third, budget.part(None) as none:
            assert (second, third, none) == (False, True, False)
    with budget.part(100) as whole:
        assert whole
