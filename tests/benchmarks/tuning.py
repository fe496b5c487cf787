"""What `fightpose tune` is worth on sources that it never saw.

    python -m tests.benchmarks.tuning --labels FILE --poses FOLDER [FOLDER ...] [--clips FOLDER] [--json FILE]

The labelled clips are halved by source. Each half stands for the reviewed clips of a user in turn: settings are chosen
on it as `tune` chooses them, and the other half is scored with them and with the defaults. A folder of cached poses
(one npz per clip) is one kind of detections, and so is each folder in it; --clips adds the product's own, extracted
with the embedded model. --json writes {detections: {"default" | "tuned" | "chosen": {"p_at_2", "identity_kept",
"covered"}}}. `tuned` is what a user gets who does as `tune` says: the defaults where it says to keep them. `chosen` is
what the other half would have chosen, whether its gain is more than chance or not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.records import Poses
from tasks.core.settings import Settings
from tasks.core.storage import write_json
from tasks.poses.models import MOVENET
from tasks.tuning.choose import FIGURES, Choice, Measured, axes, choose_left_out, figures_of
from tasks.tuning.figures import Label
from tasks.tuning.measure import Case, Counts, measure_all
from tests.benchmarks.labelled import load_labels, load_poses


def main() -> None:
    """Measure every kind of detections that the command line names and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of the labelled clips")
    parser.add_argument("--labels", type=Path, required=True, help="who fights in each clip")
    parser.add_argument("--poses", type=Path, nargs="+", default=[], help="folders of cached poses")
    parser.add_argument("--workers", type=int, default=2, help="processes that share the clips")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    labels = load_labels(args.labels)
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, poses in _kinds(args, labels):
            cases = _cases(labels, poses, Path(folder) / name)
            result[name] = run_tuning(name, cases, args.workers)
    if args.json:
        write_json(args.json, result)


def halves(sources: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the sources in two halves with about as many clips each, whatever the figures: the largest goes first.

    >>> halves(["a", "a", "a", "b", "b", "c"])
    ({'a'}, {'b', 'c'})
    """
    sides: tuple[list[str], list[str]] = ([], [])
    clips = [0, 0]
    for source, count in sorted(Counter(sources).items(), key=lambda item: (-item[1], item[0])):
        side = int(clips[1] < clips[0])
        sides[side].append(source)
        clips[side] += count
    return set(sides[0]), set(sides[1])


def run_tuning(name: str, cases: list[Case], workers: int) -> dict[str, dict[str, float]]:
    """Return the figures of one kind of detections, each half scored with what the other half chose."""
    settings = Settings().resolve(MOVENET.thresholds)
    sources = np.array([case.label.source for case in cases])
    known: dict[Any, Counts] = {}

    def measure(points: Any) -> Counts:
        """Measure points on all clips once, whichever half asks."""
        new = [point for point in points if point not in known]
        known.update(zip(new, measure_all(cases, settings, new, workers, _progress), strict=True) if new else ())
        return np.array([known[point] for point in points])

    default, tuned, chosen = (np.zeros_like(measure([()])[0]) for _ in range(3))
    default[:] = known[()]
    for half in halves(sources.tolist()):
        inside = np.isin(sources, list(half))
        choice = _chosen_on(inside, measure, settings, sources)
        print(f"\n{name}: chosen on {sorted(half)}: {choice.point or 'nothing'}, gain {choice.gain.round(3)}")  # noqa: T201
        measure([choice.point])
        chosen[~inside] = known[choice.point][~inside]
        tuned[~inside] = known[choice.point if choice.pays else ()][~inside]
    rows = {"default": default, "tuned": tuned, "chosen": chosen}
    figures = {kind: dict(zip(FIGURES, figures_of(counts).tolist(), strict=True)) for kind, counts in rows.items()}
    for kind, row in figures.items():
        print(f"{name:10s} {kind:8s} " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))  # noqa: T201
    return figures


def _chosen_on(inside: np.ndarray, measure: Any, settings: Settings, sources: np.ndarray) -> Choice:
    """Return what is chosen on some clips, which see nothing of the others."""
    measured = Measured(lambda points: measure(points)[:, inside])
    return choose_left_out(measured, axes(settings), sources[inside].tolist())


def _kinds(args: argparse.Namespace, labels: dict[str, Label]) -> Iterable[tuple[str, dict[str, Poses]]]:
    """Yield each kind of detections with the poses of its clips by name."""
    score_thr = MOVENET.thresholds.score_thr
    if args.clips:
        from tests.benchmarks.tracking.extract import extract_clips

        yield "product", {label.clip: poses for label, poses in extract_clips(args.clips, labels)}
    for folder in args.poses:
        inner = sorted(path for path in folder.iterdir() if path.is_dir()) or [folder]
        for kind in inner:
            found = {name: kind / f"{Path(name).stem}.npz" for name in labels}
            loaded = {name: load_poses(path) for name, path in found.items() if path.is_file()}
            # As extraction would have kept them.
            yield kind.name, {name: poses.select(poses.score > score_thr) for name, poses in loaded.items()}


def _cases(labels: dict[str, Label], poses: dict[str, Poses], folder: Path) -> list[Case]:
    """Write poses where the workers find them and return the cases."""
    cases = []
    for name, record in poses.items():
        path = folder / f"{Path(name).stem}.npz"
        record.save(path)
        cases.append(Case(path, labels[name]))
    return cases


def _progress(done: int, total: int) -> None:
    """Show how far measuring is."""
    sys.stderr.write(f"\r{done} of {total} clips")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
