"""Whether a model finds the same people in a faster way: bf16, int8 where `quantize-model` has made it, fitted input.

    python -m tests.benchmarks.precision CLIPS [--model M] [--step 12] [--json FILE]

Every `step`-th frame of each clip, one pass over the whole frame, the model's own thresholds. A faster way may be a
default only where the number of people is the same in 99 % of the frames and the mean OKS at least .99. Beside it
stands the processor time per frame. The row `noise` is fp32 on frames whose pixels are altered by at most one grey
level: a model that fails there, as random weights do, cannot tell a harmful difference from a harmless one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np

from tasks.clips.discovery import discover_clips
from tasks.core.choices import InputShape, Precision
from tasks.core.settings import Thresholds
from tasks.poses import load_model, resolve_model
from tasks.poses.agreement import likeness
from tasks.poses.backends import table
from tasks.poses.detections import Detections, clean, suppress_duplicates
from tasks.poses.published_models import quantized_path
from tasks.video.reading import Image, decode_frames, probe_video


def frames_of(clips: Path, step: int) -> list[Image]:
    """Return every `step`-th frame of all clips."""
    found = [clip.path for clip in discover_clips(clips, clips).clips]
    return [frame.image for path in found for frame in islice(decode_frames(probe_video(path)), 0, None, step)]


def people(
    model: str,
    precision: Precision,
    frames: Sequence[Image],
    limits: Thresholds,
    shape: InputShape = InputShape.SQUARE,
) -> tuple[list[Detections], float]:
    """Return the people of all frames in one precision and shape, and the processor time per frame in milliseconds."""
    loaded = load_model(model, precision=precision, input_shape=shape)
    loaded.detect(frames)  # compiles for every shape
    start = time.process_time()
    found = loaded.detect(frames)
    busy = 1000 * (time.process_time() - start) / len(frames)
    kept = [
        clean(suppress_duplicates(one, limits.score_thr, limits.nms_thr), image.shape[1], image.shape[0])
        for one, image in zip(found, frames, strict=True)
    ]
    return kept, busy


def noisy(frames: Sequence[Image]) -> list[Image]:
    """Return frames whose pixels are altered by at most one grey level, less than any camera's noise."""
    random = np.random.default_rng(0)
    return [np.clip(frame + random.integers(-1, 2, frame.shape, np.int16), 0, 255).astype(np.uint8) for frame in frames]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--model", default="movenet-multipose")
    parser.add_argument("--step", type=int, default=12)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    entry = resolve_model(options.model)
    frames = frames_of(options.clips, options.step)
    square = InputShape.SQUARE
    ways = {"noise": (Precision.FP32, noisy(frames), square), "bf16": (Precision.BF16, frames, square)}
    if quantized_path(entry.sha256).is_file():
        ways["int8"] = Precision.INT8, frames, square
    if entry.backend is table.RTMO:
        ways["fitted"] = Precision.FP32, frames, InputShape.FITTED
    reference, busy = people(options.model, Precision.FP32, frames, entry.thresholds)
    sys.stdout.write(f"fp32    {busy:6.1f} ms of processor\n")
    result = {}
    for name, (precision, shown, shape) in ways.items():
        other, busy = people(options.model, precision, shown, entry.thresholds, shape)
        found = likeness(reference, other)
        verdict = "the same people" if found.holds else "not the same people"
        sys.stdout.write(f"{name:7} {busy:6.1f} ms of processor  {found}: {verdict}\n")
        result[name] = asdict(found) | {"cpu_ms": busy}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
