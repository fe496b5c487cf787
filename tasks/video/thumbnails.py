"""Single frames of a video as small pictures: thumbnails of the review page, and the picture on a clip's card."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from tasks.core.errors import ClipError, FightposeError
from tasks.video.opening import film_stream, open_container
from tasks.video.reading import Image, picture_of, shown_aspect


def jpeg_of(video: Path, frame: int, size: tuple[int, int]) -> bytes:
    """Return one frame of a video as a JPEG of the given width and height; the last one where the video is shorter.

    Raises
    ------
    FightposeError
        If no frame can be decoded.
    """
    picture = _fitted(frame_at(video, frame), size)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()


def frame_at(path: Path, wanted: int) -> Image:
    """Return one frame of a video as it is shown, without decoding what precedes its key frame.

    Raises
    ------
    FightposeError
        If no frame can be decoded.
    """
    picture: Image | None = None
    try:
        with open_container(path) as container:
            stream = film_stream(container, path)
            # Half a frame early: containers round the times of frames.
            start = (wanted - 0.5) / float(stream.average_rate or 25)
            if wanted:
                container.seek(max(0, int(start * av.time_base)), backward=True)
            reformatter = VideoReformatter()
            for frame in container.decode(stream):
                # Copied: the picture is the decoder's own, which goes with the file.
                picture = picture_of(frame, reformatter, shown_aspect(stream, frame)).copy()
                if frame.time is None or frame.time >= start:
                    break
    except (FFmpegError, ClipError) as error:
        why = error.info if isinstance(error, ClipError) else error
        raise FightposeError(f"cannot read a frame of {path}: {why}; run annotate again") from error
    if picture is None:
        raise FightposeError(f"cannot read a frame of {path}: it has no frame; run annotate again")
    return picture


def _fitted(picture: Image, frame: tuple[int, int]) -> Image:
    """Return a picture scaled into a frame (width, height), with black at its sides."""
    height, width = picture.shape[:2]
    # The smaller of the two, so that the whole picture fits; people at the sides are not cut off.
    scale = min(frame[0] / width, frame[1] / height)
    # At least one pixel: a very long and thin picture would round to none, which OpenCV refuses.
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    canvas: Image = np.zeros((frame[1], frame[0], 3), np.uint8)
    left, top = (frame[0] - size[0]) // 2, (frame[1] - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas
