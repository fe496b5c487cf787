"""Pictures and videos that the review page shows: thumbnails, and mp4 copies of overlays that browsers do not play.

Both are made when they are first asked for and kept below `<output root>/.fightpose/review/`; one that is older than
its overlay is made anew.
"""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError

from tasks.errors import FightposeError
from tasks.overlay_canvas import Image
from tasks.review_index import review_folder
from tasks.storage import atomic_path
from tasks.video import decode_frames, probe_video
from tasks.video_writer import VideoWriter

THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 320, 180
"""Pixels; a frame of another shape is placed into it on black."""

PLAYABLE = (".mp4", ".mov")
"""Overlays that a browser plays as they are (H.264)."""


def thumbnail(overlay: Path, frame: int, key: str, output_root: Path) -> Path:
    """Return the thumbnail of an overlay as a JPEG file, made if it is not there.

    Parameters
    ----------
    overlay
        The overlay video.
    frame
        Which frame to show; the last one where the video is shorter.
    key
        The clip's name in addresses (`tasks.review_index.clip_id`).
    output_root
        The output root.

    Raises
    ------
    FightposeError
        If no frame of the overlay can be decoded.
    """
    target = review_folder(output_root) / "thumbnails" / key[:2] / f"{key}.jpg"
    if not _is_current(target, overlay):
        picture = _fitted(_frame_at(overlay, frame))
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
        with atomic_path(target) as partial:
            partial.write_bytes(data.tobytes())
    return target


def playable(overlay: Path, key: str, output_root: Path) -> Path:
    """Return a video that browsers play: the overlay itself, or an mp4 copy of it, made if it is not there.

    Raises
    ------
    FightposeError
        If the overlay cannot be read or the copy not be written.
    """
    if overlay.suffix.lower() in PLAYABLE:
        return overlay
    target = review_folder(output_root) / "previews" / key[:2] / f"{key}.mp4"
    if not _is_current(target, overlay):
        video = probe_video(overlay)
        with VideoWriter(target, video.fps, (video.width, video.height)) as writer:
            for frame in decode_frames(video):
                writer.write(frame.image, frame.time)
    return target


def _is_current(made: Path, source: Path) -> bool:
    """Tell whether a file is there and not older than what it was made from."""
    try:
        return made.stat().st_mtime_ns >= source.stat().st_mtime_ns
    except OSError:
        return False


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
        raise FightposeError(f"cannot read the overlay {path}: {error}; run annotate again") from error
    if picture is None:
        raise FightposeError(f"cannot read the overlay {path}: it has no frame; run annotate again")
    return picture


def _fitted(picture: Image) -> Image:
    """Return a picture scaled into a thumbnail's frame, with black at its sides."""
    height, width = picture.shape[:2]
    scale = min(THUMBNAIL_WIDTH / width, THUMBNAIL_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    canvas: Image = np.zeros((THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, 3), np.uint8)
    left, top = (THUMBNAIL_WIDTH - size[0]) // 2, (THUMBNAIL_HEIGHT - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas
