"""How close the pipeline comes to its model's own speed, and how it compares with what people used before.

    python -m tests.benchmarks.throughput --video FILE [--model M | --config C --checkpoint P | --random rtmo-s]
        [--precision bf16] [--input-shape fitted] [--second-look off] [--json FILE]

Every kind of run has a process of its own, so that its peak memory is its own; the runs are interleaved, round after
round, so that other work on the machine touches all alike, and each ratio is the median over the rounds. With a config
and a checkpoint the checkpoint is exported and our runs use the exported file, the earlier loop mmpose itself (with one
thread and with two), and rtmlib (where installed, in both of its runtimes) the exported file: all with the same
weights, compared with the best way of each peer, without an overlay on either side and with one on both. `--random`
makes a checkpoint of random weights, calibrated on the clip so that about as many anchors fire as with a handful of
people: enough to compare speeds with.

Model only means: the frames lie in memory, and the model is asked for exactly what the pipeline asks it for (the whole
frames; with the second look, its tiles and crops). Beside frames/s stands the processor time per frame, which other
work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import av
import cv2
import numpy as np

from tasks.core.choices import InputShape, Precision, SecondLook
from tasks.core.settings import OverlaySettings, PoseSettings, Settings, Thresholds

PRELOADED = 64
"""Frames of the model-only run: enough to keep it busy, few enough for memory."""

ANCHORS = 10
"""Anchors per frame that a random checkpoint lets pass: as many detections as a few people in contact give."""

LONGER = 10
"""How many times longer the clip of the memory comparison is."""


@dataclass(frozen=True)
class Job:
    """What all runs share: the clip, our model, and the mmpose files of the earlier loop."""

    video: Path
    model: str
    out: Path
    config: str | None = None
    checkpoint: str | None = None
    precision: str = "auto"
    second_look: str = "auto"
    input_shape: str = "square"

    @property
    def settings(self) -> Settings:
        """Our settings, thresholds filled in."""
        from tasks.poses import resolve_model

        poses = PoseSettings(
            model=self.model,
            precision=Precision(self.precision),
            input_shape=InputShape(self.input_shape),
            second_look=SecondLook(self.second_look),
        )
        return Settings(poses=poses).resolve(resolve_model(self.model).thresholds)


Run = Callable[[], int]
"""Does the work once and returns the number of frames."""


def decode_only(job: Job) -> Run:
    """Prepare the decoding of the clip, and nothing else."""
    from tasks.video.reading import decode_frames, probe_video

    info = probe_video(job.video)
    return lambda: sum(1 for _ in decode_frames(info))


def model_only(job: Job) -> Run:
    """Prepare the model on what the pipeline asks it for, out of frames that lie in memory already."""
    from itertools import islice

    from tasks.poses import model_of
    from tasks.poses.second_look import Looker
    from tasks.video.reading import decode_frames, probe_video

    settings = job.settings.poses
    model: Any = model_of(settings)
    video = probe_video(job.video)
    frames = [frame.image for frame in islice(decode_frames(video), PRELOADED)]
    asked: list[tuple[Any, ...]] = []
    detect = model.detect

    def noting(images: Any, *rest: Any) -> Any:
        """Note what the model is asked for, and answer."""
        asked.append((list(images), *rest))
        return detect(images, *rest)

    model.detect = noting
    looker = Looker(model, video.width, video.height, video.fps, settings)
    for start in range(0, len(frames), model.batch_size):
        looker.find(frames[start : start + model.batch_size])
    model.detect = detect

    def run() -> int:
        """Ask for the same again."""
        for what in asked:
            detect(*what)
        return len(frames)

    return run


def extract(job: Job) -> Run:
    """Prepare pose extraction: decoding, model, thresholds, NMS."""
    from tasks.poses import extract_poses, model_of
    from tasks.video.reading import probe_video

    settings = job.settings.poses
    model = model_of(settings)
    return lambda: extract_poses(probe_video(job.video), model, settings).frame_count


def annotate(job: Job, overlay: bool = False) -> Run:
    """Prepare the whole of a clip but Prefect: poses, tracks, ranking, annotation, and the overlay where wanted."""
    from tasks.annotations.format import build_annotation, write_annotation
    from tasks.clips.discovery import find_clip
    from tasks.involvement import rank_involvement
    from tasks.overlay.painter import write_overlay
    from tasks.poses import extract_poses, model_of
    from tasks.regions.clip_weights import learn_region_weights
    from tasks.regions.scores import score_regions
    from tasks.tracking import track_people
    from tasks.tracking.occlusion import end_at_nearer
    from tasks.video.reading import decode_frames, probe_video

    settings = job.settings
    model = model_of(settings.poses)
    clip = find_clip(job.video, None, job.out)

    def run() -> int:
        """Walk the clip through the steps of the flow."""
        video = probe_video(clip.path)
        poses = extract_poses(video, model, settings.poses)
        tracks = track_people(poses, settings.tracking)
        regions = score_regions(tracks)
        weights = learn_region_weights(tracks, regions, settings.scoring)
        # Everyone is kept: which tracks are long enough is no matter of speed.
        ranking = rank_involvement(tracks, regions, weights, settings.scoring)
        tracks = end_at_nearer(tracks)
        # What random weights see may be nothing that can be tracked: then there is no annotation, which costs little.
        if len(tracks.ids):
            write_annotation(clip.annotation_path, [build_annotation(clip, tracks, ranking, settings, {})])
        if overlay:
            write_overlay(decode_frames(video), video, tracks, ranking, clip.overlay_path, OverlaySettings())
        return poses.frame_count

    return run


def earlier_loop(job: Job, threads: int) -> Run:
    """Prepare what the earlier scripts did: one frame at a time, all kept, mmpose's visualizer for the overlay."""
    import torch

    # Threads of torch wait for each other: on a busy machine two of them take three times the processor time of one.
    torch.set_num_threads(threads)

    from tasks.poses.backends.mmpose.compat import importable_mmpose

    with importable_mmpose():
        from mmpose.apis import inference_bottomup, init_model
        from mmpose.registry import VISUALIZERS

        model = init_model(job.config, None, "cpu")
        visualizer = VISUALIZERS.build({"type": "PoseLocalVisualizer", "name": "earlier", "radius": 3})
    # mmengine 0.10 cannot read numpy objects with torch 2.6 or later.
    model.load_state_dict(torch.load(str(job.checkpoint), weights_only=False)["state_dict"], strict=False)
    visualizer.set_dataset_meta(model.dataset_meta)
    draw = visualizer.draw_circles
    # mmpose 1.3 turns an array into a number in a way that numpy 2.4 refuses.
    visualizer.draw_circles = lambda centre, radius, **style: draw(centre, float(np.ravel(radius)[0]), **style)

    def run() -> int:
        """Read all, infer all, then draw all."""
        frames = []
        capture = cv2.VideoCapture(str(job.video))
        while (read := capture.read())[0]:
            frames.append(read[1])
        results = [inference_bottomup(model, frame)[0] for frame in frames]
        height, width = frames[0].shape[:2]
        code = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(job.out / "earlier.avi"), code, 25, (width, height))
        for frame, result in zip(frames, results, strict=True):
            visualizer.add_datasample("frame", frame, result, draw_gt=False, show=False, kpt_thr=0.3)
            writer.write(np.ascontiguousarray(visualizer.get_image()))
        writer.release()
        return len(frames)

    return run


def by_rtmlib(job: Job, backend: str, overlay: bool = False) -> Run:
    """Prepare rtmlib on the same .onnx file, frame by frame as its examples do, on the CPU."""
    from rtmlib import RTMO, draw_skeleton

    from tasks.poses.backends.rtmo import Rtmo

    ours = Rtmo(Path(job.model))
    model = RTMO(job.model, model_input_size=(ours.height, ours.width), backend=backend, device="cpu")
    del ours

    def run() -> int:
        """Read, infer and, where wanted, draw and write in turn."""
        capture = cv2.VideoCapture(str(job.video))
        writer, count = None, 0
        while (read := capture.read())[0]:
            keypoints, scores = model(read[1])
            if overlay:
                if writer is None:
                    size = read[1].shape[1::-1]
                    writer = cv2.VideoWriter(str(job.out / "rtmlib.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
                writer.write(draw_skeleton(read[1], keypoints, scores, kpt_thr=0.3))
            count += 1
        if writer is not None:
            writer.release()
        return count

    return run


def fitted(job: Job) -> Job:
    """Return the same job without padding."""
    return replace(job, input_shape="fitted")


KINDS: dict[str, Callable[[Job], Run]] = {
    "decode": decode_only,
    "model": model_only,
    "extract": extract,
    "annotate": annotate,
    "annotate+overlay": lambda job: annotate(job, overlay=True),
}

PEERS: dict[str, Callable[[Job], Run]] = {
    "fitted": lambda job: extract(fitted(job)),
    "fitted+overlay": lambda job: annotate(fitted(job), overlay=True),
    "rtmlib onnxruntime": lambda job: by_rtmlib(job, "onnxruntime"),
    "rtmlib openvino": lambda job: by_rtmlib(job, "openvino"),
    "rtmlib openvino+overlay": lambda job: by_rtmlib(job, "openvino", overlay=True),
    "rtmlib onnxruntime+overlay": lambda job: by_rtmlib(job, "onnxruntime", overlay=True),
    "earlier loop, 1 thread": lambda job: earlier_loop(job, 1),
    "earlier loop, 2 threads": lambda job: earlier_loop(job, 2),
}
"""What an exported RTMO is compared in: without padding, and the programs that people use otherwise, at their best."""


def serve(kind: str, job: Job, pipe: Any) -> None:
    """Prepare one kind in this process, run it whenever asked, and report its peak memory at the end."""
    run = (KINDS | PEERS)[kind](job)
    pipe.send("ready")
    while pipe.recv() == "run":
        start, busy = time.perf_counter(), time.process_time()
        frames = run()
        pipe.send((frames / (time.perf_counter() - start), 1000 * (time.process_time() - busy) / frames))
    # Kilobytes on Linux.
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


class Worker:
    """The process of one kind."""

    def __init__(self, kind: str, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(kind, job, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def run(self) -> tuple[float, float]:
        """Return frames per second of one run, and its processor time per frame in milliseconds."""
        self._pipe.send("run")
        rate, busy = self._pipe.recv()
        return float(rate), float(busy)

    def finish(self) -> float:
        """End the process and return its peak memory in MiB."""
        self._pipe.send("stop")
        peak = float(self._pipe.recv())
        self._process.join()
        return peak


def lengthened(video: Path, target: Path) -> Path:
    """Write a clip several times in a row into one file, without encoding it again."""
    with av.open(str(target), "w") as out:
        stream, end = None, 0
        for _ in range(LONGER):
            with av.open(str(video)) as source:
                template = source.streams.video[0]
                stream = stream or out.add_stream_from_template(template)
                packets = [packet for packet in source.demux(template) if packet.dts is not None]
                # Decoding times begin below zero where frames are reordered, and may not go back in a file.
                shift = end - (packets[0].dts or 0)
                for packet in packets:
                    step = packet.duration or int(1 / (Fraction(template.average_rate or 25) * packet.time_base))
                    packet.dts, packet.pts = (packet.dts or 0) + shift, (packet.pts or 0) + shift
                    end = packet.dts + step
                    packet.stream = stream
                    out.mux(packet)
    return target


def ratios_of(values: dict[str, list[float]]) -> dict[str, float]:
    """Return the ratios between kinds that were run, each the median over the rounds.

    Parameters
    ----------
    values
        Kind to a figure for each round of which more is better: frames per second, or the same of processor time. Of
        several ways to run a peer the best one is compared with.
    """
    wanted = {
        "extract to model": ("extract", "model"),
        "annotate to model": ("annotate+overlay", "model"),
        "square to rtmlib": ("extract", "rtmlib *"),
        "fitted to rtmlib": ("fitted", "rtmlib *"),
        "square to rtmlib, overlays": ("annotate+overlay", "rtmlib *+overlay"),
        "fitted to rtmlib, overlays": ("fitted+overlay", "rtmlib *+overlay"),
        "square to earlier loop, overlays": ("annotate+overlay", "earlier loop*"),
    }
    found = {}
    for name, (top, pattern) in wanted.items():
        peers = [kind for kind in values if fnmatch(kind, pattern) and ("+" in kind) == ("+" in pattern)]
        if values.get(top) and peers:
            best = max(peers, key=lambda kind: median(values[kind]))
            found[name] = median(a / b for a, b in zip(values[top], values[best], strict=True))
    return found


def exported(config: str, checkpoint: str, folder: Path, lenient: bool) -> str:
    """Export a checkpoint in a process of its own, so that this one stays free of torch."""
    from tasks.core.storage import write_text
    from tasks.poses.backends.rtmo import Sidecar, sidecar_path

    context = multiprocessing.get_context("spawn")
    path = folder / f"{Path(checkpoint).stem}.onnx"
    process = context.Process(target=_export, args=(Path(config), Path(checkpoint), path))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit("the export failed")
    if lenient:
        # Random weights fire around mmpose's threshold of .1: there shall be people to track and to draw.
        low = Thresholds(score_thr=0.1, track_high_thresh=0.1, track_low_thresh=0.1, quality_threshold=0.0)
        write_text(sidecar_path(path), Sidecar(thresholds=low).model_dump_json())
    return str(path)


def _export(config: Path, checkpoint: Path, path: Path) -> None:
    """Write the .onnx file, unchecked: random weights see nobody in a real clip."""
    from tasks.poses.backends.mmpose.model import load_network
    from tasks.poses.export import write_onnx

    write_onnx(load_network(config, checkpoint), path)


def random_checkpoint(name: str, video: Path, folder: Path) -> tuple[str, str]:
    """Write a random checkpoint calibrated on a clip; returns the config that mmpose ships, and the checkpoint."""
    context = multiprocessing.get_context("spawn")
    path = folder / f"{name}.pth"
    process = context.Process(target=_calibrate, args=(name, video, path))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit("the checkpoint could not be made: it needs mmpose (make install-mmpose)")
    from tasks.poses.backends.mmpose.files import shipped_config

    return str(shipped_config(name)), str(path)


def _calibrate(name: str, video: Path, path: Path) -> None:
    """Make the random checkpoint."""
    from tasks.poses.backends.mmpose.files import shipped_config
    from tasks.poses.export import check_frames
    from tests.tasks.poses.random_rtmo import save_random_checkpoint

    save_random_checkpoint(shipped_config(name), path, ANCHORS, check_frames(video))


def measure(job: Job, kinds: list[str], rounds: int) -> dict[str, Any]:
    """Run all kinds round after round and return frames/s, processor time, peak memory (MiB) and ratios."""
    workers = {kind: Worker(kind, job) for kind in kinds}
    for worker in workers.values():  # caches fill, kernels are chosen
        worker.run()
    runs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, worker in workers.items():
            runs[kind].append(worker.run())
    rates = {kind: [rate for rate, _ in values] for kind, values in runs.items()}
    return {
        "fps": {kind: median(values) for kind, values in rates.items()},
        "cpu_ms": {kind: median(busy for _, busy in values) for kind, values in runs.items()},
        "mib": {kind: worker.finish() for kind, worker in workers.items()},
        "ratios": ratios_of(rates),
        "cpu_ratios": ratios_of({kind: [1000 / busy for _, busy in values] for kind, values in runs.items()}),
    }


def peers_here(model: str, has_checkpoint: bool) -> list[str]:
    """Return the peers that can be run: rtmlib where it is installed, the earlier loop where there is a checkpoint."""
    if not model.endswith(".onnx"):
        return []
    packages = {"rtmlib": find_spec("rtmlib") is not None, "earlier": has_checkpoint, "fitted": has_checkpoint}
    return [kind for kind in PEERS if packages[kind.replace("+", " ").split()[0]]]


def longer_memory(job: Job, folder: Path) -> float:
    """Return the peak memory of annotating a longer clip over that of the clip itself."""
    peaks = []
    for video in (job.video, lengthened(job.video, folder / f"longer{job.video.suffix}")):
        worker = Worker("annotate+overlay", replace(job, video=video))
        worker.run()
        peaks.append(worker.finish())
    return peaks[1] / peaks[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--model", default="movenet-multipose")
    parser.add_argument("--config")
    parser.add_argument("--checkpoint")
    parser.add_argument(
        "--random", help="rtmo-t, rtmo-s, rtmo-m or rtmo-l with random weights, in place of a checkpoint"
    )
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--second-look", default="auto")
    parser.add_argument("--input-shape", default="square")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fightpose-") as name:
        folder = Path(name)
        video, model = options.video.resolve(), options.model
        config, checkpoint = options.config, options.checkpoint
        if options.random:
            config, checkpoint = random_checkpoint(options.random, video, folder)
        if config:
            model = exported(config, checkpoint, folder, lenient=bool(options.random))
        ours = options.precision, options.second_look, options.input_shape
        job = Job(video, model, folder / "out", config, checkpoint, *ours)
        job.out.mkdir()
        kinds = [*KINDS, *peers_here(model, bool(config))]
        result = measure(job, kinds, options.rounds)
        result["ratios"]["memory_10x_longer"] = longer_memory(job, folder)
    for kind, rate in result["fps"].items():
        busy, peak = result["cpu_ms"][kind], result["mib"][kind]
        sys.stdout.write(f"{kind:27} {rate:8.1f} frames/s  {busy:7.1f} ms of processor  peak {peak:6.0f} MiB\n")
    # The load says how far the frames per second can be trusted; processor time suffers far less from it.
    sys.stdout.write(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    for ratio, value in result["ratios"].items():
        busy = result["cpu_ratios"].get(ratio)
        by_work = "" if busy is None else f"{busy:8.2f} by processor time"
        sys.stdout.write(f"{ratio:34} {value:8.2f} {by_work}\n")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
