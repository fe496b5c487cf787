"""COCO keypoints JSON, which annotation tools, FiftyOne and pycocotools load.

Source of the format: the COCO data format page ("keypoint detection"), and what its readers insist on beyond it:
pycocotools copies `info` and `licenses` in `loadRes`, readers of YOLOX and torchvision want visibility as whole
numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.convert.tables import boxes_of, ids_of
from tasks.annotations.format import Annotation
from tasks.core.skeleton import KEYPOINTS, LINKS
from tasks.core.storage import write_text

VISIBLE = 0.3
"""Score from which on a joint counts as visible (2); below it is labelled, but hidden (1). A pose model scores what it
cannot see low, but does not say that it is hidden."""


def write_coco(path: Path, annotation: Annotation) -> None:
    """Write the poses of one clip as COCO keypoints."""
    write_text(path, coco_json(annotation))


def frame_name(annotation: Annotation, frame: int) -> str:
    """Return the name of a frame's image, relative to the folder of the export."""
    return f"{annotation['frame_dir']}/{frame:06d}.jpg"


def coco_json(annotation: Annotation) -> str:
    """Return the poses as COCO keypoints: an image for each frame, `<identifier>/<frame from 0, six digits>.jpg`.

    Beside COCO's keys there are `track_id`, `rank`, `score` (the mean of the joints that are there, by which
    evaluations order people) and `keypoint_scores`, one for each joint.
    """
    height, width = annotation["img_shape"]
    images = [
        {"id": frame + 1, "file_name": frame_name(annotation, frame), "width": width, "height": height, "license": 1}
        for frame in range(annotation["total_frames"])
    ]
    # Transposed, so that items come in the order of the frames; one joint is enough for a person to be there.
    frames, people = np.nonzero(annotation["keypoint_score"].any(-1).T)
    boxes, ids = boxes_of(annotation), ids_of(annotation)
    items: list[dict[str, Any]] = []
    for frame, person in zip(frames.tolist(), people.tolist(), strict=True):
        x1, y1, x2, y2 = boxes[person, frame].round(2).tolist()
        items.append(
            {
                # COCO's numbers start at 1: its evaluation takes 0 for "no match".
                "id": len(items) + 1,
                "image_id": frame + 1,
                "category_id": 1,
                # x and y of the corner, width, height.
                "bbox": [round(number, 2) for number in (x1, y1, x2 - x1, y2 - y1)],
                "area": round((x2 - x1) * (y2 - y1), 2),
                "iscrowd": 0,
                # Nothing is outlined, but readers of the format (datumaro) pass over people without the key.
                "segmentation": [],
                **_joints(annotation["keypoint"][person, frame], annotation["keypoint_score"][person, frame]),
                "track_id": ids[person],
                "rank": person + 1,
            }
        )
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(KEYPOINTS),
        # Joints are numbered from 1 here, as in COCO's own file.
        "skeleton": [[first + 1, second + 1] for first, second in LINKS],
    }
    value = {
        "info": {
            "description": f"fightpose, {annotation['frame_dir']}",
            "version": "1.0",
            # Readers expect these keys to be there; nothing is known of the clip's origin.
            "year": 0,
            "contributor": "",
            "url": "",
            "date_created": "",
        },
        "licenses": [{"id": 1, "name": "unknown: that of the clip", "url": ""}],
        "images": images,
        "annotations": items,
        "categories": [category],
    }
    # ASCII only: names may hold bytes that are not UTF-8.
    return json.dumps(value) + "\n"


def _joints(keypoints: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the joints of one person in one frame as COCO's flat list, their number and scores."""
    there = scores > 0
    visibility = np.where(scores >= VISIBLE, 2, np.where(there, 1, 0)).tolist()
    flat: list[float | int] = []
    for (x, y), seen in zip(keypoints.round(2).tolist(), visibility, strict=True):
        # Whole numbers for visibility: readers compare them, and some convert the text.
        flat += [round(x, 2), round(y, 2), seen]
    return {
        "keypoints": flat,
        # COCO counts hidden joints, too, and evaluations ignore people who have none.
        "num_keypoints": int(there.sum()),
        "score": round(float(scores[there].mean()), 4),
        "keypoint_scores": [round(score, 4) for score in scores.tolist()],
    }
