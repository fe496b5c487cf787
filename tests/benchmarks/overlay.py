"""What the overlay costs: drawing and encoding per frame, in milliseconds and as a ratio to decoding.

    python -m tests.benchmarks.overlay [--frames 150]

The scene is synthetic (people side by side on a noisy picture), so that the figures need no clip. Drawing is counted
as processor time of its one thread, which other work on the machine disturbs least; all else is wall time. Encoding
runs beside drawing in `write_overlay`, whose time per frame is the last column.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np

from tasks.overlay import OverlayPainter, write_overlay
from tasks.records import VideoInfo
from tasks.settings import OverlaySettings
from tasks.video_writer import VideoWriter
from tests.scenes import ranked_by_id, standing_people

CASES = [((320, 240), 6), ((1280, 720), 6), ((1280, 720), 20), ((3840, 2160), 6)]
"""Frame size and number of people."""


def milliseconds(steps: Iterable[object], frames: int) -> float:
    """Run all steps and return the time per frame in milliseconds."""
    start = time.perf_counter()
    for _ in steps:
        pass
    return (time.perf_counter() - start) / frames * 1e3


def measure(size: tuple[int, int], people: int, frames: int, folder: Path) -> tuple[float, float, float, float]:
    """Return milliseconds per frame of decoding, drawing, encoding, and of the whole overlay but decoding."""
    noise = np.random.default_rng(0).integers(60, 130, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    picture = np.asarray(cv2.resize(noise, size), np.uint8)
    tracks = standing_people(size, people, frames)
    involvement = ranked_by_id(tracks)
    settings = OverlaySettings(overlay_regions=True)
    clip, overlay = folder / "clip.mp4", folder / "overlay.mp4"

    start = time.perf_counter()
    with VideoWriter(clip, 25, size) as writer:
        for i in range(frames):
            writer.write(np.roll(picture, 2 * i, axis=1))
    encode = (time.perf_counter() - start) / frames * 1e3

    with av.open(str(clip)) as container:
        container.streams.video[0].thread_type = "AUTO"
        decode = milliseconds((f.to_ndarray(format="bgr24") for f in container.decode(video=0)), frames)

    painter = OverlayPainter(tracks, involvement, size, settings)
    start = time.thread_time()
    for i in range(frames):
        painter.draw(i, picture)
    draw = (time.thread_time() - start) / frames * 1e3

    start = time.perf_counter()
    video = VideoInfo(clip, "", *size, 25.0, frames, "mp4", "h264")
    write_overlay(((picture, None) for _ in range(frames)), video, tracks, involvement, overlay, settings)
    return decode, draw, encode, (time.perf_counter() - start) / frames * 1e3


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=150)
    frames = parser.parse_args().frames
    # Drawing is promised for one core.
    cv2.setNumThreads(1)
    write = sys.stdout.write
    write("size        people  decode ms  draw ms  encode ms  draw/decode  encode/decode  overlay ms\n")
    with tempfile.TemporaryDirectory() as folder:
        for size, people in CASES:
            # A tenth of the frames is enough at 4K, where each costs ten times as much.
            count = frames if size[0] < 2000 else max(20, frames // 5)
            decode, draw, encode, whole = measure(size, people, count, Path(folder))
            write(
                f"{size[0]}x{size[1]:<7}{people:>5}{decode:>11.2f}{draw:>9.2f}{encode:>11.2f}"
                f"{draw / decode:>13.2f}{encode / decode:>15.2f}{whole:>12.2f}\n"
            )


if __name__ == "__main__":
    main()
