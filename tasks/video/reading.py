"""What a clip is, and its frames as a stream.

Frames are decoded one at a time with PyAV and handed on, so that memory does not grow with the length of the clip.
Headers are not believed: the number of frames is the number of frames that decode.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from tasks.core.errors import ClipError, FailureReason
from tasks.core.records import VideoInfo
from tasks.core.storage import file_sha256

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0
"""Assumed where a container states no believable frame rate."""

MAX_PIXELS = 1 << 26
"""Most pixels in a frame: 8192 x 8192, twice what 8K video has.

A header of a few bytes can claim 60,000 x 60,000, of which one frame takes 10 GB."""

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,asf,mpeg,mpegts,mpegvideo,flv,h264,hevc,m4v,mjpeg,dhav,dv,ivf,mxf,ogg"
)
"""Containers that are read, as FFmpeg names them.

FFmpeg chooses by content, not by the ending: a text file named clip.mp4 could otherwise be a play list (concat, hls,
sdp and others) that makes it open other files, or connections."""

_DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)}

Image = npt.NDArray[np.uint8]
"""(height, width, 3) uint8, BGR."""


class Frame(NamedTuple):
    """A decoded frame: its image, and the time at which it is shown, in seconds (None where the container has none)."""

    image: Image
    time: float | None


def probe_video(path: Path) -> VideoInfo:
    """Read what a clip is from its header and first frame.

    Raises
    ------
    ClipError
        EMPTY_VIDEO for a file without bytes or frames; PROCESSING_ERROR for one that is no video, has no decoder, or
        was cut short while it was copied.
    OSError
        If the file cannot be read; worth another try on network storage.
    """
    return replace(read_header(path), sha256=file_sha256(path))


def read_header(path: Path) -> VideoInfo:
    """Read what `probe_video` reads, without the hash of the whole file, which is left empty."""
    size = path.stat().st_size
    if size == 0:
        raise ClipError(FailureReason.EMPTY_VIDEO, path, "the file is empty (0 bytes); copy it again")
    _refuse_truncated(path, size)
    with _open(path) as container:
        stream = _video_stream(container, path)
        first = next(_decode(container, path), None)
        if first is None:
            why = _complaints(path)
            raise ClipError(
                FailureReason.EMPTY_VIDEO, path, f"no frame can be decoded{why}; copy or export the clip again"
            )
        height, width = _upright(first, VideoReformatter()).shape[:2]
        return VideoInfo(
            path=path,
            sha256="",
            width=width,
            height=height,
            fps=_frame_rate(stream),
            header_frames=max(stream.frames, 0),
            container=container.format.name,
            codec=stream.codec_context.name,
        )


def decode_frames(video: VideoInfo) -> Iterator[Frame]:
    """Yield every frame that decodes, upright, in the clip's size.

    A packet that does not decode, or that claims a frame of more than `MAX_PIXELS`, is skipped with a warning. A frame
    whose size differs from the first one's (some recorders change it in the middle) is scaled to it, so that pixel
    coordinates keep one meaning.

    Raises
    ------
    ClipError
        If the file cannot be opened as a video.
    MemoryError
        If a frame needs more memory than this process may have.
    """
    with _open(video.path) as container:
        _video_stream(container, video.path)
        # One for all frames: each new one works out its tables again.
        reformatter = VideoReformatter()
        for frame in _decode(container, video.path):
            image = _upright(frame, reformatter)
            if image.shape[:2] != (video.height, video.width):
                image = cv2.resize(image, (video.width, video.height), interpolation=cv2.INTER_AREA).astype(np.uint8)
            yield Frame(image, frame.time)


def _open(path: Path) -> av.container.InputContainer:
    """Open a file for reading, or say that it is no video."""
    try:
        return av.open(
            # Absolute, because FFmpeg reads what stands before a colon in a relative path as a protocol.
            str(path.absolute()),
            # Tags in a legacy encoding (CP949 in Korean recorders) must not stop the clip.
            metadata_errors="replace",
            container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
            # What the frames themselves claim; FFmpeg decodes the first ones while it opens the file.
            options=_DECODER_OPTIONS,
        )
    except FFmpegError as error:
        if isinstance(error, PermissionError | FileNotFoundError | MemoryError):
            raise
        raise ClipError(
            FailureReason.PROCESSING_ERROR,
            path,
            f"not a video that can be read ({error.strerror}); check that it plays, or convert it to mp4",
        ) from error


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """Return the first video stream, set to decode with several threads."""
    if not container.streams.video:
        raise ClipError(FailureReason.PROCESSING_ERROR, path, "holds no video stream; remove it from the folder")
    stream = container.streams.video[0]
    try:
        stream.thread_type = "AUTO"
        stream.codec_context.options = _DECODER_OPTIONS
    except (RuntimeError, AttributeError) as error:
        raise ClipError(
            FailureReason.PROCESSING_ERROR, path, "its video codec has no decoder here; convert it to H.264"
        ) from error
    return stream


def _complaints(path: Path) -> str:
    """Return what FFmpeg has to say about a clip of which no frame decodes, in brackets; empty if it is silent."""
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    # Both are the whole process's, so they are changed only here, where the clip is lost anyway.
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=False) as lines, _open(path) as container:
            next(_decode(container, path), None)
    except (FFmpegError, ClipError):
        pass
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip)
    # The frame size is the cause where it is named at all; the rest follows from it.
    texts = sorted((" ".join(text.split()) for _, _, text in lines), key=lambda text: "Picture size" not in text)
    return f" ({texts[0].partition(',')[0]})" if texts else ""


def _decode(container: av.container.InputContainer, path: Path) -> Iterator[av.VideoFrame]:
    """Decode the first video stream, passing over packets that are damaged."""
    skipped = 0
    packets = container.demux(video=0)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except FFmpegError as error:
            # The demuxer cannot go on after an error: what follows is lost, what came before is good.
            logger.warning("%s: reading stopped early: %s", path, error.strerror)
            break
        try:
            yield from packet.decode()
        except MemoryError:
            raise
        except FFmpegError:
            skipped += 1
    if skipped:
        logger.warning("%s: %d damaged packets skipped", path, skipped)


def _upright(frame: av.VideoFrame, reformatter: VideoReformatter) -> Image:
    """Return a frame as BGR, turned as the container's display matrix asks (multiples of 90 degrees).

    Unless it is turned, the image is a view of the decoder's own picture, whose rows may be padded: nothing is copied.
    """
    plane = reformatter.reformat(frame, format="bgr24").planes[0]
    rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
    image = rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3)
    quarter_turns = round(frame.rotation / 90) % 4
    # FFmpeg states the angle counter-clockwise, as np.rot90 counts.
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def _frame_rate(stream: av.VideoStream) -> float:
    """Return the mean frame rate, or the default where the header's value cannot be true."""
    for rate in (stream.average_rate, stream.guessed_rate):
        # Above 480 the "rate" is a time base that a broken muxer wrote into the field.
        if rate is not None and math.isfinite(rate) and 0.5 <= rate <= 480:
            return float(rate)
    return DEFAULT_FPS


def _refuse_truncated(path: Path, size: int) -> None:
    """Raise a ClipError if the container's own sizes say that bytes are missing at the end.

    A clip that lost its tail still decodes in part, and would pass silently for a shorter clip.
    """
    expected = _declared_size(path)
    if expected is not None and expected > size:
        raise ClipError(
            FailureReason.PROCESSING_ERROR,
            path,
            f"cut short: {size} of {expected} bytes are there; copy it again, or repair it by remuxing",
        )


def _declared_size(path: Path) -> int | None:
    """Return the file size that an AVI or ISO (mp4, mov) container declares, None where it declares none."""
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            riff = int.from_bytes(head[4:8], "little")
            # Recorders that stream leave 0 or the maximum here.
            return None if riff in (0, 0xFFFFFFFF) else riff + 8
        if head[4:8] not in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
            return None
        return _end_of_atoms(stream, path.stat().st_size)


def _end_of_atoms(stream: BinaryIO, size: int) -> int | None:
    """Walk the top-level atoms of an ISO file and return where the last one should end."""
    position = 0
    while position + 8 <= size:
        stream.seek(position)
        header = stream.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:  # a 64-bit length follows the type
            length = int.from_bytes(header[8:16], "big")
        if length == 0:  # the atom reaches to the end of the file
            return size
        if length < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in header[4:8]):
            # Not an atom: trailing bytes of another tool, which say nothing about the video.
            return None
        position += length
    return position
