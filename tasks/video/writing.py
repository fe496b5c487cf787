"""Writing a video: H.264 in mp4 and mov, MPEG-4 in avi, complete or absent.

Frames are encoded where `write` is called (PyAV releases the interpreter lock while it works). A caller that draws them
does so in a thread that runs ahead (`tasks.core.prefetch`), so that the next frame is drawn while the last is encoded.

opencv-python's wheels cannot encode H.264, and browsers do not play what they can encode; PyAV's wheel carries libx264.
"""

from __future__ import annotations

import math
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.stream import VideoStream

from tasks.core.errors import FightposeError
from tasks.core.storage import atomic_path
from tasks.video.opening import SMALL_PIXELS

FrameArray = npt.NDArray[np.uint8]

TICKS_PER_SECOND = 10_000
"""Resolution of frame times, at least: a tenth of a millisecond."""

GRID_TOLERANCE = 0.02
"""A frame time this close (in frames) to the constant rate's is put on it: containers round times to milliseconds."""

LARGEST_GAP_S, LARGEST_STEP_BACK_S = 60.0, 1.0
"""Frame times that jump further are a clock that was reset: the video goes on one frame later instead. (mp4 cannot
state a gap of more than 2^31 ticks anyway.)"""

BT601 = 6
"""FFmpeg's number of BT.601 (SMPTE 170M), matrix of swscale's RGB conversion; players take untagged HD for BT.709."""

MPEG4_QUALITY = 4 * 118
"""Quantiser 4 (2 is best, 31 worst) in FFmpeg's lambda unit, 118 per step."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one container is encoded.

    Attributes
    ----------
    container, codec
        FFmpeg's names of the container format and the encoder.
    variable_rate
        Whether the container keeps a time per frame.
    max_timescale
        Largest numerator of the frame rate that the codec can state; MPEG-4 has 16 bits for it.
    codec_options, container_options
        FFmpeg's options.
    codec_tag
        Four-character code, where the usual one of the container is not what players expect.
    """

    container: str
    codec: str
    variable_rate: bool
    max_timescale: int
    codec_options: dict[str, str]
    container_options: dict[str, str] = field(default_factory=dict)
    codec_tag: str | None = None


# Half the processor time of "veryfast" for nearly the same size, measured on the overlay of a 720p clip. Without
# B frames and a look at the frames to come a quarter less again, measured on clips of 640x360: as large, as faithful.
_X264 = {"preset": "superfast", "crf": "23", "x264-params": "bframes=0:rc-lookahead=0:mbtree=0"}
# Without faststart a browser has to fetch the whole file before it can play.
_FASTSTART = {"movflags": "+faststart"}

ENCODINGS = {
    ".mp4": Encoding("mp4", "libx264", True, 2**31 - 1, _X264, _FASTSTART),
    ".mov": Encoding("mov", "libx264", True, 2**31 - 1, _X264, _FASTSTART),
    ".avi": Encoding(
        "avi",
        "mpeg4",
        False,
        2**16 - 1,
        {"flags": "+qscale", "global_quality": str(MPEG4_QUALITY)},
        codec_tag="XVID",
    ),
}
"""The containers that are written, by file ending."""


def exact_rate(fps: float, max_numerator: int = 2**31 - 1) -> Fraction:
    """Return a frame rate as the fraction that was meant: 29.97002997 gives 30000/1001.

    Parameters
    ----------
    fps
        Frames per second, above 0.
    max_numerator
        Largest numerator allowed.

    Raises
    ------
    ValueError
        If the rate is not a positive finite number.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"a frame rate must be a positive number, not {fps}")
    # 1001 is the denominator of the NTSC family, the largest that occurs on purpose.
    largest_denominator = max(1, min(1001, int(max_numerator / fps)))
    rate = Fraction(fps).limit_denominator(largest_denominator)
    return rate or Fraction(1, largest_denominator)


class VideoWriter:
    """Encode frames to a file that appears under its name only when it is complete.

    Use it as a context manager: leaving the block without an error finishes the file, leaving it with one closes
    everything and removes what was written. Frames of odd size get their last column or row doubled (yuv420p needs even
    sizes).

    Parameters
    ----------
    path
        The file; its ending (.mp4, .mov, .avi) chooses container and codec.
    fps
        Frames per second.
    size
        Width and height of the frames in pixels.

    Raises
    ------
    FightposeError
        If the ending is not one of those, or the installed PyAV lacks the encoder.
    ValueError
        If the rate or the size is not positive.

    Examples
    --------
    >>> with VideoWriter(Path("out.mp4"), 25.0, (640, 360)) as writer:  # doctest: +SKIP
    ...     writer.write(frame)
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        encoding = ENCODINGS.get(path.suffix.lower())
        if encoding is None:
            raise FightposeError(f"cannot write {path}: a video ends in {', '.join(ENCODINGS)}")
        if min(size) < 1:
            raise ValueError(f"a video of {size[0]}x{size[1]} pixels cannot be written")
        self.path = path
        self.frames_written = 0
        self._size = size
        self._encoding = encoding
        self._rate = exact_rate(fps, encoding.max_timescale)
        # A whole number of ticks per frame keeps constant rates exact and still places other times finely.
        self._ticks = math.ceil(TICKS_PER_SECOND / self._rate) if encoding.variable_rate else 1
        self._clock_start = 0.0
        self._last_pts = -1
        self._closed = False
        self._stack = ExitStack()
        # Whatever fails while opening must not leave the container or the temporary file behind.
        with ExitStack() as opening:
            partial = opening.enter_context(atomic_path(path))
            self._container, self._stream = self._open(partial)
            opening.callback(self._container.close)
            self._stack = opening.pop_all()

    def _open(self, partial: Path) -> tuple[OutputContainer, VideoStream]:
        """Open the temporary file and its encoder."""
        encoding = self._encoding
        try:
            av.codec.Codec(encoding.codec, "w")
        except av.codec.codec.UnknownCodecError as error:
            raise FightposeError(
                f"cannot write {self.path}: the installed PyAV has no {encoding.codec} encoder; "
                "install its wheel with: pip install --force-reinstall --only-binary=:all: av"
            ) from error
        # Absolute, because FFmpeg reads what is before a colon in a relative path as a protocol.
        container = av.open(str(partial.absolute()), "w", format=encoding.container, options=encoding.container_options)
        try:
            stream = container.add_stream(encoding.codec, rate=self._rate, options=encoding.codec_options)
            assert isinstance(stream, VideoStream)  # noqa: S101 - tells the type checker which kind of codec it is
            self._configure(stream)
            stream.codec_context.open()
        except BaseException:
            container.close()
            raise
        return container, stream

    def _configure(self, stream: VideoStream) -> None:
        """Set what the encoder needs to know before it opens."""
        width, height = self._size
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / (self._rate * self._ticks)
        # Two seconds between key frames: a viewer that seeks waits for at most that many frames.
        context.gop_size = max(1, round(2 * self._rate))
        # Several clips may be encoded at once; more threads per clip only add memory.
        context.thread_count = 1 if width * height <= SMALL_PIXELS else min(4, os.cpu_count() or 1)
        context.colorspace = context.color_primaries = context.color_trc = BT601
        if self._encoding.codec_tag:
            context.codec_tag = self._encoding.codec_tag

    def write(self, frame: FrameArray, time_s: float | None = None) -> None:
        """Encode one frame.

        Parameters
        ----------
        frame
            (H, W, 3) uint8, BGR.
        time_s
            When the frame is shown, in seconds on any clock; the first frame's time becomes 0. None: the constant
            rate. Without effect in avi, which has no times.

        Raises
        ------
        ValueError
            If the frame is not of the size and type given, or the writer is closed.
        Exception
            Whatever went wrong in the encoder; leave the block by it.
        """
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        width, height = self._size
        if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"a frame for {self.path.name} must be uint8 of shape {(height, width, 3)}, "
                f"not {frame.dtype} of shape {frame.shape}"
            )
        self._last_pts = self._pts(time_s)
        self._encode(frame, self._last_pts)
        self.frames_written += 1

    def _pts(self, time_s: float | None) -> int:
        """Return the next frame's time in ticks, always later than the last frame's."""
        following = self._last_pts + self._ticks if self.frames_written else 0
        if time_s is None or not self._encoding.variable_rate or not math.isfinite(time_s):
            return following
        per_second = float(self._rate) * self._ticks
        if not self.frames_written:
            self._clock_start = time_s
        ticks = (time_s - self._clock_start) * per_second
        gap_s = (ticks - max(self._last_pts, 0)) / per_second
        if not -LARGEST_STEP_BACK_S <= gap_s <= LARGEST_GAP_S:
            self._clock_start = time_s - following / per_second
            return following
        on_grid = self.frames_written * self._ticks
        if abs(ticks - on_grid) <= GRID_TOLERANCE * self._ticks:
            ticks = on_grid
        # Encoders refuse times that repeat or run backwards, as those of damaged clips do.
        return max(round(ticks), self._last_pts + 1)

    def close(self) -> None:
        """Finish the file and give it its name. A second call does nothing.

        Raises
        ------
        FightposeError
            If no frame was written.
        Exception
            Whatever went wrong in the encoder; nothing is left under the file's name.
        """
        if self._closed:
            return
        self._closed = True
        # Left with an error inside, the stack closes the container and removes the temporary file.
        with self._stack:
            if not self.frames_written:
                raise FightposeError(f"cannot write {self.path}: there is no frame to write")
            # The frames that the encoder still holds.
            for packet in self._stream.encode(None):
                self._container.mux(packet)

    def abort(self) -> None:
        """Close everything and remove what was written."""
        if self._closed:
            return
        self._closed = True
        # The temporary file goes, whatever the container's own closing says about it.
        with suppress(av.FFmpegError, OSError, _AbortedError), self._stack:
            raise _AbortedError

    def _encode(self, frame: FrameArray, pts: int) -> None:
        """Convert one frame and give it to the muxer."""
        height, width = frame.shape[:2]
        # Nothing is copied where the size is even and the memory in one piece.
        even = (
            np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if width % 2 or height % 2 else frame
        )
        # By OpenCV, which takes a fifth of the time of FFmpeg's scaler; both write BT.601 in the range of video.
        planes = np.asarray(cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420), np.uint8)
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.pts = pts
        picture.duration = self._ticks
        picture.time_base = self._stream.codec_context.time_base
        for packet in self._stream.encode(picture):
            self._container.mux(packet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class _AbortedError(Exception):
    """Tells `atomic_path` that the block did not end well."""
