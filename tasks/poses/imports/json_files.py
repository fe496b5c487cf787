"""JSON files of poses: AlphaPose, MMPose's Inferencer and demos, COCO keypoints and their results.

Sources: AlphaPose's `docs/output.md` (`image_id`, `keypoints`, `score`, `box` as x, y, width, height, `idx`), MMPose's
inferencer guide (`frame_id`, `instances` with `keypoints`, `keypoint_scores`, `bbox`, `bbox_score`), the COCO results
format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tasks.poses.imports.rows import Floats, Row


def rows_of_json(value: Any) -> list[Row]:
    """Return the people of a JSON file of any known layout.

    Raises
    ------
    ValueError, KeyError, TypeError
        If its layout is not known, or something in it is missing.
    """
    if isinstance(value, dict) and "instance_info" in value:
        # MMPose's demos count frames from 1, its Inferencer from 0.
        return list(_mmpose(value["instance_info"], first=1))
    if isinstance(value, dict) and {"images", "annotations"} <= value.keys():
        return list(_coco(value["annotations"], _frames_of_images(value["images"])))
    if isinstance(value, list) and (not value or "instances" in value[0]):
        return list(_mmpose(value, first=0))
    if isinstance(value, list) and {"image_id", "keypoints"} <= value[0].keys():
        return list(_coco(value, _frames_of_ids([item["image_id"] for item in value])))
    raise ValueError("it is JSON, but neither AlphaPose's nor MMPose's nor COCO's")


def _mmpose(frames: list[Mapping[str, Any]], first: int) -> Iterator[Row]:
    """Yield the people of MMPose's list of frames."""
    for number, frame in enumerate(frames):
        index = int(frame.get("frame_id", number + first)) - first
        for one in frame["instances"]:
            places = np.array(one["keypoints"], np.float32)[:, :2]
            scores = np.array(one["keypoint_scores"], np.float32)
            box = one.get("bbox")
            # A list of one box, as tuples of lists come out of JSON.
            box = box[0] if box and isinstance(box[0], list) else box
            track = one.get("track_id")
            yield Row(index, np.column_stack([places, scores]), box, one.get("bbox_score"), track)


def _coco(items: list[Mapping[str, Any]], frames: Mapping[Any, int]) -> Iterator[Row]:
    """Yield the people of COCO's or AlphaPose's flat lists."""
    for item in items:
        joints = np.array(item["keypoints"], np.float32).reshape(-1, 3).copy()
        if "keypoint_scores" in item:
            # Of our own export: the third number is visibility there.
            joints[:, 2] = item["keypoint_scores"]
        elif set(np.unique(joints[:, 2])) <= {0, 1, 2} and joints[:, 2].max(initial=0) > 1:
            # Visibility by hand: hidden joints are there, too.
            joints[:, 2] = joints[:, 2] > 0
        # Both are x, y, width, height.
        corner = item.get("box", item.get("bbox"))
        box = [corner[0], corner[1], corner[0] + corner[2], corner[1] + corner[3]] if corner else None
        yield Row(frames[item["image_id"]], joints, box, item.get("score"), _track(item))


def _track(item: Mapping[str, Any]) -> int | None:
    """Return the track ID of AlphaPose (`idx`, at times in lists) or of others."""
    number = item.get("track_id", item.get("idx"))
    while isinstance(number, list):
        number = number[0] if number else None
    return int(number) if number is not None else None


def _frames_of_images(images: list[Mapping[str, Any]]) -> dict[Any, int]:
    """Return the frame of each image ID: by the number in its name where all have one, else by the order of IDs."""
    numbers = [_number(str(image.get("file_name", ""))) for image in images]
    if None not in numbers and len(set(numbers)) == len(images):
        first = min(number for number in numbers if number is not None)
        # Names count from 0 or from 1.
        return {image["id"]: int(number) - min(first, 1) for image, number in zip(images, numbers, strict=True)}  # type: ignore[arg-type]
    return {image: index for index, image in enumerate(sorted(image["id"] for image in images))}


def _frames_of_ids(ids: list[Any]) -> dict[Any, int]:
    """Return the frame of each image ID, a number or a file name, counted from 0 if there is a 0, else from 1."""
    numbers = {image: image if isinstance(image, int) else _number(str(image)) for image in ids}
    if unnumbered := [image for image, number in numbers.items() if number is None]:
        raise ValueError(f"the image {unnumbered[0]!r} has no number, by which its frame could be known")
    found = [number for number in numbers.values() if number is not None]
    first = 0 if 0 in found else 1
    return {image: number - first for image, number in numbers.items() if number is not None}


def _number(name: str) -> int | None:
    """Return the last number in a file name, without its ending."""
    digits = re.findall(r"\d+", re.sub(r"\.\w+$", "", name.rsplit("/", 1)[-1]))
    return int(digits[-1]) if digits else None


__all__ = ["Floats", "rows_of_json"]
