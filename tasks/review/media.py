"""Pictures and videos that the review page shows: thumbnails, and mp4 copies of overlays that browsers do not play.

Both are made when they are first asked for and kept below `<output root>/.fightpose/review/`; one that is older than
its overlay is made again.
"""

from __future__ import annotations

from pathlib import Path

from tasks.core.prefetch import ahead
from tasks.core.storage import atomic_path
from tasks.review.index import review_folder
from tasks.video.reading import decode_frames, probe_video
from tasks.video.thumbnails import jpeg_of
from tasks.video.writing import VideoWriter

FRAMES_AHEAD = 4
"""Frames decoded ahead of the encoder; at 4K one is 25 MB."""

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
        The clip's name in addresses (`tasks.review.index.clip_id`).
    output_root
        The output root.

    Raises
    ------
    FightposeError
        If no frame of the overlay can be decoded.
    """
    # A folder for each two first letters: one with a hundred thousand files is slow to list.
    target = review_folder(output_root) / "thumbnails" / key[:2] / f"{key}.jpg"
    if not _is_current(target, overlay):
        data = jpeg_of(overlay, frame, (THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT))
        with atomic_path(target) as partial:
            partial.write_bytes(data)
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
        # Frame times are copied, so that the copy plays as the overlay does where the rate varies.
        with (
            VideoWriter(target, video.fps, (video.width, video.height)) as writer,
            ahead(decode_frames(video), FRAMES_AHEAD) as frames,
        ):
            for frame in frames:
                writer.write(frame.image, frame.time)
    return target


def _is_current(made: Path, source: Path) -> bool:
    """Tell whether a file is there and not older than what it was made from."""
    try:
        return made.stat().st_mtime_ns >= source.stat().st_mtime_ns
    except OSError:
        return False
