"""The annotation: what mmaction2's PoseDataset and pyskl read, and its one reader.

A file is `{'split': {name: [frame_dir, ...]}, 'annotations': [dict, ...]}`. The keys of one annotation, with M people
in rank order (consumers keep the first two), T decoded frames and 17 COCO keypoints:

| key | type | meaning |
|---|---|---|
| frame_dir | str | identifier, unique in a data set |
| total_frames | int | T |
| img_shape, original_shape | (int, int) | height, width of the frames as they decode, upright, in stored pixels |
| label | int | 1 fight, 0 none |
| keypoint | float32 [M, T, 17, 2] | x, y in pixels |
| keypoint_score | float32 [M, T, 17] | exactly 0 where a joint or the person is missing; x and y are 0 there too |
| bbox | float32 [M, T, 4] | x1, y1, x2, y2 in pixels, zeros where the person is missing |
| filled | bool [M, T] | the pose was estimated in a gap of the track, not seen |
| track_ids | int32 [M] | the IDs in the overlay |
| composite_scores | float32 [M] | involvement, descending |
| score_breakdown | {component: float32 [M]} | what the composite is made of |
| region_breakdown | {region: float32 [M]} | unweighted region scores |
| region_weights | {region: float} | the weights learned in this clip |
| region_weights_path | float32 [R + 1, 5] | the weights before the first and after each of the R rounds |
| track_quality | float32 [M] | mean keypoint score of the track's seen frames |
| track_length | int32 [M] | frames in which the person is not missing |
| best_partner | int32 [M] | track ID of the person it interacts with most, 0 for none |
| window_frames | int32 [S + 1] | edges of the time windows, in frames |
| identity_confidence | float32 [M, T] | probability that the person keeps its ID around the frame, 0 where missing |
| window_scores | float32 [M, S] | involvement within each window |
| fps | float | frames per second |
| sample_aspect_ratio | float | width / height of a stored pixel; only where pixels are not square (see below) |
| settings, provenance | dict | of the run; plain values |
| schema_version | int | version of this table |
| automatic, review | dict | in reviewed annotations only: values before the review, and what was applied |

Keypoints and boxes are in stored pixels, as mmaction2 would decode the clip: x up to the width in `img_shape`. Where
pixels are not square (recorders store 704x288 for a 4:3 scene), all that is measured in lengths (speeds, sizes,
regions, scores) was measured in the picture with square pixels that the model saw; `in_display` gives the coordinates
there.

There is never a key `filename`: mmaction2 would look splits up by it. Nothing here is float16, which costs up to two
pixels above 512, and nothing is NaN, which becomes a silent NaN prediction.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.safe_pickle import AnnotationError, safe_load
from tasks.clips.discovery import Clip
from tasks.core.errors import ClipError, FailureReason
from tasks.core.pixel_aspect import display_size, is_ratio, stored_size, to_display, to_stored
from tasks.core.records import Involvement, Tracks
from tasks.core.region_layout import REGIONS
from tasks.core.settings import Settings
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.core.storage import atomic_path
from tasks.tracking.identity import identity_confidence

__all__ = [
    "SCHEMA_VERSION",
    "Annotation",
    "AnnotationError",
    "ArrayPickler",
    "build_annotation",
    "in_display",
    "is_excluded",
    "only_annotation",
    "read_annotation",
    "write_annotation",
]

SCHEMA_VERSION = 1

ALL_SPLIT = "all"
"""The split that the file of a single video has: its clip."""

Annotation = dict[str, Any]


def build_annotation(
    clip: Clip, tracks: Tracks, involvement: Involvement, settings: Settings, provenance: dict[str, Any]
) -> Annotation:
    """Lay the ranked people of a clip out as one annotation.

    Parameters
    ----------
    clip
        Gives identifier and label.
    tracks
        Every track of the clip; those that `involvement` does not rank are left out.
    involvement
        The people of the annotation, in rank order.
    settings
        The resolved settings of the run.
    provenance
        Plain values that say where the annotation comes from, such as the model and the hash of the clip.

    Returns
    -------
    dict
        See the module's table; only builtin containers and arrays in it.

    Raises
    ------
    ClipError
        If nobody is ranked: an annotation without people loads, but predicts noise.
    AnnotationError
        If a value is not finite, or `provenance` holds anything but plain values.
    """
    if len(involvement.track_ids) == 0:
        raise ClipError(
            FailureReason.NO_TRACKS, clip.path, "nobody in it could be tracked; lower --score-thr to keep more"
        )
    # Poses are in square pixels, while consumers decode the clip as it is stored.
    poses = tracks.poses
    ratio = poses.sample_aspect_ratio
    width, height = stored_size((poses.width, poses.height), ratio)
    annotation: Annotation = {
        "frame_dir": clip.frame_dir,
        "total_frames": int(poses.frame_count),
        "img_shape": (int(height), int(width)),
        "original_shape": (int(height), int(width)),
        "label": int(clip.label),
        **people_arrays(tracks, involvement),
        **_of_clip(involvement),
        "fps": float(poses.fps),
        **({} if ratio == 1 else {"sample_aspect_ratio": float(ratio)}),
        "settings": settings.model_dump(mode="json"),
        "provenance": provenance,
        "schema_version": SCHEMA_VERSION,
    }
    # Last, because it is worked out from the arrays above.
    annotation["identity_confidence"] = confidence_of(annotation)
    # Here and not by its readers: a NaN in a file would show only as a bad prediction, much later.
    _require_plain_and_finite(annotation, clip.frame_dir)
    return annotation


def confidence_of(annotation: Annotation) -> npt.NDArray[np.float32]:
    """Return how likely each person of an annotation keeps its identity around each frame, (M, T)."""
    # Steps and overlaps are lengths: measured where pixels are square.
    shown = in_display(annotation)
    return identity_confidence(
        shown["bbox"],
        shown["keypoint"],
        shown["keypoint_score"],
        shown["filled"],
        float(shown.get("fps") or 25.0),
    )


def people_arrays(tracks: Tracks, involvement: Involvement) -> dict[str, Any]:
    """Return the keys of an annotation whose arrays have one entry per person, in stored pixels.

    Parameters
    ----------
    tracks
        Every track of the clip; those that `involvement` does not rank are left out.
    involvement
        The people, in rank order.
    """
    poses = tracks.poses
    people = len(involvement.track_ids)
    display, ratio = (poses.width, poses.height), poses.sample_aspect_ratio
    person, rows = _places(tracks, involvement)
    # Consumers tell by the joints who is there: where a model gave a box alone, the person is missing.
    seen = (poses.keypoint_scores[rows] > 0).any(axis=1)
    person, rows = person[seen], rows[seen]
    frame = poses.frame_index[rows]
    shape = (people, poses.frame_count)

    scores = np.zeros((*shape, NUM_KEYPOINTS), np.float32)
    scores[person, frame] = poses.keypoint_scores[rows]
    keypoints = np.zeros((*shape, NUM_KEYPOINTS, 2), np.float32)
    keypoints[person, frame] = to_stored(poses.keypoints[rows], display, ratio)
    # Models give joints that they did not see a place as well; the contract has exactly 0 there.
    keypoints[scores == 0] = 0
    bbox = np.zeros((*shape, 4), np.float32)
    bbox[person, frame] = to_stored(poses.bbox[rows], display, ratio)
    filled = np.zeros(shape, np.bool_)
    filled[person, frame] = tracks.filled[rows]
    return {
        "keypoint": keypoints,
        "keypoint_score": scores,
        "bbox": bbox,
        "filled": filled,
        **_ranking(involvement),
        "track_length": np.bincount(person, minlength=people).astype(np.int32),
    }


def in_display(annotation: Annotation) -> Annotation:
    """Return an annotation with its sizes, keypoints and boxes in display geometry, where pixels are square.

    The same annotation where they are square as stored. Everything that shows an annotation over a picture, or measures
    lengths in it, has to go through here.

    Raises
    ------
    AnnotationError
        If the ratio is not a number that a pixel can have.
    """
    ratio = annotation.get("sample_aspect_ratio", 1.0)
    if ratio == 1:
        return annotation
    # Files come from anyone, and a ratio of 0 or NaN would give frames of no size.
    if not is_ratio(ratio):
        raise AnnotationError(f"{annotation.get('frame_dir')}: sample_aspect_ratio is not the shape of a pixel")
    height, width = annotation["img_shape"]
    stored = (int(width), int(height))
    shown = display_size(stored, ratio)
    scaled = {
        key: to_display(np.asarray(annotation[key], np.float32), stored, ratio)
        for key in ("keypoint", "bbox")
        if key in annotation
    }
    # Without the ratio, so that nothing is stretched twice.
    rest = {key: value for key, value in annotation.items() if key != "sample_aspect_ratio"}
    # (width, height) turned into the (height, width) of the contract.
    return rest | scaled | {"img_shape": shown[::-1], "original_shape": shown[::-1]}


def write_annotation(
    path: Path,
    annotations: Sequence[Annotation],
    split: dict[str, list[str]] | None = None,
    classes: Mapping[str, int] | None = None,
) -> None:
    """Write annotations as one file, atomically.

    Parameters
    ----------
    path
        The PKL.
    annotations
        What `build_annotation` made.
    split
        Split name to identifiers; by default all of them are in one split called "all".
    classes
        Class number by name, kept under a key `classes` of the file, which consumers ignore; none by default.

    Raises
    ------
    AnnotationError
        If an identifier occurs twice.
    """
    names = [annotation["frame_dir"] for annotation in annotations]
    if len(set(names)) != len(names):
        # The first in the alphabet, so that the message is the same each time.
        twice = sorted({name for name in names if names.count(name) > 1})[0]
        raise AnnotationError(f"{path}: the identifier {twice} stands twice; nothing was written")
    value: dict[str, Any] = {"split": {ALL_SPLIT: names} if split is None else split, "annotations": list(annotations)}
    if classes:
        value["classes"] = dict(classes)
    with atomic_path(path) as partial, partial.open("wb") as stream:
        ArrayPickler(stream, protocol=4).dump(value)


def read_annotation(path: Path, *, large_arrays: bool = True) -> dict[str, Any]:
    """Read an annotation file of any origin without running anything in it.

    Parameters
    ----------
    path
        The file.
    large_arrays
        Whether to read the values of large arrays, see `safe_load`.

    Returns
    -------
    dict
        "split", a dict of lists of identifiers, and "annotations", a list of dicts. Whether those keep the contract is
        for `tasks.annotations.validate` to say.

    Raises
    ------
    AnnotationError
        If the file cannot be read or is not laid out so.
    """
    value = safe_load(path, large_arrays=large_arrays)
    if isinstance(value, dict) and isinstance(value.get("persons"), dict):
        # The earlier scripts gave theirs the name that ours have.
        raise AnnotationError(f"{path}: is in the earlier scripts' 'persons' layout; convert it, or annotate again")
    if not isinstance(value, dict) or not isinstance(value.get("annotations"), list):
        raise AnnotationError(f"{path}: is a pickle, but not of annotations: it has no list 'annotations'")
    split = value.get("split")
    if not isinstance(split, dict) or not all(_is_list_of(names, str) for names in split.values()):
        raise AnnotationError(f"{path}: its 'split' is not a dict of lists of identifiers")
    if not _is_list_of(value["annotations"], dict):
        raise AnnotationError(f"{path}: its 'annotations' are not all dicts")
    return value


def only_annotation(path: Path, *, large_arrays: bool = True) -> Annotation:
    """Return the annotation of a single clip's file; `large_arrays` as in `read_annotation`.

    Raises
    ------
    AnnotationError
        If the file cannot be read, or holds none or several.
    """
    annotations: list[Annotation] = read_annotation(path, large_arrays=large_arrays)["annotations"]
    if len(annotations) != 1:
        raise AnnotationError(f"{path}: holds {len(annotations)} annotations instead of one")
    return annotations[0]


def is_excluded(annotation: Annotation) -> bool:
    """Tell whether a review left a clip out of the data set."""
    review = annotation.get("review")
    return isinstance(review, dict) and review.get("excluded") is True


def _places(tracks: Tracks, involvement: Involvement) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return for each row of a ranked track its person index, and the row's index, both (K,)."""
    # `searchsorted` needs sorted IDs; `order` leads from these back to places in the ranking.
    order = np.argsort(involvement.track_ids)
    ranked = involvement.track_ids[order]
    rows = np.flatnonzero(np.isin(tracks.track_id, ranked))
    return order[np.searchsorted(ranked, tracks.track_id[rows])], rows


def _ranking(involvement: Involvement) -> dict[str, Any]:
    """Return the keys that say why each person is ranked as they are."""
    regions = zip(REGIONS, involvement.region_scores.T, strict=True)
    return {
        "track_ids": np.array(involvement.track_ids, np.int32),
        "composite_scores": _floats(involvement.score),
        "score_breakdown": {name: _floats(part) for name, part in involvement.components.items()},
        "region_breakdown": {name: _floats(part) for name, part in regions},
        "track_quality": _floats(involvement.quality),
        "best_partner": np.array(involvement.best_partner, np.int32),
        "window_scores": _floats(involvement.window_score),
    }


def _of_clip(involvement: Involvement) -> dict[str, Any]:
    """Return the keys of a ranking that belong to the clip as a whole."""
    weights = involvement.region_weights
    return {
        "region_weights": {name: float(weight) for name, weight in zip(REGIONS, weights.weights, strict=True)},
        "region_weights_path": _floats(weights.path),
        "window_frames": np.array(involvement.window_frames, np.int32),
    }


def _floats(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return an array of its own, so that the annotation shares no memory with the record."""
    return np.array(values, np.float32)


def _is_list_of(value: Any, kind: type) -> bool:
    """Tell whether a value is a list of values of one type."""
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _require_plain_and_finite(value: Any, where: str) -> None:
    """Refuse what consumers would misread (NaN, infinity) or could not load (objects of classes they lack)."""
    if isinstance(value, dict):
        for key, part in value.items():
            _require_plain_and_finite(part, f"{where}: {key}")
    elif isinstance(value, list | tuple):
        for part in value:
            _require_plain_and_finite(part, where)
    elif type(value) is np.ndarray and value.dtype.kind in "biuf":
        # Arrays of objects or text do not come here, but to the refusal at the end.
        if not np.isfinite(value).all():
            raise AnnotationError(f"{where} holds values that are not finite; nothing was written")
    elif type(value) is float:
        if not math.isfinite(value):
            raise AnnotationError(f"{where} is not finite; nothing was written")
    elif value is not None and type(value) not in (str, int, bool):
        # Exact types above: numpy's float64 is a float, too, but is pickled by the name of its own class.
        raise AnnotationError(f"{where} is a {type(value).__name__}; only plain values and numeric arrays are written")


class ArrayPickler(pickle.Pickler):
    """Writes arrays under names that every numpy has.

    numpy 2 writes the private name `numpy._core.multiarray`, which the numpy of older training environments (below
    1.26) cannot import. An empty `numpy.ndarray` followed by the same state is read alike by all.
    """

    def reducer_override(self, obj: Any) -> Any:
        """Return how to write a value: arrays as said, all else as usual."""
        if type(obj) is not np.ndarray:
            return NotImplemented
        # An empty array of bytes, to which the state that follows gives shape, type and content.
        return np.ndarray, ((0,), "b"), obj.__reduce__()[2]
