"""What one clip may take of time and memory, and who notices that it took more.

A clip is looked at between frames and between steps: a limit that is passed there ends it as a recorded failure. What
happens inside the decoder, whose code a hostile file can send anywhere, is bounded by `tasks.video.decoder` from
outside.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tasks.core.errors import ClipError, FailureReason
from tasks.core.settings import LimitSettings
from tasks.video.reading import Frame

MB = 1 << 20


@dataclass(slots=True)
class ClipLimits:
    """The limits of one clip, counted from when this is made.

    Attributes
    ----------
    path
        The clip.
    settings
        How much it may take.
    """

    path: Path
    settings: LimitSettings
    _start: float = field(default_factory=time.monotonic)
    _base_bytes: int | None = None

    @property
    def seconds_left(self) -> float:
        """Seconds until the time limit; infinity without one."""
        # The monotonic clock, as a change of the system's clock must not end a clip.
        limit = self.settings.time_limit
        return float("inf") if limit is None else self._start + limit - time.monotonic()

    def check(self) -> None:
        """Raise a ClipError if the clip has taken too much time."""
        if self.seconds_left <= 0:
            raise ClipError(
                FailureReason.PROCESSING_ERROR,
                self.path,
                f"took longer than {self.settings.time_limit:g} s; raise --time-limit, or cut the clip into parts",
            )

    def check_memory(self) -> None:
        """Raise a ClipError if this process has grown by more than the clip's share since the first call.

        The first call should come when the model is loaded and has run once: what it holds is not the clip's doing.
        """
        used = psutil.Process().memory_info().rss
        # The model's own memory is no clip's doing, so only growth counts; the unit is bytes.
        if self._base_bytes is None:
            self._base_bytes = used
        if used - self._base_bytes > self.settings.memory_limit * MB:
            raise self.too_much_memory()

    def too_much_memory(self) -> ClipError:
        """Return the error of a clip that needs more memory than it may have."""
        return ClipError(
            FailureReason.PROCESSING_ERROR,
            self.path,
            f"needs more than {self.settings.memory_limit} MB of memory; raise --memory-limit if the clip is what it "
            "should be, else leave it out of the input",
        )

    def within(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield frames as long as the time lasts; a generator is closed when this one ends, however it ends."""
        try:
            for frame in frames:
                self.check()
                yield frame
        finally:
            # By hand: the traceback of an error holds the generator, and with it the helper process, for as long as
            # anybody keeps the error.
            if isinstance(frames, Generator):
                frames.close()
