"""Annotation files of the earlier scripts and of pyskl and mmaction2, read into the contract and written back.

The earlier scripts' layout: `{'total_persons', 'video_info': {'frame_dir', 'total_frames', 'img_shape',
'original_shape', 'label'}, 'persons': {'person_00': {'track_id', 'composite_score', 'score_breakdown',
'region_breakdown', 'track_quality', 'rank', 'annotation': {'keypoint', 'keypoint_score', 'num_keypoints',
'track_id'}}, ...}, ...}`, keypoints (T, 17, 2) or (1, T, 17, 2). pyskl's is the contract's, in its older form a bare
list without splits, with `filename` for `frame_dir`, float16 values, or without scores.

What others wrote has no boxes and no `schema_version` afterwards: nothing is made up. Annotations of this program stay
as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import ALL_SPLIT, Annotation, AnnotationError
from tasks.annotations.safe_pickle import safe_load
from tasks.annotations.validate import CONTRACT_KEYS, validate_annotation
from tasks.core.records import NUM_KEYPOINTS, REGIONS


def read_any(path: Path, frame_dir: str | None = None) -> dict[str, Any]:
    """Read an annotation file of any known layout into that of the contract.

    Parameters
    ----------
    path
        The PKL; read safely (`tasks.annotations.safe_pickle`).
    frame_dir
        Identifier for an earlier file, which holds one clip under its bare stem; by default that stem.

    Returns
    -------
    dict
        "split" and "annotations"; every annotation keeps the contract.

    Raises
    ------
    AnnotationError
        If the file cannot be read, has no known layout, or an annotation breaks the contract all the same.
    """
    value = safe_load(path)
    try:
        data = _recognised(value, frame_dir)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnnotationError(f"{path}: cannot be converted: {_reason(error)}") from error
    if data is None:
        raise AnnotationError(f"{path}: has neither the earlier scripts' nor pyskl's layout")
    for annotation in data["annotations"]:
        problems = validate_annotation(annotation)
        if problems:
            raise AnnotationError(f"{path}: {annotation['frame_dir']}: {problems[0].text}")
    return data


def to_persons(annotation: Annotation) -> dict[str, Any]:
    """Return an annotation in the earlier scripts' layout.

    Scores that the annotation lacks (one that came from pyskl) are 0.
    """
    count = len(annotation["keypoint"])
    persons = {
        f"person_{index:02d}": {
            "track_id": int(annotation.get("track_ids", np.arange(1, count + 1))[index]),
            "composite_score": float(annotation.get("composite_scores", np.zeros(count))[index]),
            "score_breakdown": _nth(annotation.get("score_breakdown", {}), index),
            "region_breakdown": _nth(annotation.get("region_breakdown", {}), index),
            "track_quality": float(annotation.get("track_quality", np.zeros(count))[index]),
            "rank": index + 1,
            "annotation": {
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
            if np.abs(plain[key]).max(initial=0) > np.finfo(np.float16).max:
                raise AnnotationError(f"{annotation['frame_dir']}: coordinates are beyond the range of float16")
            plain[key] = plain[key].astype(np.float16)
    return plain


def _recognised(value: Any, frame_dir: str | None) -> dict[str, Any] | None:
    """Return a file's content in the contract's layout, None where the layout is unknown."""
    if isinstance(value, dict) and "persons" in value:
        annotation = _from_persons(value, frame_dir)
        return {"split": {ALL_SPLIT: [annotation["frame_dir"]]}, "annotations": [annotation]}
    if isinstance(value, dict) and {"split", "annotations"} <= value.keys():
        return {"split": value["split"], "annotations": [_from_pyskl(item) for item in value["annotations"]]}
    if isinstance(value, list):
        annotations = [_from_pyskl(item) for item in value]
        return {"split": {ALL_SPLIT: [item["frame_dir"] for item in annotations]}, "annotations": annotations}
    return None


def _from_persons(value: dict[str, Any], frame_dir: str | None) -> Annotation:
    """Return the annotation that an earlier file holds."""
    info = value["video_info"]
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
        **_clean(np.stack(keypoints), np.stack(scores)),
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
        if key == "region_breakdown" and set(names) == set(REGIONS):
            names = REGIONS
        elif key == "region_breakdown":
            continue
        if names:
            found[key] = {name: _column([person[key] for person in persons], name) for name in names}
    return found


def _from_pyskl(item: dict[str, Any]) -> Annotation:
    """Return one of pyskl's annotations under the contract; keys beyond it are left out."""
    if "track_ids" in item:
        # One of ours, or a window of one: its keys beyond the contract are known.
        return item
    keypoints = item["keypoint"]
    # Data sets made without a pose model's scores (3D sensors, hand labels) have none.
    scores = item.get("keypoint_score")
    if scores is None:
        scores = keypoints.any(-1)
    size = tuple(item["img_shape"])
    return {
        "frame_dir": str(item["frame_dir"] if "frame_dir" in item else item["filename"]),
        "total_frames": int(item.get("total_frames", keypoints.shape[1])),
        "img_shape": size,
        "original_shape": tuple(item.get("original_shape", size)),
        "label": int(item["label"]),
        **_clean(keypoints, scores),
    }


def _clean(keypoints: npt.NDArray[Any], scores: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float32]]:
    """Return keypoints and scores as float32, with zeros where a joint is missing."""
    if not (np.isfinite(keypoints).all() and np.isfinite(scores).all()):
        raise ValueError("it holds values that are not finite")
    scores = scores.astype(np.float32)
    keypoints = keypoints.astype(np.float32)
    keypoints[scores == 0] = 0
    return {"keypoint": keypoints, "keypoint_score": scores}


def _frames_first(array: npt.NDArray[Any], dimensions: int, frames: int) -> npt.NDArray[Any]:
    """Return an array of one person without its person axis of length 1."""
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
