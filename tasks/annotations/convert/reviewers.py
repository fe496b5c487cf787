"""What review and labelling tools load: COCO keypoints JSON and CVAT video XML.

Sources of the formats: the COCO data format page ("keypoint detection") and CVAT's documentation of its
`CVAT for video 1.1` format.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from tasks.annotations.convert.tables import boxes_of, ids_of
from tasks.annotations.format import Annotation
from tasks.clips.failures import escaped
from tasks.core.records import COCO_KEYPOINTS, NUM_KEYPOINTS

# Pairs of joints to be joined, counted from 1, as in COCO's own annotation files.
_SKELETON = [
    [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9],
    [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
]  # fmt: skip


def coco_json(annotation: Annotation) -> str:
    """Return the poses as COCO keypoints: an image for each frame, `<identifier>/<frame from 0, six digits>.jpg`.

    Joints are "visible" (2) or "not labelled" (0): a pose model does not tell hidden ones. Beside COCO's keys stand
    `track_id`, `rank` and `score`, the mean score of the visible joints.
    """
    height, width = annotation["img_shape"]
    images = [
        {"id": frame + 1, "file_name": f"{annotation['frame_dir']}/{frame:06d}.jpg", "width": width, "height": height}
        for frame in range(annotation["total_frames"])
    ]
    frames, people = np.nonzero(annotation["keypoint_score"].any(-1).T)
    boxes, ids = boxes_of(annotation), ids_of(annotation)
    items: list[dict[str, Any]] = []
    for frame, person in zip(frames.tolist(), people.tolist(), strict=True):
        x1, y1, x2, y2 = boxes[person, frame].round(2).tolist()
        items.append(
            {
                "id": len(items) + 1,
                "image_id": frame + 1,
                "category_id": 1,
                "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                "area": round((x2 - x1) * (y2 - y1), 2),
                "iscrowd": 0,
                **_coco_joints(annotation["keypoint"][person, frame], annotation["keypoint_score"][person, frame]),
                "track_id": ids[person],
                "rank": person + 1,
            }
        )
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO_KEYPOINTS),
        "skeleton": _SKELETON,
    }
    # ASCII only: names may hold bytes that are no UTF-8.
    return json.dumps({"images": images, "annotations": items, "categories": [category]}) + "\n"


def cvat_xml(annotation: Annotation) -> str:
    """Return the boxes as tracks in CVAT's XML for videos, one track for each person, with rank and track ID.

    A track that pauses is marked as outside from the first frame without the person on.
    """
    height, width = annotation["img_shape"]
    root = ElementTree.Element("annotations")
    _text(root, "version", "1.1")
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    # XML knows no control characters, not even escaped.
    _text(task, "name", escaped(annotation["frame_dir"]))
    _text(task, "size", str(annotation["total_frames"]))
    _text(task, "mode", "interpolation")
    size = ElementTree.SubElement(task, "original_size")
    _text(size, "width", str(width))
    _text(size, "height", str(height))
    for person, number in enumerate(ids_of(annotation)):
        track = ElementTree.SubElement(root, "track", id=str(person), label="person", source="auto")
        _cvat_boxes(track, boxes_of(annotation)[person], person + 1, number)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _coco_joints(keypoints: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the joints of one person in one frame as COCO's flat list, their number and mean score."""
    visible = np.asarray(scores > 0)
    flat = np.zeros((NUM_KEYPOINTS, 3))
    flat[:, :2] = keypoints.round(2)
    flat[:, 2] = 2 * visible
    return {
        "keypoints": [round(value, 2) for value in flat.ravel().tolist()],
        "num_keypoints": int(visible.sum()),
        "score": round(float(scores[visible].mean()), 4),
    }


def _cvat_boxes(track: ElementTree.Element, boxes: npt.NDArray[np.float32], rank: int, number: int) -> None:
    """Add the boxes of one person, (T, 4), to its track."""
    present = np.asarray(boxes.any(-1))
    for frame in range(len(boxes)):
        # A frame without the person is stated once, with its last box, where it begins.
        ends = not present[frame] and frame > 0 and present[frame - 1]
        if not present[frame] and not ends:
            continue
        x1, y1, x2, y2 = (f"{value:.2f}" for value in boxes[frame - 1 if ends else frame].tolist())
        box = ElementTree.SubElement(
            track, "box", frame=str(frame), outside=str(int(ends)), occluded="0", keyframe="1",
            xtl=x1, ytl=y1, xbr=x2, ybr=y2, z_order="0",
        )  # fmt: skip
        for name, value in (("rank", rank), ("track_id", number)):
            attribute = ElementTree.SubElement(box, "attribute", name=name)
            attribute.text = str(value)


def _text(parent: ElementTree.Element, name: str, value: str) -> None:
    """Add an element that holds text."""
    ElementTree.SubElement(parent, name).text = value
