"""Single frames of a video as small pictures: thumbnails of the review page, and the picture on a clip's card."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError

from tasks.core.errors import FightposeError
from tasks.video.reading import Image


def jpeg_of(video: Path, frame: int, size: tuple[int, int]) -> bytes:
    """Return one frame of a video as a JPEG of the given width and height; the last one where the video is shorter.

    Raises
    ------
    FightposeError
        If no frame can be decoded.
    """
    picture = _fitted(_frame_at(video, frame), size)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()


def _frame_at(path: Path, wanted: int) -> Image:
    """Return one frame of a video as BGR, without decoding what stands before its key frame."""
    picture: Image | None = None
    try:
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or 25)
            start = (wanted - 0.5) / rate
            if wanted:
                container.seek(max(0, int(start * av.time_base)), backward=True)
            for frame in container.decode(stream):
                picture = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
                if frame.time is None or frame.time >= start:
                    break
    except (FFmpegError, IndexError) as error:
        raise FightposeError(f"cannot read a frame of {path}: {error}; run annotate again") from error
    if picture is None:
        raise FightposeError(f"cannot read a frame of {path}: it has no frame; run annotate again")
    return picture


def _fitted(picture: Image, frame: tuple[int, int]) -> Image:
    """Return a picture scaled into a frame (width, height), with black at its sides."""
    height, width = picture.shape[:2]
    scale = min(frame[0] / width, frame[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    canvas: Image = np.zeros((frame[1], frame[0], 3), np.uint8)
    left, top = (frame[0] - size[0]) // 2, (frame[1] - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas
