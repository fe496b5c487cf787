"""Measure trackers: on MOT sequences, synthetic close contact, and labelled real clips.

    python -m tests.benchmarks.tracking --mot FOLDER
    python -m tests.benchmarks.tracking --mot FOLDER --tune
    python -m tests.benchmarks.tracking --synthetic
    python -m tests.benchmarks.tracking --labels labels.json --poses FOLDER
    python -m tests.benchmarks.tracking --clips FOLDER --labels labels.json

Several may be asked for at once. `--json FILE` writes what the tables show. Needs the extra `trackers`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.core.choices import Tracker
from tasks.core.storage import write_json


def main() -> None:
    """Run the benchmarks that the command line asks for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mot", type=Path, help="folder of MOT sequences with gt and det")
    parser.add_argument("--tune", action="store_true", help="also choose constants on half of the MOT sequences each")
    parser.add_argument("--synthetic", action="store_true", help="synthetic scenes of close contact")
    parser.add_argument("--clips", type=Path, help="folder of labelled clips; poses are extracted unless cached")
    parser.add_argument("--labels", type=Path, help="labels of the clips")
    parser.add_argument("--poses", type=Path, help="folder of cached poses, one npz per clip")
    parser.add_argument("--trackers", nargs="+", choices=[t.value for t in Tracker], default=[t.value for t in Tracker])
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    if (args.clips or args.poses) and not args.labels:
        parser.error("--clips and --poses need --labels")
    if args.labels and not (args.clips or args.poses):
        parser.error("--labels needs --poses or --clips")
    if args.tune and not args.mot:
        parser.error("--tune needs --mot")
    trackers = [Tracker(name) for name in args.trackers]
    result: dict[str, Any] = {}
    # Imported where needed: the real clips can be scored without the package that computes HOTA.
    if args.mot:
        from tests.benchmarks.tracking.mot import run_mot

        result["mot"] = run_mot(args.mot, trackers)
        _print_table("MOT", result["mot"], ("HOTA", "IDF1", "MOTA", "IDSW", "fps"))
        if args.tune:
            from tests.benchmarks.tracking.tuning import run_tuning

            result["mot_tuned"] = run_tuning(args.mot, trackers)
            _print_tuning(result["mot_tuned"])
    if args.synthetic:
        from tests.benchmarks.tracking.synthetic import run_synthetic

        result["synthetic"] = run_synthetic(trackers)
        _print_table("Synthetic close contact", result["synthetic"], ("switches_per_video", "IDF1", "fps"))
    if args.labels:
        result["clips"] = _run_clips(args, trackers)
        columns = ("covered", "id_changes", "identity_kept", "p_at_2", "oracle", "ap", "left_out", "fps")
        _print_table("Labelled clips", result["clips"], columns)
    if args.json:
        write_json(args.json, result)


def _run_clips(args: argparse.Namespace, trackers: list[Tracker]) -> dict[str, Any]:
    """Score the labelled clips, on cached poses where there are any."""
    from tests.benchmarks.labelled import load_labels
    from tests.benchmarks.tracking.clips import load_clips, run_clips

    if args.poses:
        return run_clips(load_clips(args.labels, args.poses), trackers)
    from tests.benchmarks.tracking.extract import extract_clips

    return run_clips(extract_clips(args.clips, load_labels(args.labels)), trackers)


def _print_tuning(result: dict[str, dict[str, Any]]) -> None:
    """Print for each held-out half, and for both together, what was tuned on the other half beside the defaults."""
    columns = ("HOTA", "IDF1", "MOTA", "IDSW")
    folds = next(iter(result.values()))["held_out"]
    for k, fold in enumerate(folds):
        halves = {name: row["held_out"][k] for name, row in result.items()}
        print(f"\nMOT, tuned on {', '.join(fold['tuned_on'])}", end="")  # noqa: T201
        _print_table(f"reported on {', '.join(fold['reported_on'])}", _beside(halves), columns)
        for name, half in halves.items():
            print(f"{name:10s} chose  " + "  ".join(f"{c} {v:g}" for c, v in half["constants"].items()))  # noqa: T201
    _print_table("MOT, each half as tuned on the other", _beside(result), columns)


def _beside(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return two rows for each: tuned and default."""
    return {f"{name} {kind}": row[kind] for name, row in rows.items() for kind in ("tuned", "default")}


def _print_table(title: str, rows: dict[str, dict[str, Any]], columns: Iterable[str]) -> None:
    """Print one line per tracker."""
    print(f"\n{title}")  # noqa: T201
    width = max(10, *map(len, rows))
    for name, row in rows.items():
        cells = "  ".join(f"{c} {_cell(row[c])}" for c in columns)
        print(f"{name:{width}s} {cells}")  # noqa: T201


def _cell(value: Any) -> str:
    """Return a figure, or several, as short text."""
    if isinstance(value, dict):
        return " / ".join(_cell(v) for v in value.values())
    if isinstance(value, list):
        return " to ".join(_cell(v) for v in value)
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 200 else f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}"
    return str(value)


if __name__ == "__main__":
    main()
