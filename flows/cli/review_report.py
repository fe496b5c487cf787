"""What `fightpose review-stats` prints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from flows.cli.output import Output
from tasks.core.settings_file import write_weights
from tasks.report.write import printable
from tasks.review.stats import Calibration, ReviewStats, calibrate, read_stats


def print_stats(output_root: Path, weights_file: Path | None, output: Output) -> None:
    """Print what the corrections say, and refit the composite weights to them where a file for them is named."""
    stats = read_stats(output_root)
    fitted = None
    if weights_file is not None:
        fitted = calibrate(stats.reviewed)
        write_weights(weights_file, fitted.weights)
    lines = stats.lines()
    if fitted is not None:
        lines += fitted.lines()
        lines.append(f"Written to {weights_file}; use it with: fightpose annotate ... --settings {weights_file}")
    output.tell(_as_json(stats, fitted), map(printable, lines))


def _as_json(stats: ReviewStats, fitted: Calibration | None) -> dict[str, Any]:
    """Return the same figures as plain values; what is not known is null."""
    figures = {name: None if math.isnan(value) else value for name, value in stats.figures().items()}
    value: dict[str, Any] = {
        "corrected": stats.corrected,
        "kinds": dict(stats.kinds),
        "relabelled": stats.relabelled,
        "identity": stats.identity,
        "reviewed": len(stats.reviewed),
        "judged": len(stats.judged),
        "ranking": figures,
        "problems": [{"clip": clip, "problem": problem} for clip, problem in stats.problems],
    }
    if fitted is not None:
        value["calibration"] = {
            "clips": fitted.clips,
            "weights": fitted.weights,
            "before": fitted.before,
            "held_out": fitted.held_out,
        }
    return value
