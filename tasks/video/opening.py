"""Opening a video file: the containers that are read, and which of its streams is the film.

Files hold more pictures than the film: cover art, timed thumbnails, previews in a low resolution. Every place that
opens a video (probe, decoding, frame counts, thumbnails) opens it here, so that all of them see the same stream.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from tasks.core.errors import ClipError, FailureReason

logger = logging.getLogger(__name__)

MAX_PIXELS = 1 << 26
"""Most pixels in a frame: 8192 x 8192, twice what 8K video has.

A header of a few bytes can claim 60,000 x 60,000 pixels, where a single frame takes 10 GB."""

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,asf,mpeg,mpegts,mpegvideo,flv,h264,hevc,m4v,mjpeg,dhav,dv,ivf,mxf,ogg"
)
"""Containers that are read, as FFmpeg names them.

FFmpeg chooses by content, not by the ending: a text file named clip.mp4 could otherwise be a playlist (concat, hls,
sdp and others) that makes it open other files, or connections."""

SMALL_PIXELS = 1 << 19
"""Frames of up to so many pixels (4CIF and D1 are below, HD is above) take one thread to decode or encode.

Other clips are worked on beside. With two threads 640x360 took a quarter more processor time to decode (.68 ms a frame
against .54) and a sixth more to encode."""

_DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)}

_NO_FILM = (
    Disposition.attached_pic
    | Disposition.timed_thumbnails
    | Disposition.still_image
    | Disposition.metadata
    | Disposition.dependent
)
"""What marks a stream that is not the film itself: cover art, thumbnails, stills, data, layers of another stream."""

_DEFAULT_BONUS = 5_000_000
"""What the mark "default" is worth, in pixels of the frame, when ffmpeg chooses among video streams."""


def open_container(path: Path) -> InputContainer:
    """Open a file for reading, from its content and never beyond the file itself.

    Raises
    ------
    ClipError
        If it is not a video that can be read.
    OSError
        If the file cannot be read.
    """
    try:
        return av.open(
            # Absolute, because FFmpeg reads what precedes a colon in a relative path as a protocol.
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


def film_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the stream that holds the film, set to decode with several threads where its frames are not small.

    Raises
    ------
    ClipError
        If there is no film in the file, or no decoder for it.
    """
    streams = container.streams.video
    # Attached pictures and thumbnails are streams as well, and some come first.
    films = [stream for stream in streams if not stream.disposition & _NO_FILM]
    if not films:
        info = "holds no video stream; leave it out of the input"
        if streams:
            info = "holds only a still picture, no film; leave it out of the input"
        raise ClipError(FailureReason.PROCESSING_ERROR, path, info)
    stream = max(films, key=_worth)
    # A stream without a decoder raises here, where the clip can still be named.
    try:
        stream.thread_type = "AUTO"
        stream.codec_context.options = _DECODER_OPTIONS
        if 0 < stream.codec_context.width * stream.codec_context.height <= SMALL_PIXELS:
            stream.codec_context.thread_count = 1
    except (RuntimeError, AttributeError) as error:
        raise ClipError(
            FailureReason.PROCESSING_ERROR, path, "its video codec has no decoder here; convert it to H.264"
        ) from error
    return stream


def _worth(stream: VideoStream) -> tuple[int, int, int, int]:
    """Return the values by which ffmpeg chooses among video streams; the highest is the film.

    Streams without a decoder come last, and those that have one frame (a preview picture without a mark) or none where
    another one has more. Then resolution and the mark "default" count together, as in ffmpeg's own choice; among equals
    the number of frames, and then the earlier stream.
    """
    context = stream.codec_context
    if context is None:
        return 0, 0, stream.frames, -stream.index
    # Not every container states numbers of frames: 0 means unknown, unless another stream of the file has some.
    most = max((other.frames for other in stream.container.streams.video), default=0)
    is_film = stream.frames > 1 or (stream.frames == 0 and most <= 1)
    bonus = _DEFAULT_BONUS if stream.disposition & Disposition.default else 0
    return 1 + is_film, context.width * context.height + bonus, stream.frames, -stream.index


def packets_of(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[av.Packet]:
    """Yield the packets of one stream, as far as the container can be read; a warning tells where it cannot."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except FFmpegError as error:
            # The demuxer cannot go on after an error: what follows is lost, what came before is good.
            logger.warning("%s: reading stopped early: %s", path, error.strerror)
            return
        yield packet


def decode_packet(packet: av.Packet) -> list[av.VideoFrame] | None:
    """Return the frames that a packet of a video brings, None where it is damaged.

    Raises
    ------
    MemoryError
        If a frame needs more memory than this process may have.
    """
    try:
        return packet.decode()
    except MemoryError:
        raise
    except FFmpegError:
        return None


def complaint_about(path: Path) -> str:
    """Return what FFmpeg reports about a clip in which no frame decodes, in brackets; empty if it is silent."""
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    # Both are the whole process's, so they are changed only here, where the clip is lost anyway.
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=False) as lines, open_container(path) as container:
            for packet in packets_of(container, film_stream(container, path), path):
                packet.decode()
    except (FFmpegError, ClipError):
        pass
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip)
    # The frame size is the cause where it is named at all; the rest follows from it.
    texts = sorted((" ".join(text.split()) for _, _, text in lines), key=lambda text: "Picture size" not in text)
    return f" ({texts[0].partition(',')[0]})" if texts else ""
