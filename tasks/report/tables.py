"""What a folder of outputs holds, as one row per clip.

Annotations are read one at a time, so that memory grows with the number of clips and not with their length. A clip is
called uncertain where the annotation may show the wrong two people or show them badly, since consumers keep the first
two people only; the reasons are those of `UNCERTAIN`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.annotations.dataset import read_split
from tasks.annotations.format import Annotation, AnnotationError, read_annotation
from tasks.clips.failures import current_failures
from tasks.clips.output_names import ANNOTATION_POSTFIXES, OVERLAY_POSTFIXES
from tasks.clips.video_files import OVERLAY_ENDINGS
from tasks.core import region_layout
from tasks.core.region_layout import REGIONS
from tasks.core.settings import Settings
from tasks.core.storage import PARTIAL_MARK
from tasks.involvement.ranking import busiest_frame
from tasks.mapping.merged import DATASET_NAME
from tasks.mapping.receipts import WORK_FOLDER

UNCERTAIN = {
    "one_person": "one person only: the second skeleton is empty",
    "close_ranks": "rank 2 leads rank 3 by less than 0.05",
    "seldom_seen": "the first two have a pose in less than half of the frames",
    "much_filled": "more than 30 % of the first two's poses were filled in",
    "low_quality": "joint scores of the first two are within 25 % of the quality threshold",
}
"""Why a clip is uncertain; listed in this order in the column `uncertain`."""

CLOSE_RANKS = 0.05
SELDOM_SEEN = 0.5
MUCH_FILLED = 0.3
LOW_QUALITY = 1.25

_TEXT = ["clip", "status", "reason", "info", "folder", "overlay", "best_region", "uncertain", "split"]
_NUMBERS = [
    "label", "frames", "fps", "width", "height", "people", "first_id", "second_id", "first_score", "second_score",
    "gap", "quality", "seen", "filled", "identity",
]  # fmt: skip
WHOLE = ("label", "frames", "width", "height", "people", "first_id", "second_id")
"""Columns of whole numbers; pandas keeps them as floats because some are not known."""

_WEIGHTS = [f"weight_{region}" for region in REGIONS]
COLUMNS = [*_TEXT[:4], *_NUMBERS, *_TEXT[4:], *_WEIGHTS]
"""Columns of the table of clips; those of `seconds_<step>` follow."""


@dataclass(frozen=True, slots=True)
class OutputTables:
    """What an output folder holds.

    Attributes
    ----------
    clips
        One row per clip, sorted by identifier; see `COLUMNS`. `status` is annotated, failed or unreadable, `quality`
        the mean joint score of the first two people, `seen` the share of frames in which they have a pose, `filled` the
        share of those poses that was estimated, `gap` the score of rank 2 less that of rank 3, `seconds_<step>` the
        wall time of each step. What is not known is empty.
    first_scores
        (K,) composite scores of everyone of rank 1 or 2.
    best_regions
        (K,) names of the region in which each of them scores best, by weighted score.
    posters
        Clip to the frame that shows it best, see `poster_frame`.
    made
        What the annotations were made with (model and settings that are not the defaults) to their number.
    """

    clips: pd.DataFrame
    first_scores: npt.NDArray[np.float64]
    best_regions: list[str]
    posters: dict[str, int] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)


def read_outputs(output_root: Path) -> OutputTables:
    """Read every annotation below an output root, the standing failures, and the timings of the receipts.

    A file that cannot be read becomes a row of status `unreadable`. Of two annotations of one clip (an earlier
    script's and ours) both are rows.
    """
    rows: list[dict[str, Any]] = []
    scores: list[float] = []
    regions: list[str] = []
    posters: dict[str, int] = {}
    made: Counter[str] = Counter()
    # By clip, since a split is a list of names.
    split = {name: part for part, names in read_split(output_root / DATASET_NAME).items() for name in names}
    for path in annotation_files(output_root):
        try:
            annotations = read_annotation(path)["annotations"]
            read = [clip_row(annotation) for annotation in annotations]
        except (AnnotationError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            # Whatever someone else's file holds, it costs only itself.
            rows.append({"clip": _identifier(path, output_root), "status": "unreadable", "info": str(error)})
            continue
        for annotation, row in zip(annotations, read, strict=True):
            overlay = _overlay_of(path, output_root)
            row["split"] = split.get(row["clip"], "")
            rows.append({**row, "overlay": overlay, **_seconds(output_root, row["clip"])})
            # The first two only, since consumers read no more.
            scores += _floats(annotation.get("composite_scores"))[:2]
            regions += best_regions(annotation)[:2]
            posters[row["clip"]] = poster_frame(annotation)
            made[made_with(annotation)] += 1
    # A clip that failed but still has an annotation of an earlier run is one row, the annotated one.
    annotated = {row["clip"] for row in rows if row["status"] == "annotated"}
    rows += [
        {
            "clip": f.frame_dir,
            "status": "failed",
            "reason": str(f.reason),
            "info": f.info,
            "folder": _folder(f.frame_dir),
        }
        for f in current_failures(output_root)
        if f.frame_dir not in annotated
    ]
    return OutputTables(_table(rows), np.array(scores, np.float64), regions, posters, made)


def poster_frame(annotation: Annotation) -> int:
    """Return the frame that shows a clip best: the middle of the window in which the first two are most involved."""
    frames = int(np.asarray(annotation["keypoint_score"]).shape[1])
    edges, scores = annotation.get("window_frames"), annotation.get("window_scores")
    # The earlier scripts kept no windows, and other programs may hold anything under these names.
    if (
        edges is None
        or scores is None
        or np.ndim(edges) != 1
        or np.ndim(scores) != 2
        or not np.size(scores)
        or np.size(edges) != np.shape(scores)[1] + 1
    ):
        return frames // 2
    return busiest_frame(np.asarray(edges), np.asarray(scores))


def made_with(annotation: Annotation) -> str:
    """Return the model of an annotation and its settings that are not this version's defaults, in words."""
    provenance, settings = annotation.get("provenance"), annotation.get("settings")
    model = provenance.get("model") if isinstance(provenance, dict) else None
    # Annotations of other programs may hold anything under these names.
    words = [f"model {model if isinstance(model, str) and model else 'not known'}"]
    default = Settings().model_dump(mode="json")
    for group in ("poses", "tracking", "selection", "scoring"):
        values = settings.get(group) if isinstance(settings, dict) else None
        for name, value in (values if isinstance(values, dict) else {}).items():
            usual = default[group].get(name)
            # Thresholds follow the model unless they are set; what they were is in the annotation.
            if usual is not None and isinstance(value, str | int | float) and value != usual:
                words.append(f"{name} {value}")
    return ", ".join(words)


def annotation_files(output_root: Path) -> list[Path]:
    """Return the annotation files of single clips below an output root, ours and the earlier scripts', sorted."""
    # Neither files that are being written nor the copies kept for reviews are outputs.
    return sorted(
        path
        for postfix in ANNOTATION_POSTFIXES
        for path in output_root.rglob(f"*{postfix}.pkl")
        if PARTIAL_MARK not in path.name and WORK_FOLDER not in path.parts
    )


def clip_row(annotation: Annotation) -> dict[str, Any]:
    """Return the row of one annotation; keys that the earlier scripts did not write may lack.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the annotation lacks what every one has, or it is of another type.
    """
    keypoint_scores = np.asarray(annotation["keypoint_score"])
    people, frames = keypoint_scores.shape[:2]
    height, width = annotation["img_shape"]
    scores = _floats(annotation.get("composite_scores"))
    ids = _floats(annotation.get("track_ids"))
    # (2, T): the figures are about the two people that consumers read.
    present = keypoint_scores[:2].max(axis=2, initial=0.0) > 0
    filled = np.asarray(annotation.get("filled", np.zeros((people, frames), np.bool_)))[:2]
    row = {
        "clip": str(annotation["frame_dir"]),
        "status": "annotated",
        "folder": _folder(str(annotation["frame_dir"])),
        "label": int(annotation["label"]),
        "frames": frames,
        # Some other program's may be text or an array: the float fails here, where it costs only this clip.
        "fps": float(annotation["fps"]) if annotation.get("fps") is not None else None,
        "width": int(width),
        "height": int(height),
        "people": people,
        **dict(zip(("first_id", "second_id"), ids, strict=False)),
        **dict(zip(("first_score", "second_score"), scores, strict=False)),
        # Where people ranked otherwise than the scores, the lead says nothing.
        "gap": scores[1] - scores[2] if len(scores) > 2 and scores[1] >= scores[2] else None,
        "quality": _mean(_floats(annotation.get("track_quality"))[:2]),
        "seen": _mean(present.ravel()),
        "filled": float((filled & present).sum() / max(present.sum(), 1)),
        "identity": _lowest(annotation.get("identity_confidence"), present),
        "best_region": next(iter(best_regions(annotation)), ""),
        **{f"weight_{region}": weight for region, weight in _weights(annotation).items()},
    }
    row["uncertain"] = " ".join(uncertainties(row, _quality_threshold(annotation)))
    return row


def uncertainties(row: Mapping[str, Any], quality_threshold: float | None) -> list[str]:
    """Return why a clip is uncertain: names in `UNCERTAIN`, empty where nothing speaks against it."""
    gap, quality = row["gap"], row["quality"]
    found = {
        "one_person": row["people"] == 1,
        "close_ranks": gap is not None and gap < CLOSE_RANKS,
        "seldom_seen": row["seen"] < SELDOM_SEEN,
        "much_filled": row["filled"] > MUCH_FILLED,
        "low_quality": None not in (quality, quality_threshold) and quality < LOW_QUALITY * (quality_threshold or 0.0),
    }
    return [name for name in UNCERTAIN if found[name]]


def best_regions(annotation: Annotation) -> list[str]:
    """Return for each person the region of the highest weighted score; empty where the annotation has no regions."""
    breakdown = annotation.get("region_breakdown")
    if not isinstance(breakdown, dict) or any(region not in breakdown for region in REGIONS):
        return []
    # Weighted as in the ranking.
    return region_layout.best_regions(breakdown, _weights(annotation))


def _weights(annotation: Annotation) -> dict[str, float]:
    """Return the learned weight of each region, empty where the annotation has none."""
    weights = annotation.get("region_weights")
    if not isinstance(weights, dict):
        return {}
    return {region: float(weights[region]) for region in REGIONS if region in weights}


def _quality_threshold(annotation: Annotation) -> float | None:
    """Return the threshold below which tracks were left out, None where it is not known."""
    try:
        return float(annotation["settings"]["selection"]["quality_threshold"])
    except (KeyError, TypeError, ValueError):
        return None


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows as a table with every column, numbers as numbers, also where there is no row at all."""
    # In the order in which the receipts hold them, which is that of the pipeline.
    steps = list(dict.fromkeys(name for row in rows for name in row if name.startswith("seconds_")))
    # A file name that is no UTF-8 holds lone surrogates, which neither pandas nor any file that is written can take.
    rows = [{name: _printable(value) for name, value in row.items()} for row in rows]
    table = pd.DataFrame(rows, columns=[*COLUMNS, *steps]).sort_values(["clip", "status"], ignore_index=True)
    for name in (*_NUMBERS, *_WEIGHTS, *steps):
        table[name] = pd.to_numeric(table[name], errors="coerce").astype(np.float64)
    # Empty text in place of NaN, so that all of a column can be compared and joined.
    for name in _TEXT:
        table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    return table


def _printable(value: Any) -> Any:
    """Return text with what has no UTF-8 form escaped, and anything else as it is."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _seconds(output_root: Path, frame_dir: str) -> dict[str, float]:
    """Return the seconds of each step from a clip's receipt, empty where there is none."""
    if ".." in Path(frame_dir).parts or Path(frame_dir).is_absolute():
        # An annotation is data: its identifier must not lead out of the output root.
        return {}
    try:
        receipt = json.loads((output_root / WORK_FOLDER / "receipts" / f"{frame_dir}.json").read_bytes())
        return {f"seconds_{step}": float(value) for step, value in receipt["summary"]["seconds"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _overlay_of(annotation: Path, output_root: Path) -> str:
    """Return the path of the overlay beside an annotation, relative to the output root; empty where there is none."""
    stem = _without(annotation.stem, ANNOTATION_POSTFIXES)
    # An overlay of an earlier run or script may have another ending than those written now.
    for postfix in OVERLAY_POSTFIXES:
        for ending in OVERLAY_ENDINGS:
            overlay = annotation.with_name(f"{stem}{postfix}{ending}")
            if overlay.is_file():
                return overlay.relative_to(output_root).as_posix()
    return ""


def _identifier(path: Path, output_root: Path) -> str:
    """Return a clip's identifier from the place of its annotation."""
    stem = _without(path.stem, ANNOTATION_POSTFIXES)
    return path.relative_to(output_root).with_name(stem).as_posix()


def _without(stem: str, postfixes: tuple[str, ...]) -> str:
    """Return a stem without the postfix at its end."""
    for postfix in postfixes:
        stem = stem.removesuffix(postfix)
    return stem


def _folder(frame_dir: str) -> str:
    """Return the folder of a clip: the nearest thing to its camera that is known."""
    return frame_dir.rpartition("/")[0]


def _floats(values: Any) -> list[float]:
    """Return values as a flat list of floats, empty for None."""
    return [] if values is None else [float(value) for value in np.asarray(values, np.float64).ravel()]


def _lowest(confidence: Any, present: npt.NDArray[np.bool_]) -> float | None:
    """Return the lowest confidence in the identity of the first two where they are seen, None where it is not known."""
    known = None if confidence is None else np.asarray(confidence, np.float64)[:2]
    return float(known[present].min()) if known is not None and known.shape == present.shape and present.any() else None


def _mean(values: npt.ArrayLike) -> float | None:
    """Return the mean, None of nothing."""
    array = np.asarray(values, np.float64)
    mean = float(array.mean()) if array.size else math.nan
    return mean if math.isfinite(mean) else None
