"""CVAT's XML for videos with one skeleton track for each person, and the label definition that goes with it.

Source of the format: CVAT's documentation of `CVAT for video 1.1`, and what its reader (`load_anno`) takes: a `track`
holds a `skeleton` for each frame, that one `points` element for each joint, with `outside`, `occluded` and `keyframe`.
A joint that is missing is outside at its last place, because a point without a place cannot be read. Joints that score
low are marked as occluded.

CVAT takes no label definitions from this file: create the task with `cvat_labels.json` (label constructor, "Raw"), add
the clip, then upload the XML as annotations.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from tasks.annotations.convert.coco import VISIBLE
from tasks.annotations.convert.tables import boxes_of, ids_of
from tasks.annotations.format import Annotation
from tasks.core.skeleton import KEYPOINTS
from tasks.core.storage import write_text
from tasks.core.text import field_text

LABEL = "person"
LABELS_NAME = "cvat_labels.json"
ROLES = ("unmarked", "fighter", "bystander", "unsure")
"""Values of the attribute `role`; people of a fresh export are unmarked."""

# A standing figure in the unit square of 100 in which CVAT draws a skeleton's template.
_TEMPLATE = (
    (50, 8), (53, 6), (47, 6), (56, 8), (44, 8), (62, 22), (38, 22), (68, 38), (32, 38),
    (70, 54), (30, 54), (57, 54), (43, 54), (58, 74), (42, 74), (58, 94), (42, 94),
)  # fmt: skip
_LIMBS = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip


def write_cvat(path: Path, annotation: Annotation) -> None:
    """Write the poses of one clip as tracks of skeletons."""
    write_text(path, cvat_xml(annotation))


def write_labels(folder: Path) -> Path:
    """Write the label definition that a CVAT task needs for these files, and return its path."""
    write_text(folder / LABELS_NAME, json.dumps([skeleton_label()], indent=1) + "\n")
    return folder / LABELS_NAME


def skeleton_label() -> dict[str, object]:
    """Return the definition of the label as CVAT's label constructor takes it."""
    # The nodes of the drawing are numbered from 1, and its edges refer to these numbers.
    edges = [
        f'<line x1="{_TEMPLATE[a][0]}" y1="{_TEMPLATE[a][1]}" x2="{_TEMPLATE[b][0]}" y2="{_TEMPLATE[b][1]}" '
        f'data-type="edge" data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        for a, b in _LIMBS
    ]
    nodes = [
        f'<circle r="1.5" cx="{x}" cy="{y}" data-type="element node" data-element-id="{joint + 1}" '
        f'data-node-id="{joint + 1}" data-label-name="{KEYPOINTS[joint]}"></circle>'
        for joint, (x, y) in enumerate(_TEMPLATE)
    ]
    # Least, greatest and step, which CVAT takes as text; no clip has a million tracks.
    fixed = {"mutable": False, "input_type": "number", "values": ["1", "1000000", "1"], "default_value": "1"}
    role = {"name": "role", "mutable": False, "input_type": "select", "values": list(ROLES), "default_value": ROLES[0]}
    return {
        "name": LABEL,
        "type": "skeleton",
        "attributes": [{"name": "rank", **fixed}, {"name": "track_id", **fixed}, role],
        "sublabels": [{"name": name, "type": "points", "attributes": []} for name in KEYPOINTS],
        "svg": "".join([*edges, *nodes]),
    }


def cvat_xml(annotation: Annotation) -> str:
    """Return the poses as tracks of skeletons, one for each person, with rank, track ID and role as attributes."""
    height, width = annotation["img_shape"]
    root = ElementTree.Element("annotations")
    _text(root, "version", "1.1")
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    # XML has no control characters, not even escaped.
    _text(task, "name", field_text(annotation["frame_dir"]))
    _text(task, "size", str(annotation["total_frames"]))
    _text(task, "mode", "interpolation")
    size = ElementTree.SubElement(task, "original_size")
    _text(size, "width", str(width))
    _text(size, "height", str(height))
    for person, number in enumerate(ids_of(annotation)):
        # `auto` is CVAT's word for what a program made, as against `manual`.
        track = ElementTree.SubElement(root, "track", id=str(person), label=LABEL, source="auto")
        attributes = {"rank": str(person + 1), "track_id": str(number), "role": ROLES[0]}
        _skeletons(track, annotation, person, attributes)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _skeletons(track: ElementTree.Element, annotation: Annotation, person: int, attributes: dict[str, str]) -> None:
    """Add the skeletons of one person to its track."""
    keypoints, scores = annotation["keypoint"][person], annotation["keypoint_score"][person]
    boxes = boxes_of(annotation)[person]
    present = scores.any(-1)
    # The last place of each joint, carried on from frame to frame for those that are outside.
    places = np.zeros((len(KEYPOINTS), 2), np.float32)
    for frame in range(len(present)):
        # Where a person leaves, one skeleton with every joint outside ends what CVAT would else go on showing.
        ends = not present[frame] and frame > 0 and present[frame - 1]
        if not present[frame] and not ends:
            continue
        if present[frame] and (frame == 0 or not present[frame - 1]):
            # Until a joint is seen its place is the middle of the person.
            places[:] = boxes[frame].reshape(2, 2).mean(axis=0)
        places = np.where(scores[frame][:, None] > 0, keypoints[frame], places)
        skeleton = ElementTree.SubElement(track, "skeleton", frame=str(frame), keyframe="1", z_order="0")
        _points(skeleton, places, scores[frame])
        for name, value in attributes.items():
            ElementTree.SubElement(skeleton, "attribute", name=name).text = value


def _points(skeleton: ElementTree.Element, places: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> None:
    """Add the joints of one person in one frame to a skeleton."""
    for name, (x, y), score in zip(KEYPOINTS, places.tolist(), scores.tolist(), strict=True):
        ElementTree.SubElement(
            skeleton, "points", label=name, keyframe="1", outside=str(int(score <= 0)),
            occluded=str(int(0 < score < VISIBLE)), points=f"{x:.2f},{y:.2f}",
        )  # fmt: skip


def _text(parent: ElementTree.Element, name: str, value: str) -> None:
    """Add an element that holds text."""
    ElementTree.SubElement(parent, name).text = value
