"""Annotation files of the earlier scripts and of pyskl and mmaction2, read into the contract and written back.

The earlier scripts' layout: `{'total_persons', 'video_info': {'frame_dir', 'total_frames', 'img_shape',
'original_shape', 'label'}, 'persons': {'person_00': {'track_id', 'composite_score', 'score_breakdown',
'region_breakdown', 'track_quality', 'rank', 'annotation': {'keypoint', 'keypoint_score', 'num_keypoints',
'track_id'}}, ...}, ...}`, keypoints (T, 17, 2) or (1, T, 17, 2). pyskl's is the contract's, in its older form a bare
list without splits, with `filename` for `frame_dir`, float16 values, or without scores.

What others wrote has no boxes and no `schema_version` afterwards: nothing is made up. Annotations of this program stay
as they are. An annotation that cannot be used (another skeleton, arrays that do not fit each other) costs only itself.

pyskl's data sets: NTU RGB+D by HRNet (`ntu60_hrnet.pkl`) is read; its 3D form has Kinect's 25 joints, and the file of
Kinetics-400 holds a list of poses per clip in other files (`raw_file`) or rows of detections without tracks
(`frame_inds`, `box_score`): they are refused with that reason.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import ALL_SPLIT, Annotation, AnnotationError
from tasks.annotations.safe_pickle import safe_load
from tasks.annotations.validate import CONTRACT_KEYS, validate_annotation
from tasks.core.region_layout import REGIONS
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.core.storage import atomic_path


@dataclass(slots=True)
class AnyAnnotations:
    """What a file of whatever layout holds.

    Attributes
    ----------
    split
        Split name to identifiers; only of annotations that are there.
    annotations
        Every one keeps the contract.
    problems
        What was left out or changed, a line each, without the file's name.
    """

    split: dict[str, list[str]]
    annotations: list[Annotation]
    problems: list[str] = field(default_factory=list)


def read_any(path: Path, frame_dir: str | None = None, strict: bool = False) -> AnyAnnotations:
    """Read an annotation file of any known layout into that of the contract.

    Parameters
    ----------
    path
        The PKL; read safely (`tasks.annotations.safe_pickle`).
    frame_dir
        Identifier for an earlier file, which holds one clip under its bare stem; by default that stem.
    strict
        Refuse the whole file for one annotation that would be left out.

    Raises
    ------
    AnnotationError
        If the file cannot be read, has no known layout, or holds no annotation that can be used.
    """
    value = safe_load(path)
    # By a key, because both layouts come as .pkl files.
    earlier = isinstance(value, dict) and "persons" in value
    items = [value] if earlier else _items(value)
    if items is None:
        raise AnnotationError(f"{path}: has neither the earlier scripts' nor pyskl's layout")
    read = AnyAnnotations({}, [])
    for number, item in enumerate(items):
        try:
            annotation = _from_persons(item, frame_dir, read.problems) if earlier else _from_pyskl(item, read.problems)
            problems = validate_annotation(annotation)
            if problems:
                raise ValueError(problems[0].text)
        # All that files of another layout fail at: missing keys, other types, lists in place of arrays.
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            reason = f"{_name(item, number)} cannot be converted: {_reason(error)}"
            # A file of one annotation is of no use without it.
            if strict or len(items) == 1:
                raise AnnotationError(f"{path}: {reason}") from error
            read.problems.append(f"left out: {reason}")
            continue
        read.annotations.append(annotation)
    if items and not read.annotations:
        raise AnnotationError(f"{path}: none of its {len(items)} annotations can be used; {read.problems[0]}")
    # Last, because clips that were left out may not be in a split either.
    read.split = _split(value, [annotation["frame_dir"] for annotation in read.annotations], path)
    return read


def to_persons(annotation: Annotation) -> dict[str, Any]:
    """Return an annotation in the earlier scripts' layout.

    Scores that the annotation lacks (one that came from pyskl) are 0.
    """
    count = len(annotation["keypoint"])
    # `persons` numbers its keys from 0 and its ranks from 1, as the earlier scripts did.
    persons = {
        f"person_{index:02d}": {
            "track_id": int(annotation.get("track_ids", np.arange(1, count + 1))[index]),
            "composite_score": float(annotation.get("composite_scores", np.zeros(count))[index]),
            "score_breakdown": _nth(annotation.get("score_breakdown", {}), index),
            "region_breakdown": _nth(annotation.get("region_breakdown", {}), index),
            "track_quality": float(annotation.get("track_quality", np.zeros(count))[index]),
            "rank": index + 1,
            "annotation": {
                # A slice keeps the person axis of length 1.
                "keypoint": annotation["keypoint"][index : index + 1],
                "keypoint_score": annotation["keypoint_score"][index : index + 1],
                "num_keypoints": NUM_KEYPOINTS,
                "track_id": int(annotation.get("track_ids", np.arange(1, count + 1))[index]),
            },
        }
        for index in range(count)
    }
    info = {key: annotation[key] for key in ("frame_dir", "total_frames", "img_shape", "original_shape", "label")}
    return {"total_persons": count, "video_info": info, "persons": persons}


def to_pyskl(annotation: Annotation, half: bool = False) -> Annotation:
    """Return an annotation with the contract's keys only.

    Parameters
    ----------
    annotation
        Any annotation.
    half
        Store float16: half the size, at the price of up to two pixels above 512.

    Raises
    ------
    AnnotationError
        If a coordinate is beyond float16's range.
    """
    plain = {key: annotation[key] for key in CONTRACT_KEYS}
    if half:
        for key in ("keypoint", "keypoint_score"):
            # Beyond the range of float16 (65504) the conversion would give infinity.
            if np.abs(plain[key]).max(initial=0) > np.finfo(np.float16).max:
                raise AnnotationError(f"{annotation['frame_dir']}: coordinates are beyond the range of float16")
            plain[key] = plain[key].astype(np.float16)
    return plain


def to_own(annotation: Annotation) -> Annotation:
    """Return an annotation as it is: this program's layout is the one that everything is read into."""
    return annotation


def to_half(annotation: Annotation) -> Annotation:
    """Return an annotation with the contract's keys only, in float16; see `to_pyskl`."""
    return to_pyskl(annotation, half=True)


def write_persons(path: Path, annotation: Annotation) -> None:
    """Write one clip in the earlier scripts' layout, atomically."""
    with atomic_path(path) as partial:
        # Protocol 5 cannot be read by the Python 3.7 of older training environments.
        partial.write_bytes(pickle.dumps(to_persons(annotation), protocol=4))


def _items(value: Any) -> list[Any] | None:
    """Return the annotations of pyskl's layout, new or old; None where a file has another one."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and {"split", "annotations"} <= value.keys() and isinstance(value["annotations"], list):
        return list(value["annotations"])
    return None


def _split(value: Any, names: list[str], path: Path) -> dict[str, list[str]]:
    """Return the splits of a file, without clips that are not in it.

    Raises
    ------
    AnnotationError
        If they are not lists of identifiers.
    """
    if not (isinstance(value, dict) and "split" in value):
        return {ALL_SPLIT: names}
    there, split = set(names), value["split"]
    if not isinstance(split, dict) or not all(isinstance(members, list | tuple) for members in split.values()):
        raise AnnotationError(f"{path}: its 'split' is not a dict of lists of identifiers")
    return {str(name): [member for member in map(str, members) if member in there] for name, members in split.items()}


def _name(item: Any, number: int) -> str:
    """Return what an annotation is called in a message: its identifier, else its number from 0."""
    info = item.get("video_info", item) if isinstance(item, dict) else {}
    name = info.get("frame_dir", info.get("filename")) if isinstance(info, dict) else None
    return name if isinstance(name, str) else f"annotation {number}"


def _from_persons(value: dict[str, Any], frame_dir: str | None, notes: list[str]) -> Annotation:
    """Return the annotation that an earlier file holds; `notes` gets a line about what was changed."""
    info = value["video_info"]
    # The order in the dict is that of writing; consumers keep the first two, who have to be first in rank.
    persons = sorted(value["persons"].values(), key=lambda person: person["rank"])
    if not persons:
        raise ValueError("there is nobody in it")
    frames = int(info["total_frames"])
    keypoints = [_frames_first(person["annotation"]["keypoint"], 3, frames) for person in persons]
    scores = [_frames_first(person["annotation"]["keypoint_score"], 2, frames) for person in persons]
    size = tuple(info["img_shape"])
    return {
        "frame_dir": frame_dir or str(info["frame_dir"]),
        "total_frames": frames,
        "img_shape": size,
        "original_shape": tuple(info.get("original_shape", size)),
        "label": int(info["label"]),
        **_clean(np.stack(keypoints), np.stack(scores), str(info["frame_dir"]), notes),
        "track_ids": np.array([person["track_id"] for person in persons], np.int32),
        "composite_scores": _column(persons, "composite_score"),
        "track_quality": _column(persons, "track_quality"),
        **_breakdowns(persons),
    }


def _breakdowns(persons: list[dict[str, Any]]) -> dict[str, dict[str, npt.NDArray[np.float32]]]:
    """Return what people's scores are made of, as far as all of them have it and the regions are those that we know."""
    found = {}
    for key in ("score_breakdown", "region_breakdown"):
        names = tuple(persons[0].get(key) or ())
        # The contract prescribes our regions and their order; scores of other regions cannot be compared with ours.
        if key == "region_breakdown" and set(names) == set(REGIONS):
            names = REGIONS
        elif key == "region_breakdown":
            continue
        if names:
            found[key] = {name: _column([person[key] for person in persons], name) for name in names}
    return found


def _from_pyskl(item: Any, notes: list[str]) -> Annotation:
    """Return one of pyskl's annotations under the contract; keys beyond it are left out.

    Parameters
    ----------
    item
        The annotation.
    notes
        Gets a line about what was changed.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If it is something else.
    """
    if not isinstance(item, dict):
        raise TypeError(f"it is a {type(item).__name__}, not an annotation")
    if "raw_file" in item or "frame_inds" in item:
        # pyskl's and mmaction2's Kinetics-400: rows of detections, which their step DecompressPose sorts by frame.
        raise ValueError(
            "it is in the compressed layout of Kinetics-400, whose people are not tracked (pyskl's DecompressPose)"
        )
    if "track_ids" in item:
        # One of ours, or a window of one: its keys beyond the contract are known.
        return item
    keypoints = item["keypoint"]
    _require_coco(keypoints)
    # Data sets made without a pose model's scores (3D sensors, hand labels) have none.
    scores = item.get("keypoint_score")
    if scores is None:
        # Then a joint is there unless it is at 0, 0; `_clean` makes 0 and 1 of the booleans.
        scores = keypoints.any(-1)
    name = str(item["frame_dir"] if "frame_dir" in item else item["filename"])
    size = _size(item["img_shape"])
    return {
        "frame_dir": name,
        "total_frames": int(item.get("total_frames", keypoints.shape[1])),
        "img_shape": size,
        "original_shape": _size(item.get("original_shape", size)),
        "label": int(item["label"]),
        **_present(_clean(keypoints, scores, name, notes)),
    }


def _require_coco(keypoints: Any) -> None:
    """Refuse keypoints that are not COCO's 17 in the plane, with what they are.

    Raises
    ------
    ValueError, TypeError
        If they are something else.
    """
    if not isinstance(keypoints, np.ndarray):
        raise TypeError(f"keypoint is a {type(keypoints).__name__}, not an array")
    if keypoints.ndim != 4:
        raise ValueError(f"keypoint has the shape {keypoints.shape}, not (people, frames, {NUM_KEYPOINTS}, 2)")
    joints, axes = keypoints.shape[2:]
    if joints == 25 and axes == 3:
        raise ValueError("it has the 25 joints of Kinect in 3D (NTU RGB+D), not COCO's 17 in the image")
    if joints != NUM_KEYPOINTS or axes != 2:
        raise ValueError(f"it has {joints} joints of {axes} coordinates, not COCO's {NUM_KEYPOINTS} of 2")


def _clean(
    keypoints: npt.NDArray[Any], scores: npt.NDArray[Any], name: str, notes: list[str]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return keypoints and scores as float32, scores from 0 to 1, with zeros where a joint is missing.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or a value is not finite.
    """
    # Before the arrays are used together: numpy would broadcast some shapes that do not fit, and fail at others.
    if not isinstance(scores, np.ndarray) or scores.shape != keypoints.shape[:-1]:
        shape = getattr(scores, "shape", type(scores).__name__)
        raise ValueError(f"keypoint_score has the shape {shape}, for keypoint {keypoints.shape}")
    # Before the range is looked at: NaN is neither below 0 nor above 1.
    if not (np.isfinite(keypoints).all() and np.isfinite(scores).all()):
        raise ValueError("it holds values that are not finite")
    scores = scores.astype(np.float32)
    if scores.size and (scores.max() > 1 or scores.min() < 0):
        # Heat maps of top-down models peak above 1 at times.
        outside = int(((scores > 1) | (scores < 0)).sum())
        notes.append(f"{name}: {outside} scores from {scores.min():.3g} to {scores.max():.3g} cut to 0 to 1")
        scores = scores.clip(0, 1)
    keypoints = keypoints.astype(np.float32)
    # As the contract wants it: other programs leave a place for joints that were not seen.
    keypoints[scores == 0] = 0
    return {"keypoint": keypoints, "keypoint_score": scores}


def _present(arrays: dict[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the arrays without people who are in no frame, with which data sets fill up to a number of people."""
    there = arrays["keypoint_score"].any((1, 2))
    return {key: array[there] for key, array in arrays.items()}


def _size(value: Any) -> tuple[int, ...]:
    """Return a frame size as whole numbers; some files hold them as numpy's or as floats."""
    size = tuple(int(number) for number in value)
    if len(size) != 2:
        raise ValueError(f"img_shape is {size}, not (height, width)")
    return size


def _frames_first(array: npt.NDArray[Any], dimensions: int, frames: int) -> npt.NDArray[Any]:
    """Return an array of one person without its person axis of length 1."""
    # Files of the earlier scripts have both forms.
    if array.ndim == dimensions + 1 and len(array) == 1:
        array = array[0]
    if array.ndim != dimensions or len(array) != frames:
        raise ValueError(f"an array has the shape {array.shape}, for {frames} frames")
    return array


def _column(persons: list[dict[str, Any]], key: str) -> npt.NDArray[np.float32]:
    """Return one value of every person as an array."""
    return np.array([person[key] for person in persons], np.float32)


def _nth(parts: dict[str, npt.NDArray[Any]], index: int) -> dict[str, float]:
    """Return the values of one person of a breakdown."""
    return {name: float(part[index]) for name, part in parts.items()}


def _reason(error: Exception) -> str:
    """Return an error's text, completed where it is only the name of a key."""
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)[:200]
