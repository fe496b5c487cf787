"""Compare rankings of who takes part in the fight.

    python -m tests.benchmarks.ranking --clips FOLDER --labels FILE [--poses FOLDER] [--cross-validate]
    python -m tests.benchmarks.ranking --synthetic

All rules rank the same tracks. Means carry a 95 % bootstrap interval over whole sources (a scenario counts as one).
With --poses the clips themselves are not opened. --cross-validate also fits the composite weights with each source left
out and scores that source with them: the rule `cross_validated`, which knows nothing of the shipped weights. How
strongly the fit is pulled is chosen by likelihood, leaving out a second source. --json FILE writes
{"clips" | "synthetic": {rule: {"p_at_2", "both_in_top2", "first_fighter", "ap", ...}}}.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.records import Poses, Tracks
from tasks.core.settings import DEFAULT_WEIGHTS, Settings
from tasks.core.storage import write_json
from tasks.poses import extract_poses, load_model, resolve_model
from tasks.tracking import track_people
from tasks.tracking.occlusion import end_at_nearer
from tasks.video.reading import probe_video
from tests.benchmarks.labelled import Label, dense_boxes, load_labels, load_poses, track_roles
from tests.benchmarks.ranking.figures import NAMES, Judged, cross_validate, judge, summarise
from tests.benchmarks.ranking.rules import apply_rules
from tests.benchmarks.ranking.scenes import SCENARIOS, make_scene

RULES = ("default", "seed", "seed_not_adaptive", "box_area", "centre_distance", "joint_variance", "detector_score")


def main() -> None:
    """Run what the command line asks for and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of the labelled clips")
    parser.add_argument("--labels", type=Path, help="who fights in each clip")
    parser.add_argument("--poses", type=Path, help="folder of cached poses, one npz per clip")
    parser.add_argument("--model", default="movenet-multipose", help="pose model, and the thresholds for cached poses")
    parser.add_argument("--synthetic", action="store_true", help="synthetic scenes")
    parser.add_argument("--scenes", type=int, default=20, help="scenes per scenario")
    parser.add_argument("--cross-validate", action="store_true", help="fit the weights with each source left out")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    if not args.synthetic and not (args.labels and (args.clips or args.poses)):
        parser.error("give --synthetic, or --labels with --clips or --poses")
    result: dict[str, Any] = {}
    if args.labels:
        result["clips"] = _report("Labelled clips", judge_clips(args), args.cross_validate)
    if args.synthetic:
        clips = judge_scenes(args.scenes)
        result["synthetic"] = _report("Synthetic scenes", clips, False)
        _add_scenarios(result["synthetic"], clips)
    if args.json:
        write_json(args.json, result)


def judge_clips(args: argparse.Namespace) -> list[Judged]:
    """Track and rank the labelled clips."""
    entry = resolve_model(args.model)
    settings = Settings().resolve(entry.thresholds)
    judged, seconds, frames = [], 0.0, 0
    for name, label in load_labels(args.labels).items():
        if args.poses:
            poses = load_poses(args.poses / f"{Path(name).stem}.npz")
        else:
            poses = extract_poses(probe_video(args.clips / name), load_model(args.model), settings.poses)
        tracks = track_people(_above(poses, settings), settings.tracking)
        start = time.perf_counter()
        ranked = apply_rules(tracks)
        seconds, frames = seconds + time.perf_counter() - start, frames + poses.frame_count
        judged.append(Judged(name, label.source, label.judged, ranked, _roles(tracks, ranked.ids, label)))
    print(f"\n{len(judged)} clips, all rules together {1e3 * seconds / max(frames, 1):.2f} ms a frame")  # noqa: T201
    return judged


def _above(poses: Poses, settings: Settings) -> Poses:
    """Return the detections above the model's score threshold, as extraction would have kept."""
    return poses.select(poses.score > (settings.poses.score_thr or 0.0))


def _roles(tracks: Tracks, ids: np.ndarray, label: Label) -> np.ndarray:
    """Return the labelled role of each track, matched by its boxes as an annotation has them."""
    return np.array(track_roles(dense_boxes(end_at_nearer(tracks), ids), label), dtype="<U10")


def judge_scenes(count: int) -> list[Judged]:
    """Rank the synthetic scenes of every scenario."""
    judged = []
    for scenario in SCENARIOS:
        for seed in range(count):
            tracks, roles = make_scene(scenario, seed)
            ranked = apply_rules(tracks)
            known = np.array([roles[int(i)] for i in ranked.ids])
            judged.append(Judged(f"{scenario}/{seed}", scenario, True, ranked, known))
    return judged


def _report(title: str, clips: list[Judged], fit: bool) -> dict[str, Any]:
    """Print one line per rule and return the figures."""
    if fit:
        clips, weights = cross_validate(clips, list(DEFAULT_WEIGHTS))
        print("fitted to all: " + ", ".join(f"{n} {w:.2f}" for n, w in weights.items()))  # noqa: T201
    rules = [*clips[0].ranked.scores, "random"]
    figures = {rule: summarise(clips, rule) for rule in rules}
    print(f"\n{title}: {sum(c.counts for c in clips)} judged\n{'rule':30s}" + "".join(f"{n:>16s}" for n in NAMES))  # noqa: T201
    for rule, row in sorted(figures.items(), key=lambda item: -item[1]["p_at_2"]):
        print(f"{rule:30s}" + "".join(f"{row[n]:16.3f}" for n in NAMES) + _interval(row))  # noqa: T201
    return figures


def _interval(row: dict[str, Any]) -> str:
    """Return the interval of p_at_2 as text."""
    low, high = row["interval"]["p_at_2"]
    return f"   p_at_2 {low:.2f} to {high:.2f}"


def _add_scenarios(figures: dict[str, Any], clips: list[Judged]) -> None:
    """Add p_at_2 per scenario to each rule, and print it for the rules that matter."""
    for rule in figures:
        figures[rule]["scenarios"] = {
            s: float(judge([c for c in clips if c.source == s], rule)[:, 0].mean()) for s in SCENARIOS
        }
    print(f"\n{'p_at_2 per scenario':22s}" + "".join(f"{r[:12]:>14s}" for r in RULES))  # noqa: T201
    for s in SCENARIOS:
        print(f"{s:22s}" + "".join(f"{figures[r]['scenarios'][s]:14.3f}" for r in RULES))  # noqa: T201


if __name__ == "__main__":
    main()
