"""What a clip is, and its frames as a stream.

Frames are decoded one at a time with PyAV and handed on, so that memory does not grow with the length of the clip.
Headers are not believed: the number of frames is the number of frames that decode. Frames come as players show them:
upright, deinterlaced, and with square pixels.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from tasks.core.errors import ClipError, FailureReason
from tasks.core.pixel_aspect import display_size, usable_ratio
from tasks.core.records import VideoInfo
from tasks.core.storage import file_sha256
from tasks.video.completeness import shortfall
from tasks.video.deinterlacing import deinterlaced, is_interlaced
from tasks.video.frame_times import timing_of
from tasks.video.opening import complaint_about, decode_packet, film_stream, open_container, packets_of
from tasks.video.orientation import Orientation, orientation_of

logger = logging.getLogger(__name__)

FIRST_FRAMES, FIRST_PACKETS = 8, 150
"""How many frames and packets at its start tell what a clip is."""

Image = npt.NDArray[np.uint8]
"""(height, width, 3) uint8, BGR."""


class Frame(NamedTuple):
    """A decoded frame: its image, and the time at which it is shown, in seconds (None where the clip has none)."""

    image: Image
    time: float | None


def probe_video(path: Path, allow_truncated: bool = False) -> VideoInfo:
    """Read what a clip is from its header and first frames.

    Parameters
    ----------
    path
        The clip.
    allow_truncated
        Take a file that was cut short for what it still holds.

    Raises
    ------
    ClipError
        EMPTY_VIDEO for a file without bytes or frames; PROCESSING_ERROR for one that is no video, has no decoder, or
        was cut short while it was copied.
    OSError
        If the file cannot be read; worth another try on network storage.
    """
    return replace(read_header(path, allow_truncated), sha256=file_sha256(path))


def read_header(path: Path, allow_truncated: bool = False) -> VideoInfo:
    """Read what `probe_video` reads, without the hash of the whole file, which is left empty."""
    size = path.stat().st_size
    if size == 0:
        raise ClipError(FailureReason.EMPTY_VIDEO, path, "the file is empty (0 bytes); copy it again")
    _require_complete(path, allow_truncated)
    with open_container(path) as container:
        stream = film_stream(container, path)
        start = _Start.of_stream(container, stream, path)
        first = start.first
        if first is None:
            why = complaint_about(path)
            raise ClipError(
                FailureReason.EMPTY_VIDEO, path, f"no frame can be decoded{why}; copy or export the clip again"
            )
        if _orientation(first) is None:
            logger.warning("%s: its display matrix is not a turn by 90 degrees; the picture is taken as stored", path)
        ratio = shown_aspect(stream, first)
        # Made and not computed: whether a picture of it fits into memory is found out here.
        height, width = picture_of(first, VideoReformatter(), ratio).shape[:2]
        timing = timing_of(stream, start.times)
        interlaced = is_interlaced(start.marks)
        orientation = _orientation(first) or Orientation.UPRIGHT
        # The ways of reading that earlier versions did not know.
        other_way = orientation.is_mirrored or stream.index != container.streams.video[0].index
        if not timing.timed:
            logger.warning("%s: its frame times are unusable; taken as %.4g frames per second", path, timing.fps)
        return VideoInfo(
            path=path,
            sha256="",
            width=width,
            height=height,
            fps=timing.fps,
            header_frames=max(stream.frames, 0) or _frames_of(container.duration, timing.fps),
            container=container.format.name,
            codec=stream.codec_context.name,
            sample_aspect_ratio=ratio,
            interlaced=interlaced,
            timed=timing.timed,
            revised=other_way or ratio != 1 or interlaced or not timing.timed,
        )


def _frames_of(duration: int | None, fps: float) -> int:
    """Return about how many frames a duration (microseconds) holds; 0 where the container states none."""
    # A day: longer ones are damaged headers more often than films.
    return round(duration / 1e6 * fps) if duration and 0 < duration < 86_400_000_000 else 0


@dataclass(slots=True)
class _Start:
    """What the first packets of a stream bring.

    `first` is the first frame, `marks` tells of some frames whether they are marked as interlaced, `times` are the
    times of some more packets in seconds, in decode order.
    """

    first: av.VideoFrame | None = None
    marks: list[bool] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @classmethod
    def of_stream(cls, container: InputContainer, stream: VideoStream, path: Path) -> Self:
        """Read the start of a stream: as far as needed, or to its end where hardly a frame decodes."""
        start = cls()
        for packet in packets_of(container, stream, path):
            if packet.pts is not None and packet.time_base is not None:
                start.times.append(float(packet.pts * packet.time_base))
            if len(start.marks) < FIRST_FRAMES:
                for frame in decode_packet(packet) or []:
                    start.first = start.first or frame
                    start.marks.append(frame.interlaced_frame)
            elif len(start.times) >= FIRST_PACKETS:
                break
        return start


def decode_frames(video: VideoInfo) -> Iterator[Frame]:
    """Yield every frame that decodes, upright, in the clip's size.

    A packet that does not decode, or that claims a frame of more than `tasks.video.opening.MAX_PIXELS`, is skipped with
    a warning. A frame whose size differs from the first one's (some recorders change it in the middle) is scaled to it,
    so that pixel coordinates keep one meaning.

    Raises
    ------
    ClipError
        If the file cannot be opened as a video.
    MemoryError
        If a frame needs more memory than this process may have.
    """
    with open_container(video.path) as container:
        frames = decode_stream(container, film_stream(container, video.path), video.path)
        # One for all frames: each new one works out its tables again.
        reformatter = VideoReformatter()
        for frame in deinterlaced(frames) if video.interlaced else frames:
            image = picture_of(frame, reformatter, video.sample_aspect_ratio)
            if image.shape[:2] != (video.height, video.width):
                image = cv2.resize(image, (video.width, video.height), interpolation=cv2.INTER_AREA).astype(np.uint8)
            yield Frame(image, frame.time if video.timed else None)


def decode_stream(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[av.VideoFrame]:
    """Decode one stream to its end, as stored, passing over packets that are damaged with a warning.

    Raises
    ------
    MemoryError
        If a frame needs more memory than this process may have.
    """
    skipped = 0
    for packet in packets_of(container, stream, path):
        frames = decode_packet(packet)
        if frames is None:
            skipped += 1
        else:
            yield from frames
    if skipped:
        logger.warning("%s: %d damaged packets skipped", path, skipped)


def picture_of(frame: av.VideoFrame, reformatter: VideoReformatter, ratio: float = 1.0) -> Image:
    """Return a frame as BGR and as players show it: with square pixels, and turned as its display matrix asks.

    Unless it is turned, the image is a view of the decoder's own picture, whose rows may be padded: nothing is copied.

    Parameters
    ----------
    frame
        As decoded.
    reformatter
        The caller's, for all frames of one clip.
    ratio
        Width divided by height of a pixel of the picture as it is shown (`VideoInfo.sample_aspect_ratio`).
    """
    orientation = _orientation(frame) or Orientation.UPRIGHT
    size: dict[str, Any] = {}
    if ratio != 1:
        # Scaled before it is turned, where the same pixels lie the other way.
        width, height = display_size((frame.width, frame.height), 1 / ratio if orientation.transposes else ratio)
        size = {"width": width, "height": height, "interpolation": Interpolation.BICUBIC}
    plane = reformatter.reformat(frame, format="bgr24", **size).planes[0]
    rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
    return orientation.applied(rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3))


def _orientation(frame: av.VideoFrame) -> Orientation | None:
    """Return how a frame is to be shown, None where its display matrix is no turn by a multiple of 90 degrees."""
    # Not `frame.side_data`, which the frame keeps and which refers to the frame: it would stay in memory until the
    # garbage collector comes by, and that counts objects, not their megabytes.
    matrix = cast(Any, SideDataContainer)(frame).get("DISPLAYMATRIX")
    return orientation_of(None if matrix is None else bytes(cast(Any, matrix)))


def shown_aspect(stream: VideoStream, frame: av.VideoFrame) -> float:
    """Return width divided by height of a pixel of a stream, upright as one of its frames is shown."""
    orientation = _orientation(frame) or Orientation.UPRIGHT
    # The container's word first, as in FFmpeg: it is what a remux corrects.
    stated = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return usable_ratio(stated, orientation.transposes)


def _require_complete(path: Path, allow_truncated: bool) -> None:
    """Raise a ClipError if bytes of the video are missing at the end of the file, unless that is allowed.

    A clip that lost its tail still decodes in part, and would pass silently for a shorter clip.
    """
    found = shortfall(path, lambda: _end_of_samples(path))
    if found is None:
        return
    if not found.missing:
        logger.warning("%s: %s; its video is complete", path, found.what)
    elif allow_truncated:
        logger.warning("%s: cut short (%s); annotated as far as it decodes", path, found.what)
    else:
        raise ClipError(
            FailureReason.PROCESSING_ERROR,
            path,
            f"cut short: {found.size} of {found.expected} bytes are there; copy it again, repair it by remuxing, or "
            "take what is there with --allow-truncated",
        )


def _end_of_samples(path: Path) -> int | None:
    """Return where the last frame ends by the index of the file, in bytes; None where it has no index."""
    try:
        with open_container(path) as container:
            entries = film_stream(container, path).index_entries
            return max((entry.pos + entry.size for entry in entries), default=None)
    except (ClipError, FFmpegError):
        return None
