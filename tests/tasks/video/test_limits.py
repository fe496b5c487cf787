"""Limits of time and memory per clip."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import ClipError, FailureReason
from tasks.core.settings import LimitSettings
from tasks.video.limits import ClipLimits
from tasks.video.reading import Frame

FRAME = Frame(np.zeros((2, 2, 3), np.uint8), None)


def test_frames_stop_when_the_time_is_over():
    """The error names the clip and the option; what came before was handed on."""
    limits = ClipLimits(Path("a.mp4"), LimitSettings(time_limit=0.05))
    seen = []

    def consume() -> None:
        """Take 20 ms for each frame."""
        for _ in limits.within(FRAME for _ in range(100)):
            seen.append(1)
            time.sleep(0.02)

    with pytest.raises(ClipError, match=r"a\.mp4: took longer than 0\.05 s; raise --time-limit") as caught:
        consume()
    assert caught.value.reason is FailureReason.PROCESSING_ERROR
    assert 1 <= len(seen) < 10


def test_what_gives_the_frames_is_closed_though_the_error_is_kept():
    """Its traceback would keep the generator, and with it a helper process, alive."""
    limits = ClipLimits(Path("a.mp4"), LimitSettings().model_copy(update={"time_limit": 1e-9}))
    closed = []

    def frames() -> Iterator[Frame]:
        """Hold something open."""
        try:
            yield FRAME
        finally:
            closed.append(True)

    with pytest.raises(ClipError) as caught:
        next(limits.within(frames()))
    assert caught.tb is not None
    assert closed


def test_without_a_limit_no_time_is_too_long():
    """Ten-hour clips are meant to be annotated."""
    limits = ClipLimits(Path("a.mp4"), LimitSettings(), _start=time.monotonic() - 1e6)
    limits.check()
    assert len(list(limits.within([FRAME] * 3))) == 3


def test_growth_of_the_process_counts_from_the_first_look():
    """What was there before is not the clip's doing, what it adds is."""
    limits = ClipLimits(Path("a.mp4"), LimitSettings(memory_limit=64))
    limits.check_memory()
    held = np.ones(40 << 20, np.uint8)
    limits.check_memory()
    # Far more than other tests of this process may have freed meanwhile.
    more = np.ones(400 << 20, np.uint8)
    with pytest.raises(ClipError, match="needs more than 64 MB of memory; raise --memory-limit"):
        limits.check_memory()
    assert held[0] == more[0]  # both are alive until here


def test_limits_change_nothing_that_is_found():
    """Other limits must not annotate everything again."""
    from tasks.core.settings import Settings
    from tasks.mapping.receipts import settings_key

    assert settings_key(Settings(), "m") == settings_key(Settings(limits=LimitSettings(time_limit=5)), "m")
