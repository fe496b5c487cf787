"""Run all damaged inputs and print what became of them: `python -m tests.fuzz [--videos N] [--files N] [--lives N]
[--seed N]`.

The last line is `N inputs, A annotated, F recorded failures, 0 lost`; the exit code is 1 if anything is lost, a process
died, hung or took too much memory, or anything of a file was executed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import seed as with_seed
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.inputs import (
    TOML,
    damaged_annotations,
    damaged_poses,
    damaged_settings,
    sound_annotation,
    write_videos,
)
from tests.fuzz.lifecycle import Lifecycle
from tests.fuzz.plain import REAL_MODEL
from tests.fuzz.run import Tally, fuzz_files, fuzz_videos, read_pkl, read_poses, read_settings_file


def main() -> int:
    """Run everything and return the exit code."""
    parser = argparse.ArgumentParser(description="Feed damaged inputs to fightpose.")
    parser.add_argument("--videos", type=int, default=1000, help="damaged clips of mp4, avi and mov together")
    parser.add_argument("--files", type=int, default=1000, help="damaged annotations; a third as many of other files")
    parser.add_argument("--real", type=int, default=60, help="damaged clips more, through the embedded model")
    parser.add_argument("--lives", type=int, default=150, help="random lives of an output root, of up to 20 steps each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    # One damaged clip in two has a line; the table says what they amount to.
    logging.disable(logging.ERROR - 1)
    logging.getLogger("flows.runs.local").setLevel(logging.WARNING)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fightpose-fuzz-") as name:
        tallies = run(Path(name), options)
    for line in table(tallies):
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"seed {options.seed}, {time.monotonic() - start:.0f} s\n")
    if options.lives:
        live(options.lives, options.seed)
        sys.stdout.write(f"{options.lives} random lives of an output root, {Lifecycle.steps} steps: nothing lost\n")
    sys.stdout.write(last_line(tallies) + "\n")
    return 0 if all(tally.sound for tally in tallies) else 1


def live(lives: int, seed: int) -> None:
    """Walk random steps of `tests.fuzz.lifecycle`.

    Raises
    ------
    AssertionError
        If something is lost; hypothesis prints the shortest sequence of steps that shows it.
    """
    run_state_machine_as_test(
        with_seed(seed)(Lifecycle),
        settings=settings(
            max_examples=lives,
            stateful_step_count=20,
            # Steps decode and encode videos.
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def run(folder: Path, options: argparse.Namespace) -> list[Tally]:
    """Make the inputs below a folder and feed them."""
    tallies = []
    write_videos(folder / "clips", options.videos, options.seed)
    for kind in sorted(path.name for path in (folder / "clips").iterdir()):
        tallies.append(fuzz_videos(kind, folder / "clips" / kind, folder / "out", options.workers))
    if options.real:
        write_videos(folder / "real", options.real, options.seed + 1_000_000, people=True)
        os.environ[REAL_MODEL] = "1"
        tallies.append(fuzz_videos("clips, real model", folder / "real", folder / "out-real", options.workers))
        del os.environ[REAL_MODEL]
    files, seed, rest = folder / "files", options.seed + 2_000_000, options.files // 3
    files.mkdir()
    pkls = [(".pkl", data) for data in damaged_annotations(files, options.files, seed)]
    tallies.append(fuzz_files("annotation PKL", pkls, read_pkl, files / "pkl", sound_annotation(files)))
    stored = [(".npz", data) for data in damaged_poses(files, rest, seed)]
    sound = (files / "poses.npz").read_bytes()
    tallies.append(fuzz_files("stored poses", stored, read_poses, files / "npz", sound))
    settings = damaged_settings(rest, seed)
    tallies.append(fuzz_files("settings file", settings, read_settings_file, files / "settings", TOML.encode()))
    return tallies


def table(tallies: list[Tally]) -> list[str]:
    """Return the outcomes as lines."""
    heads = ("kind", "inputs", "annotated", "failures", "lost", "died", "slowest", "peak MB")
    lines = ["{:<18} {:>6} {:>9} {:>8} {:>4} {:>4} {:>8} {:>7}".format(*heads)]
    for tally in tallies:
        lines.append(
            f"{tally.kind:<18} {tally.inputs:>6} {tally.annotated:>9} {tally.failures.total():>8} "
            f"{len(tally.lost):>4} {tally.deaths:>4} {tally.slowest:>6.2f} s {tally.peak_mb:>7}"
        )
        causes = ", ".join(f"{count} {cause}" for cause, count in tally.failures.most_common() if count)
        lines += [f"  {causes}"] if causes else []
        lines += [f"  lost: {line}" for line in tally.lost[:10]]
    return lines


def last_line(tallies: list[Tally]) -> str:
    """Return the sum of everything."""
    inputs = sum(tally.inputs for tally in tallies)
    annotated = sum(tally.annotated for tally in tallies)
    failures = sum(tally.failures.total() for tally in tallies)
    return f"{inputs} inputs, {annotated} annotated, {failures} recorded failures, {inputs - annotated - failures} lost"


if __name__ == "__main__":
    sys.exit(main())
