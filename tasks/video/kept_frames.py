"""The frames of a short clip, decoded once and kept for a second use.

The model and the overlay both need every frame. Those of a clip that fits a byte bound stay in the memory that the
decoder's helper process shares (`tasks.video.decoder`): the model reads them there, and the process that draws the
overlay maps the same memory by its descriptor. Nothing is copied. The helper waits meanwhile, without work.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tasks.core.records import VideoInfo
from tasks.video.decoder import Decoder
from tasks.video.limits import MB, ClipLimits
from tasks.video.reading import Frame

SPARE_FRAMES = 16
"""Frames that a clip may have beyond what its header says before it counts as one that does not fit."""

CLIP_BYTES = 160 << 20
"""Most that one clip may keep: 2 s of 720p, or 9 s of 360p, at 25 frames per second."""

RUN_BYTES = 512 << 20
"""Most that all clips of a process may keep at a time."""


class MoreFramesError(Exception):
    """A clip has more frames than its header says and memory was made for; it has to be decoded as a stream."""


@dataclass(frozen=True, slots=True)
class FramesKept:
    """Where the frames of a clip are in shared memory; goes to another process beside the descriptor of that memory.

    Attributes
    ----------
    shape
        Slots, height, width, 3: the memory as uint8, BGR.
    slots
        The slot of each frame, in the order of the frames.
    times
        When each frame is shown, seconds, None where the container does not say.
    """

    shape: tuple[int, int, int, int]
    slots: list[int] = field(default_factory=list)
    times: list[float | None] = field(default_factory=list)


class KeepingDecoder:
    """A helper process that decodes one clip and keeps all of its frames until the block ends; see `keeping`.

    Attributes
    ----------
    kept
        What has been decoded so far; all frames once `frames` has ended without an error.
    descriptor
        Of the shared memory.
    """

    def __init__(self, decoder: Decoder, video: VideoInfo, limits: ClipLimits) -> None:
        self._decoder, self._video, self._limits = decoder, video, limits
        self._memory = decoder.share(video.height, video.width, video.header_frames + SPARE_FRAMES)
        self.descriptor = decoder.descriptor
        shape = self._memory.shape
        self.kept = FramesKept((shape[0], shape[1], shape[2], shape[3]))

    def frames(self) -> Iterator[Frame]:
        """Yield the frames as views of the shared memory, which stay as they are until the block ends.

        Raises
        ------
        MoreFramesError
            If there are more than the header says.
        ClipError, OSError
            As `tasks.video.decoder.decode_guarded`.
        """
        decoder, count = self._decoder, self.kept.shape[0]
        decoder.ask_frames(self._video, count, self._limits)
        while "slot" in (message := decoder.receive(self._limits)):
            self.kept.slots.append(int(message["slot"]))
            self.kept.times.append(message["time"])
            # With all slots in use the helper waits for one to be given back, which does not happen here.
            if len(self.kept.slots) >= count:
                raise MoreFramesError
            yield Frame(self._memory[self.kept.slots[-1]], message["time"])


@contextmanager
def keeping(video: VideoInfo, limits: ClipLimits) -> Iterator[KeepingDecoder]:
    """Hold a helper process, and with it the frames of a clip, for the length of the block.

    Raises
    ------
    ClipError, OSError
        What the end of the helper means for the clip.
    """
    decoder = Decoder.take()
    with decoder.working(limits):
        try:
            yield KeepingDecoder(decoder, video, limits)
        finally:
            # An idle helper would hold the memory of its last clip for as long as it waits.
            decoder.forget_frames()


def bytes_to_keep(video: VideoInfo, limits: ClipLimits) -> int | None:
    """Return the memory that a clip's frames take, None where it must not be kept.

    It is not where the header gives no number of frames, where they exceed `CLIP_BYTES`, and where the clip's own limit
    on memory leaves too little beside them.
    """
    size = (video.header_frames + SPARE_FRAMES) * video.width * video.height * 3
    if not video.header_frames or size > CLIP_BYTES or 4 * size > limits.settings.memory_limit * MB:
        return None
    return size


class KeptBudget:
    """The memory that the clips of a process may keep frames in, together.

    Parameters
    ----------
    total
        Bytes.
    """

    def __init__(self, total: int = RUN_BYTES) -> None:
        self._left = total
        self._lock = threading.Lock()

    @contextmanager
    def part(self, size: int | None) -> Iterator[bool]:
        """Take a part for the length of the block, and tell whether there was enough; never waits."""
        with self._lock:
            taken = size is not None and size <= self._left
            self._left -= size if taken and size is not None else 0
        try:
            yield taken
        finally:
            with self._lock:
                self._left += size if taken and size is not None else 0


def frames_of(kept: FramesKept, descriptor: int) -> Iterator[Frame]:
    """Yield the frames that another process keeps, as read-only views of its memory.

    Parameters
    ----------
    kept
        Where they are.
    descriptor
        Of the memory, in this process.
    """
    size = int(np.prod(kept.shape, dtype=np.int64))
    memory = np.frombuffer(mmap.mmap(descriptor, size, prot=mmap.PROT_READ), np.uint8).reshape(kept.shape)
    for slot, time in zip(kept.slots, kept.times, strict=True):
        yield Frame(memory[slot], time)
