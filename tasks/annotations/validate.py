"""Whether annotations keep the contract that `tasks.annotations.format` states.

The keys that mmaction2 and pyskl read are checked in every annotation; the others where they are present, and their
presence where `schema_version` says that this program wrote the annotation. Each rule is part of a small function that
yields what breaks it; arrays whose type or shape is wrong are reported once and not looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import SCHEMA_VERSION, Annotation, AnnotationError, only_annotation
from tasks.core.pixel_aspect import is_ratio
from tasks.core.region_layout import REGIONS
from tasks.core.skeleton import NUM_KEYPOINTS

FRAME_TOLERANCE = 0.5
"""Boxes and joints may leave the frame by this share of its size: people are cut off by it, and gaps are filled."""

SCORE_TOLERANCE = 1e-2
"""Scores are shares; rounding, and the sums of some models, go a little beyond 1."""

CONTRACT_KEYS = ("frame_dir", "total_frames", "img_shape", "original_shape", "label", "keypoint", "keypoint_score")
"""What mmaction2 and pyskl read."""

# Keys of one value for each person (M), with the type of the value.
_PERSON_KEYS = {
    "track_ids": np.integer,
    "composite_scores": np.float32,
    "track_quality": np.float32,
    "track_length": np.integer,
    "best_partner": np.integer,
}

OWN_KEYS = (
    *_PERSON_KEYS,
    "bbox",
    "filled",
    "score_breakdown",
    "region_breakdown",
    "region_weights",
    "region_weights_path",
    "window_frames",
    "window_scores",
    "fps",
    "settings",
    "provenance",
)
"""What this program adds."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule.

    Attributes
    ----------
    rule
        Name of the rule, for counting.
    text
        What is wrong, in one line.
    """

    rule: str
    text: str


def validate_annotation(annotation: Annotation) -> list[Problem]:
    """Check one annotation against every rule.

    Parameters
    ----------
    annotation
        As `tasks.annotations.format.read_annotation` gives it: plain values and numeric arrays.

    Returns
    -------
    list of Problem
        Empty for a sound annotation.
    """
    problems = [*_keys(annotation), *_identity(annotation), *_shapes(annotation), *_plain(annotation)]
    problems += [*_finite(annotation, ""), *_arrays(annotation)]
    if problems:
        # The rules below take types, shapes and finite values for granted.
        return problems
    for rule in _CONTENT_RULES:
        problems += rule(annotation)
    return problems


def require_valid(annotation: Annotation, where: object) -> None:
    """Refuse an annotation that breaks the contract.

    Parameters
    ----------
    annotation
        As `validate_annotation` takes it.
    where
        The file, for the message.

    Raises
    ------
    AnnotationError
        With the first broken rule.
    """
    problems = validate_annotation(annotation)
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise AnnotationError(f"{where}: breaks the contract of annotations: {problems[0].text}{more}")


def sound_annotation(path: Path) -> Annotation:
    """Return the annotation of a single clip's file, if this program wrote it and it keeps the contract.

    Raises
    ------
    AnnotationError
        If it cannot be read, breaks the contract, or is another program's and lacks what ours have.
    """
    annotation = only_annotation(path)
    require_valid(annotation, path)
    if "schema_version" not in annotation:
        raise AnnotationError(f"{path}: was not written by fightpose; annotate the clip again")
    return annotation


def _keys(annotation: Annotation) -> Iterator[Problem]:
    """Yield needed keys that are not there, and one that misleads."""
    # Files of other programs need the contract's keys alone.
    own = "schema_version" in annotation
    for key in (*CONTRACT_KEYS, *(OWN_KEYS if own else ())):
        if key not in annotation:
            yield Problem("key-missing", f"{key} is missing")
    if "filename" in annotation:
        yield Problem("key-filename", "it has a key 'filename', by which mmaction2 would look splits up")
    version = annotation.get("schema_version")
    if own and not (type(version) is int and version == SCHEMA_VERSION):
        yield Problem("schema-version", f"schema_version is {_kind(version)}, not {SCHEMA_VERSION}")


def _identity(annotation: Annotation) -> Iterator[Problem]:
    """Yield an identifier that is no relative path, and a label that is no class number."""
    name = annotation.get("frame_dir")
    # No path can hold a NUL byte.
    path = PurePosixPath(name) if isinstance(name, str) and "\0" not in name else None
    # It becomes part of file names: an absolute one, or one with `..`, would lead out of the output folder.
    if "frame_dir" in annotation and (path is None or path.is_absolute() or ".." in path.parts or not path.name):
        yield Problem("frame-dir", f"frame_dir is {_kind(name)}, not a relative path")
    # A missing label is reported as a missing key already.
    label = annotation.get("label", 0)
    if type(label) is not int or label < 0:
        yield Problem("label", f"label is {_kind(label)}, not a class number from 0")


def _shapes(annotation: Annotation) -> Iterator[Problem]:
    """Yield a frame count or frame sizes that cannot be."""
    frames = annotation.get("total_frames", 1)
    if type(frames) is not int or frames < 1:
        yield Problem("total-frames", f"total_frames is {_kind(frames)}, not a number of frames from 1")
    sizes = {key: annotation[key] for key in ("img_shape", "original_shape") if key in annotation}
    for key, size in sizes.items():
        if not (isinstance(size, tuple | list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)):
            yield Problem("frame-size", f"{key} is {_kind(size)}, not (height, width)")
            # The comparison below needs two sound sizes.
            return
    # Keypoints are in pixels of img_shape; the overlay is drawn in those of original_shape.
    if "schema_version" in annotation and len({tuple(size) for size in sizes.values()}) == 2:
        yield Problem("frame-sizes-differ", "img_shape and original_shape differ")


def _plain(annotation: Annotation) -> Iterator[Problem]:
    """Yield a frame rate that cannot be, and values that should be dicts."""
    fps = annotation.get("fps", 25.0)
    # NaN fails the comparison, too; True is no number here.
    if type(fps) not in (float, int) or not 0 < fps < 1e6:
        yield Problem("fps", f"fps is {_kind(fps)}, not frames per second")
    if not is_ratio(annotation.get("sample_aspect_ratio", 1.0)):
        kind = _kind(annotation["sample_aspect_ratio"])
        yield Problem("sample-aspect-ratio", f"sample_aspect_ratio is {kind}, not the width of a pixel over its height")
    for key in ("settings", "provenance"):
        if not isinstance(annotation.get(key, {}), dict):
            yield Problem("dict", f"{key} is not a dict")


def _finite(value: Any, where: str) -> Iterator[Problem]:
    """Yield every place with a NaN or infinity; a NaN gives a silent NaN prediction."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _finite(part, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _finite(part, where)
    elif (isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")) and not np.all(
        np.isfinite(value)
    ):
        yield Problem("not-finite", f"{where} holds values that are not finite")


def _arrays(annotation: Annotation) -> Iterator[Problem]:
    """Yield every array of another type or shape than the contract's."""
    keypoints = annotation.get("keypoint")
    if not isinstance(keypoints, np.ndarray) or keypoints.ndim != 4 or keypoints.shape[2:] != (NUM_KEYPOINTS, 2):
        if "keypoint" in annotation:
            yield Problem("keypoint-shape", f"keypoint is {_kind(keypoints)}, not [M, T, {NUM_KEYPOINTS}, 2]")
        # Without M and T none of the other shapes can be checked.
        return
    people, frames = keypoints.shape[:2]
    if people == 0:
        yield Problem("nobody", "there is nobody in it: it would predict noise")
    total = annotation.get("total_frames")
    if type(total) is int and total != frames:
        yield Problem("frame-count", f"total_frames is {total}, but keypoint has {frames} frames")
    # M and T of `keypoint` are those that all others have to have.
    expected: dict[str, tuple[tuple[int, ...], Any]] = {
        "keypoint": (keypoints.shape, np.float32),
        "keypoint_score": (keypoints.shape[:3], np.float32),
        "bbox": ((people, frames, 4), np.float32),
        "filled": ((people, frames), np.bool_),
        "identity_confidence": ((people, frames), np.float32),
    }
    expected |= {key: ((people,), kind) for key, kind in _PERSON_KEYS.items()}
    for key, (shape, kind) in expected.items():
        if key in annotation:
            yield from _array(key, annotation[key], shape, kind)
    for key in ("score_breakdown", "region_breakdown"):
        parts = annotation.get(key, {})
        if not isinstance(parts, dict):
            yield Problem("dict", f"{key} is not a dict")
            continue
        for name, part in parts.items():
            yield from _array(f"{key}.{name}", part, (people,), np.float32)
    yield from _windows(annotation, people, frames)
    yield from _regions(annotation)


def _array(key: str, array: Any, shape: tuple[int, ...], kind: Any) -> Iterator[Problem]:
    """Yield what is wrong with the type or shape of one array."""
    if not isinstance(array, np.ndarray) or array.shape != shape:
        yield Problem("shape", f"{key} is {_kind(array)}, not {list(shape)}")
    elif not np.issubdtype(array.dtype, kind):
        yield Problem("dtype", f"{key} is of {array.dtype}, not {kind.__name__}")


def _windows(annotation: Annotation, people: int, frames: int) -> Iterator[Problem]:
    """Yield windows that do not follow each other within the frames, or lack a score for each person."""
    if "window_frames" not in annotation:
        return
    edges = annotation["window_frames"]
    # S windows have S + 1 edges: a single edge means no window, which is allowed.
    if not isinstance(edges, np.ndarray) or edges.ndim != 1 or len(edges) < 1 or edges.dtype.kind not in "iu":
        yield Problem("windows", f"window_frames is {_kind(edges)}, not frame numbers")
        return
    # Signed, because differences of unsigned numbers never fall below 0.
    if edges[0] != 0 or edges[-1] > frames or np.any(np.diff(edges.astype(np.int64)) <= 0):
        yield Problem("windows", f"window_frames do not ascend from 0 within the {frames} frames")
    if "window_scores" in annotation:
        yield from _array("window_scores", annotation["window_scores"], (people, len(edges) - 1), np.float32)


def _regions(annotation: Annotation) -> Iterator[Problem]:
    """Yield regions of other names, and weights that are not where their path ends."""
    for key in ("region_breakdown", "region_weights"):
        value = annotation.get(key)
        # Their order counts, too: the columns of `region_weights_path` follow it.
        if key in annotation and not (isinstance(value, dict) and tuple(value) == REGIONS):
            yield Problem("region-names", f"{key} is not of the regions {', '.join(REGIONS)}")
    if not {"region_weights", "region_weights_path"} <= annotation.keys():
        return
    weights, path = annotation["region_weights"], annotation["region_weights_path"]
    if not isinstance(weights, dict) or not all(isinstance(weight, float) for weight in weights.values()):
        yield Problem("region-weights", "region_weights are not numbers")
    elif not isinstance(path, np.ndarray) or path.ndim != 2 or path.shape[1] != len(weights) or not len(path):
        yield Problem("region-weights", f"region_weights_path is {_kind(path)}, not [R + 1, {len(REGIONS)}]")
    elif not np.allclose(path[-1], list(weights.values()), atol=1e-5):
        # The path is float32 and the weights are Python's floats: equal up to rounding.
        yield Problem("region-weights", "region_weights are not where their path ends")


def _missing_is_zero(annotation: Annotation) -> Iterator[Problem]:
    """Yield joints of score 0 that have a place, people without a box, and boxes without a person."""
    keypoints, scores = annotation["keypoint"], annotation["keypoint_score"]
    if keypoints[scores == 0].any():
        yield Problem("joint-missing", "a joint of score 0 has a place")
    seen = (scores > 0).any(-1)
    # Somebody who is never there would take one of the two places that training has.
    if not seen.any(-1).all():
        yield Problem("person-missing", f"person {int(np.argmin(seen.any(-1))) + 1} is in no frame")
    if (seen & ~keypoints.any((-1, -2))).any():
        yield Problem("person-at-origin", "a person has scores, but all joints are at 0, 0")
    elif "schema_version" in annotation and ((scores > 0) & ~keypoints.any(-1)).any():
        # Other programs may mean the corner of the frame; ours writes fractions of pixels.
        yield Problem("joint-at-origin", "a joint has a score, but is at 0, 0, as missing ones are")
    if "bbox" in annotation:
        boxed = annotation["bbox"].any(-1)
        if (seen & ~boxed).any():
            yield Problem("box-missing", "a person has joints in a frame, but no box")
        if (boxed & ~seen).any():
            yield Problem("box-without-person", "a person has a box in a frame, but no joint")
        if "filled" in annotation and (annotation["filled"] & ~boxed).any():
            yield Problem("filled", "a frame is marked as filled in which the person is missing")
        if "track_length" in annotation and not np.array_equal(annotation["track_length"], boxed.sum(-1)):
            yield Problem("track-length", "track_length is not the number of frames that a person is in")


def _places(annotation: Annotation) -> Iterator[Problem]:
    """Yield boxes without size, and boxes and joints far outside the frame."""
    height, width = annotation["img_shape"]
    size = np.array([width, height], np.float64)
    low, high = -FRAME_TOLERANCE * size, (1 + FRAME_TOLERANCE) * size
    joints = annotation["keypoint"][annotation["keypoint_score"] > 0]
    if ((joints < low) | (joints > high)).any():
        yield Problem("joint-outside", "a joint is far outside the frame")
    if "bbox" not in annotation:
        return
    # Boxes of zeros are those of missing people.
    boxes = annotation["bbox"][annotation["bbox"].any(-1)]
    if (boxes[:, 2:] <= boxes[:, :2]).any():
        yield Problem("box-inverted", "a box has no size: its corners are equal or in the wrong order")
    if ((boxes[:, :2] < low) | (boxes[:, 2:] > high)).any():
        yield Problem("box-outside", "a box is far outside the frame")


def _rank_order(annotation: Annotation) -> Iterator[Problem]:
    """Yield an automatic rank order that is not that of the scores; people who review may rank as they see fit."""
    scores = annotation.get("composite_scores")
    if scores is not None and "review" not in annotation and np.any(np.diff(scores) > 0):
        yield Problem("rank-order", "the people do not stand in the order of composite_scores")


def _ids(annotation: Annotation) -> Iterator[Problem]:
    """Yield IDs that occur twice or cannot be, and people who are their own partners."""
    ids = annotation.get("track_ids")
    if ids is None:
        return
    if len(np.unique(ids)) != len(ids):
        yield Problem("id-twice", "a track ID stands twice")
    if ids.min() < 1:
        yield Problem("id-range", "track IDs start at 1")
    partners = annotation.get("best_partner")
    # Partner 0 is nobody, and allowed.
    if partners is not None and ((partners == ids) | (partners < 0)).any():
        yield Problem("partner", "best_partner is the person itself, or no track ID")


def _shares(annotation: Annotation) -> Iterator[Problem]:
    """Yield scores and weights that are not between 0 and 1."""
    values: dict[str, npt.NDArray[Any]] = {
        key: annotation[key]
        for key in ("keypoint_score", "composite_scores", "track_quality", "window_scores", "region_weights_path")
        if key in annotation
    }
    for key in ("score_breakdown", "region_breakdown"):
        values |= {f"{key}.{name}": part for name, part in annotation.get(key, {}).items()}
    for key, array in values.items():
        if array.size and (array.min() < 0 or array.max() > 1 + SCORE_TOLERANCE):
            yield Problem("score-range", f"{key} leaves the range from 0 to 1")


def _kind(value: Any) -> str:
    """Describe a value in a few words, whatever it is; the text form of nested lists may be larger than any memory."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, str | int | float):
        return f"{value!r:.100}"
    return f"a {type(value).__name__}"


_CONTENT_RULES: tuple[Callable[[Annotation], Iterator[Problem]], ...] = (
    _missing_is_zero,
    _places,
    _rank_order,
    _ids,
    _shares,
)
