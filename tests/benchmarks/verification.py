"""What the deep check costs: a thousand annotations read and held against every rule, and their overlays decoded.

    python -m tests.benchmarks.verification [--count 1000] [--people 4] [--frames 150] [--overlays]

The annotations are synthetic and sound, and as large as those of five seconds of video with four people. Reading and
checking is one figure; with `--overlays` each also has an overlay of 320 x 240 pixels, decoded once at the first check
and not again at the second.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tasks.annotations.format import write_annotation
from tasks.mapping.verify import verify_mapping
from tests.tasks.samples import sample_annotation
from tests.video_factory import plain_frames, write_video


def prepare(root: Path, count: int, people: int, frames: int, overlays: bool) -> None:
    """Write the outputs of a run that was told to write overlays, or not to."""
    annotation = sample_annotation(people, frames)
    annotation["settings"]["overlay"]["save_overlayfile"] = overlays
    overlay = root.parent / "overlay.mp4"
    if overlays:
        write_video(overlay, plain_frames(frames, 320, 240))
    for number in range(count):
        stem = root / "set/Fight" / f"{number:05d}"
        annotation["frame_dir"] = stem.relative_to(root).as_posix()
        write_annotation(stem.with_name(f"{stem.name}_enhanced_stgcn_annotation.pkl"), [annotation])
        if overlays:
            shutil.copyfile(overlay, stem.with_name(f"{stem.name}_enhanced_rtmo_overlay.mp4"))


def main() -> None:
    """Print seconds and findings of each check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--overlays", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fightpose-") as scratch:
        root = Path(scratch) / "out"
        prepare(root, args.count, args.people, args.frames, args.overlays)
        for name, deep in (("deep", True), ("names, counts, overlays", False)):
            start, used = time.perf_counter(), time.process_time()
            report = verify_mapping(root, deep=deep)
            seconds, cpu = time.perf_counter() - start, time.process_time() - used
            sys.stdout.write(f"{name:24s} {seconds:7.1f} s, {cpu:7.1f} s of processor; {report.headline()}\n")


if __name__ == "__main__":
    main()
