"""The pictures of the docs, made from what `make demo` wrote: `make docs-pictures`.

    python -m tests.docs.pictures [DEMO-OUTPUT]

Writes `docs/overlay.jpg`, `docs/pictures/overlay-legend.jpg` and `docs/pictures/regions.jpg`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from tasks.annotations.format import read_annotation
from tasks.core.region_layout import REGIONS
from tasks.video.reading import Image, decode_frames, probe_video

PICTURES = Path(__file__).parents[2] / "docs/pictures"
CLIP, FRAME = "cam01", 50
"""The demo clip and the frame that are shown: both fighters, the bystander and the legend are clear of each other."""

SHEET_WIDTH = 1175
"""Of the first picture of the README, pixels."""

INK, PAPER = (40, 40, 40), (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX

MARKS = (
    ((0.185, 0.036), 40, "scoreboard: people in rank order"),
    ((0.728, 0.225), 150, "corners, thick: the two most involved now"),
    ((0.735, 0.457), 270, "rank in the clip"),
    ((0.790, 0.457), 360, "track ID: one person, one number"),
    ((0.876, 0.467), 450, "composite score"),
    ((0.120, 0.390), 580, "thin: not one of the two right now"),
    ((0.630, 0.775), 720, "skeleton: COCO-17 joints, darker is less sure"),
    ((0.640, 0.989), 910, "involvement over time; white line: this frame"),
)
"""Where the leader of each mark ends, as shares of the frame, the height of its text in pixels, and the text."""

COLORS = ((200, 120, 30), (60, 160, 60), (50, 60, 210), (160, 60, 160), (30, 30, 30))
"""Blue, green, red, purple and black for the five regions, in the order of `REGIONS`."""


def frame_of(path: Path, wanted: int) -> Image:
    """Return one frame of a video as (H, W, 3) uint8 BGR."""
    return next(frame.image for index, frame in enumerate(decode_frames(probe_video(path))) if index == wanted)


def text(
    image: Image, line: str, left: float, foot: float, color: tuple[int, int, int] = INK, size: float = 0.5
) -> None:
    """Write one line; `left` and `foot` are pixels."""
    cv2.putText(image, line, (round(left), round(foot)), FONT, 0.5, color, 1, cv2.LINE_AA)


def legend(overlay: Path) -> Image:
    """Return a frame of the overlay with its marks called out in a margin."""
    frame = cv2.resize(frame_of(overlay, FRAME), (544, 960), interpolation=cv2.INTER_AREA)
    canvas = np.full((960, 544 + 400, 3), 255, np.uint8)
    canvas[:, :544] = frame
    for (x, y), height, line in MARKS:
        end, start = (round(x * 544), round(y * 960)), (560, height)
        cv2.line(canvas, start, end, PAPER, 4, cv2.LINE_AA)
        cv2.line(canvas, start, end, INK, 2, cv2.LINE_AA)
        cv2.circle(canvas, end, 5, INK, -1, cv2.LINE_AA)
        cv2.circle(canvas, end, 3, PAPER, -1, cv2.LINE_AA)
        text(canvas, line, 568, start[1] + 5)
    return canvas


def regions(clip: Path, path: np.ndarray) -> Image:
    """Return the clip's frame with the five regions and their weights, beside the path of the weights, (R + 1, 5)."""
    width, height = 408, 720
    frame = cv2.resize(frame_of(clip, FRAME), (width, height), interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width + 560, 3), 255, np.uint8)
    # Paler, so that outlines and numbers can be read on it.
    canvas[:, :width] = frame // 2 + 127
    corners = [(0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5), (0.25, 0.25)]
    for (x, y), name, color, before, after in zip(corners, REGIONS, COLORS, path[0], path[-1], strict=True):
        left, top = round(x * width), round(y * height)
        cv2.rectangle(canvas, (left + 2, top + 2), (left + width // 2 - 2, top + height // 2 - 2), color, 2)
        # The lower corner of the lower regions, so that nothing lies under the middle region.
        row = top + (height // 2 - 34 if y == 0.5 else 22)
        text(canvas, name, left + 10, row, color)
        text(canvas, f"{before:.2f} -> {after:.2f}", left + 10, row + 20, color)
    _plot(canvas[:, width:], path)
    return canvas


def _plot(area: Image, path: np.ndarray) -> None:
    """Draw the weights over the rounds into a part of the picture, with axes from 0 to 1."""
    left, right, top, bottom = 60, 380, 60, 640
    rounds = len(path) - 1
    text(area, "weight", left - 40, top - 20)
    text(area, "round of learning", (left + right) / 2 - 60, bottom + 45)
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = round(bottom - value * (bottom - top))
        cv2.line(area, (left, y), (right, y), (220, 220, 220), 1)
        text(area, f"{value:g}", left - 42, y + 5)
    for index in range(rounds + 1):
        text(area, str(index), left + index * (right - left) / rounds - 4, bottom + 22)
    # Names at the ends of the lines, moved apart where they would lie on each other.
    ends = sorted(range(len(REGIONS)), key=lambda region: path[-1, region])
    y_text, texts = float(bottom + 40), {}
    for region in ends:
        y_text = texts[region] = min(y_text - 22, bottom - path[-1, region] * (bottom - top) + 5)
    for region, name in enumerate(REGIONS):
        points = [
            (round(left + index * (right - left) / rounds), round(bottom - weight * (bottom - top)))
            for index, weight in enumerate(path[:, region])
        ]
        cv2.polylines(area, [np.array(points, np.int32)], False, COLORS[region], 2, cv2.LINE_AA)
        text(area, name, right + 10, texts[region], COLORS[region])


def main(demo: Path) -> None:
    """Write the three pictures.

    Parameters
    ----------
    demo
        The output folder of `fightpose demo`.
    """
    annotated = demo / "annotated/clips/Fight"
    annotation = read_annotation(annotated / f"{CLIP}_enhanced_stgcn_annotation.pkl")["annotations"][0]
    PICTURES.mkdir(exist_ok=True)
    sheet = cv2.imread(str(demo / "demo.png"))
    assert sheet is not None
    size = (SHEET_WIDTH, round(SHEET_WIDTH * sheet.shape[0] / sheet.shape[1]))
    sheet = cv2.resize(sheet, size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(PICTURES.parent / "overlay.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 82])
    picture = legend(annotated / f"{CLIP}_enhanced_rtmo_overlay.mp4")
    cv2.imwrite(str(PICTURES / "overlay-legend.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    path = np.array(annotation["region_weights_path"])
    cv2.imwrite(
        str(PICTURES / "regions.jpg"), regions(demo / f"clips/Fight/{CLIP}.mp4", path), [cv2.IMWRITE_JPEG_QUALITY, 88]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output"))
