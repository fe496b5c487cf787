"""Whether a model finds the same people in lower precision: bf16, and int8 where `quantize-model` has made it.

    python -m tests.benchmarks.precision CLIPS [--model M] [--step 12] [--json FILE]

Every `step`-th frame of each clip, one pass over the whole frame, the model's own thresholds. Lower precision may be a
default only where the number of people is the same in 99 % of the frames and the mean OKS at least .99. Beside it
stands the processor time per frame.
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

from tasks.outputs import discover_clips
from tasks.poses import load_model, resolve_model
from tasks.poses.detections import Detections, clean, suppress_duplicates
from tasks.poses.likeness import likeness
from tasks.poses.published import quantized_path
from tasks.settings import Precision, Thresholds
from tasks.video import Image, decode_frames, probe_video


def frames_of(clips: Path, step: int) -> list[Image]:
    """Return every `step`-th frame of all clips."""
    found = [clip.path for clip in discover_clips(clips, clips).clips]
    return [frame.image for path in found for frame in islice(decode_frames(probe_video(path)), 0, None, step)]


def people(
    model: str, precision: Precision, frames: Sequence[Image], limits: Thresholds
) -> tuple[list[Detections], float]:
    """Return the people of all frames in one precision, and the processor time per frame in milliseconds."""
    loaded = load_model(model, precision=precision)
    loaded.detect(frames)  # compiles for every shape
    start = time.process_time()
    found = loaded.detect(frames)
    busy = 1000 * (time.process_time() - start) / len(frames)
    kept = [
        clean(suppress_duplicates(one, limits.score_thr, limits.nms_thr), image.shape[1], image.shape[0])
        for one, image in zip(found, frames, strict=True)
    ]
    return kept, busy


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
    lower = [Precision.BF16] + [Precision.INT8] * quantized_path(entry.sha256).is_file()
    reference, busy = people(options.model, Precision.FP32, frames, entry.thresholds)
    sys.stdout.write(f"fp32  {busy:6.1f} ms of processor\n")
    result = {}
    for precision in lower:
        other, busy = people(options.model, precision, frames, entry.thresholds)
        found = likeness(reference, other)
        verdict = "the same people" if found.holds else "not the same people"
        sys.stdout.write(f"{precision}  {busy:6.1f} ms of processor  {found}: {verdict}\n")
        result[str(precision)] = asdict(found) | {"cpu_ms": busy}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
