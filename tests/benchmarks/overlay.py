"""What the overlay costs: drawing and encoding per frame, in milliseconds and as ratios to decoding and to mmpose.

    python -m tests.benchmarks.overlay [--frames 150] [--repeat 5]

The scene is synthetic (people side by side on a noisy picture), so that the figures need no clip. Every figure is the
best of several readings, as other work on the machine only ever adds to one. Drawing is counted as processor time of
its one thread, which that disturbs least; all else is wall time. Encoding runs beside drawing in `write_overlay`, whose
time per frame is the last column.

Where mmpose is installed (`make install-mmpose`) its own visualizer draws the same boxes and skeletons with its OpenCV
backend, which does not draw IDs, ranks, board and timeline; as in mmpose's demos the picture goes through RGB.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tasks.core.errors import FightposeError
from tasks.core.records import Tracks, VideoInfo
from tasks.core.settings import OverlaySettings
from tasks.core.skeleton import LIMBS, NUM_KEYPOINTS
from tasks.overlay.painter import OverlayPainter, write_overlay
from tasks.video.reading import Image
from tasks.video.writing import VideoWriter
from tests.scenes import ranked_by_id, standing_people

CASES = [((320, 240), 6), ((1280, 720), 6), ((1280, 720), 20), ((3840, 2160), 6)]
"""Frame size and number of people."""

Draw = Callable[[int, Image], Any]


def best_ms(work: Callable[[], None], frames: int, repeat: int, clock: Callable[[], float]) -> float:
    """Return the least time per frame of several runs, in milliseconds."""
    readings = []
    for _ in range(repeat):
        start = clock()
        work()
        readings.append((clock() - start) / frames * 1e3)
    return min(readings)


def measure(size: tuple[int, int], people: int, frames: int, repeat: int, folder: Path) -> dict[str, float]:
    """Return milliseconds per frame of decoding, drawing, encoding, the whole overlay but decoding, and mmpose."""
    noise = np.random.default_rng(0).integers(60, 130, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    picture = np.asarray(cv2.resize(noise, size), np.uint8)
    tracks = standing_people(size, people, frames)
    involvement = ranked_by_id(tracks)
    settings = OverlaySettings(overlay_regions=True)
    clip, overlay = folder / "clip.mp4", folder / "overlay.mp4"
    painter = OverlayPainter(tracks, involvement, size, settings)
    drawn = painter.draw(0, picture)

    def encode(path: Path, image: Image) -> None:
        """Write a moving picture."""
        with VideoWriter(path, 25, size) as writer:
            for i in range(frames):
                writer.write(np.roll(image, 2 * i, axis=1))

    def decode() -> None:
        """Read the clip as annotating does."""
        with av.open(str(clip)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                frame.to_ndarray(format="bgr24")

    def whole() -> None:
        """Write the overlay."""
        video = VideoInfo(clip, "", *size, 25.0, frames, "mp4", "h264")
        write_overlay(((picture, None) for _ in range(frames)), video, tracks, involvement, overlay, settings)

    def all_frames(draw: Draw) -> Callable[[], None]:
        """Return the drawing of every frame."""
        return lambda: [draw(i, picture) for i in range(frames)] and None

    encode(clip, picture)
    times = {
        "decode": best_ms(decode, frames, repeat, time.perf_counter),
        "draw": best_ms(all_frames(painter.draw), frames, repeat, time.thread_time),
        "encode": best_ms(lambda: encode(overlay, drawn), frames, repeat, time.perf_counter),
        "whole": best_ms(whole, frames, repeat, time.perf_counter),
    }
    theirs = mmpose_draw(tracks, size)
    if theirs is not None:
        times["mmpose"] = best_ms(all_frames(theirs), frames, repeat, time.thread_time)
    return times


def mmpose_draw(tracks: Tracks, size: tuple[int, int]) -> Draw | None:
    """Return mmpose's own drawing of the same people, None where it is not installed.

    Lines and joints are as thick as ours: mmpose's default of one pixel is not a picture to look at.
    """
    from tasks.poses.backends.mmpose.compat import importable_mmpose

    try:
        with importable_mmpose():
            from mmengine.structures import InstanceData
            from mmpose.structures import PoseDataSample
            from mmpose.visualization import PoseLocalVisualizer
    except FightposeError:
        return None

    class Visualizer(PoseLocalVisualizer):  # type: ignore[misc]
        """mmpose's own, which hands a radius of shape (1,) to int(): numpy refuses that from 2.4 on."""

        def draw_circles(self, center: Any, radius: Any, **marks: Any) -> Any:
            """Draw one joint."""
            return super().draw_circles(center, radius.item(), **marks)

    unit = size[0] / 1280
    visualizer = Visualizer(line_width=max(1, round(2.4 * unit)), radius=max(1, round(3 * unit)))
    colors = np.full((NUM_KEYPOINTS, 3), 200), np.full((len(LIMBS), 3), 200)
    visualizer.set_dataset_meta(
        {"skeleton_links": LIMBS.tolist(), "keypoint_colors": colors[0], "skeleton_link_colors": colors[1]}
    )
    poses = tracks.poses
    samples = []
    for frame in range(poses.frame_count):
        rows = poses.frame_index == frame
        found = InstanceData(
            keypoints=poses.keypoints[rows],
            keypoint_scores=poses.keypoint_scores[rows],
            bboxes=poses.bbox[rows],
            bbox_scores=poses.score[rows],
        )
        samples.append(PoseDataSample(pred_instances=found))

    def draw(frame: int, image: Image) -> Any:
        """Draw one frame."""
        visualizer.add_datasample("", image[..., ::-1], samples[frame], draw_gt=False, draw_bbox=True)
        return np.ascontiguousarray(visualizer.get_image()[..., ::-1])

    return draw


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    # Drawing is promised for one core.
    cv2.setNumThreads(1)
    write = sys.stdout.write
    write("size        people  decode ms  draw ms  encode ms  draw/decode  encode/decode  draw/mmpose  overlay ms\n")
    with tempfile.TemporaryDirectory() as folder:
        for size, people in CASES:
            # A tenth of the frames is enough at 4K, where each costs ten times as much.
            frames = arguments.frames if size[0] < 2000 else max(20, arguments.frames // 10)
            ms = measure(size, people, frames, arguments.repeat, Path(folder))
            against = f"{ms['draw'] / ms['mmpose']:>13.2f}" if "mmpose" in ms else f"{'absent':>13}"
            write(
                f"{size[0]}x{size[1]:<7}{people:>5}{ms['decode']:>11.2f}{ms['draw']:>9.2f}{ms['encode']:>11.2f}"
                f"{ms['draw'] / ms['decode']:>13.2f}{ms['encode'] / ms['decode']:>15.2f}{against}{ms['whole']:>12.2f}\n"
            )


if __name__ == "__main__":
    main()
