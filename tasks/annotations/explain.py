"""Why the people of an annotation are ranked as they are, as rows for a table and as plain text.

Reads nothing but one annotation (`tasks.annotations.format`), so that it explains files of any run, and those of other
people as far as they say anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.core.region_layout import best_regions


def explain(annotation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per person, in rank order.

    Parameters
    ----------
    annotation
        One annotation; keys that it lacks are left out of the rows.

    Returns
    -------
    Rows with `rank` (from 1), `track_id`, `score`, each component by its name, `partner` (a track ID, None without
    one), `region` (where the person scores highest after weighting), `quality`, `frames`, and `involved` (start and
    end in seconds of the stretches in which the person reaches half of its highest window score).
    """
    people = len(np.asarray(annotation["keypoint"]))
    columns: dict[str, list[Any]] = {"rank": list(range(1, people + 1))}
    _add(columns, "track_id", annotation.get("track_ids"), int)
    _add(columns, "score", annotation.get("composite_scores"), float)
    for name, values in annotation.get("score_breakdown", {}).items():
        _add(columns, name, values, float)
    # 0 is nobody: track IDs start at 1.
    _add(columns, "partner", annotation.get("best_partner"), lambda value: int(value) or None)
    if "region_breakdown" in annotation:
        columns["region"] = best_regions(annotation["region_breakdown"], annotation.get("region_weights", {}))
    _add(columns, "quality", annotation.get("track_quality"), float)
    _add(columns, "frames", annotation.get("track_length"), int)
    if "window_scores" in annotation:
        columns["involved"] = [_stretches(annotation, person) for person in range(people)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def explain_text(annotation: Mapping[str, Any]) -> str:
    """Return the explanation as a plain table: one column per person, then the region weights and their path.

    Parameters
    ----------
    annotation
        One annotation.
    """
    rows = explain(annotation)
    # The rank is the heading of the columns.
    names = [name for name in rows[0] if name != "rank"] if rows else []
    lines = [f"{annotation.get('frame_dir', '')}  label {annotation.get('label', '?')}"]
    lines.append(f"{'rank':22s}" + "".join(f"{row['rank']:>16d}" for row in rows))
    lines += [f"{name:22s}" + "".join(f"{_cell(row[name]):>16s}" for row in rows) for name in names]
    weights = annotation.get("region_weights")
    if weights:
        # Without the path there are the final weights alone, a path of no rounds.
        path = np.asarray(annotation.get("region_weights_path", [list(weights.values())]))
        lines.append(f"region weights over {len(path) - 1} rounds")
        lines += [f"{name:22s}" + " > ".join(f"{value:.2f}" for value in path[:, i]) for i, name in enumerate(weights)]
    return "\n".join(lines)


def _add(columns: dict[str, list[Any]], name: str, values: Any, kind: Any) -> None:
    """Add a column of Python values, unless the annotation lacks it."""
    if values is not None:
        columns[name] = [kind(value) for value in values]


def _stretches(annotation: Mapping[str, Any], person: int) -> list[tuple[float, float]]:
    """Return the stretches, in seconds, in which a person reaches half of its highest window score."""
    scores = np.asarray(annotation["window_scores"], np.float64)[person]
    # 25 frames per second where the file does not say.
    edges = np.asarray(annotation["window_frames"], np.float64) / (annotation.get("fps") or 25.0)
    # Somebody who never scores would reach half of 0 all the time.
    active = (scores >= scores.max(initial=0.0) / 2) & (scores > 0)
    # Where activity begins (+1) and ends (-1).
    change = np.diff(np.concatenate([[0], active.astype(int), [0]]))
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    return [(round(float(edges[a]), 2), round(float(edges[b]), 2)) for a, b in zip(starts, ends, strict=True)]


def _cell(value: Any) -> str:
    """Return a value as short text."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list):
        return ",".join(f"{a:g}-{b:g}s" for a, b in value)
    return str(value)
