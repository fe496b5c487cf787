"""The demo clips: two people in a staged bout and one bystander, from four cameras.

They come from the wheel of Pose2Sim (BSD-3-Clause), 100 frames each, 1088 x 1920 at 60 fps.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tasks.core.download import WheelMember, fetch
from tasks.core.errors import FightposeError
from tasks.core.storage import atomic_path, file_sha256
from tasks.video.reading import Image, probe_video
from tasks.video.thumbnails import frame_at

DEMO_SHA256 = (
    "543cee6a4c2c2b52dc9eac9137ee63d14f1f84e706a9a7264769edcb11e5ea53",
    "8895092a7cf26359205a427b7ac2f4a935c2e0bd36d9b7a5140cb33faa468a6b",
    "d3daf48cdf9f5603868ddb99166ddaf9b12279e7ce968922926560d5fd3f0c99",
    "1490149dc40e7301fa5ceae23862b044ba5c398a8b2a40df21ed894702728c09",
)
"""Hashes of cam01.mp4 to cam04.mp4."""

DEMO_CLIPS = [
    WheelMember("pose2sim==0.10.49", (f"Pose2Sim/Demo_MultiPerson/videos/cam{number:02d}.mp4",), sha256)
    for number, sha256 in enumerate(DEMO_SHA256, start=1)
]

TILE_HEIGHT = 720


def fetch_demo_clips(folder: Path) -> Path:
    """Put the demo clips into `<folder>/Fight` and return the folder.

    Raises
    ------
    FightposeError
        If they are not cached and cannot be downloaded.
    """
    for source in fetch(DEMO_CLIPS):
        target = folder / "Fight" / source.name
        # Left alone where it is the same: a new time of change would have the clip annotated again.
        if not (target.is_file() and file_sha256(target) == file_sha256(source)):
            with atomic_path(target) as partial:
                shutil.copyfile(source, partial)
    return folder


def contact_sheet(overlays: Sequence[Path], path: Path) -> Path:
    """Write a PNG that shows the middle frame of each overlay side by side.

    Raises
    ------
    FightposeError
        If there is no overlay.
    """
    if not overlays:
        raise FightposeError("no overlay was written, so there is nothing to show; see the failures above")
    # A header may promise more frames than there are: then the last one is taken.
    tiles = [_tile(frame_at(overlay, probe_video(overlay).header_frames // 2)) for overlay in overlays]
    # Encoded in memory and then moved into place, so that the picture is there whole or not at all.
    ok, png = cv2.imencode(".png", np.concatenate(tiles, axis=1))
    if not ok:
        raise FightposeError(f"{path} cannot be encoded as PNG")
    with atomic_path(path) as partial:
        partial.write_bytes(png.tobytes())
    return path


def _tile(image: Image) -> Image:
    """Scale an image to the height of the sheet."""
    width = round(image.shape[1] * TILE_HEIGHT / image.shape[0])
    # By area, since pictures are shrunk here: the thin lines of skeletons would break up otherwise.
    return np.asarray(cv2.resize(image, (width, TILE_HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
