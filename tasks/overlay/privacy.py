"""Pictures without faces: heads made unrecognisable, or no picture at all.

A pose model does not find everybody, and a face that was missed once is a face that was shown. So `heads` does not look
for heads to cover: it leaves sharp only what is known not to be one, the bodies of tracked people from the shoulders
down, and takes the heads of everybody (as joints and boxes tell, in the frames around a gap as well) out of that again.
All the rest of the picture is coarse.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tasks.core.choices import Privacy
from tasks.core.records import FloatArray, Tracks
from tasks.video.reading import Image

BLOCK_SHARE = 1 / 26
"""Edge of a coarse block as a share of the frame's shorter side: heads in surveillance clips are one to four blocks."""

HOLD_SECONDS = 0.5
"""A head is covered for so long before and after each frame in which its person has a row: detections drop out."""

HELD_GROWTH = 1.5
"""How much larger a head is taken in frames in which its person has no row."""

FACE, SHOULDERS, HIPS = slice(0, 5), slice(5, 7), slice(11, 13)

SEEN_JOINT = 0.15
"""Joints that score lower say nothing about where the head is."""

BACKGROUND = 34
"""Grey of the picture that shows skeletons alone."""


class Veil:
    """Takes out of the frames of one clip what would show who somebody is.

    Parameters
    ----------
    tracks
        All people followed through the clip.
    size
        Width and height of the frames in pixels.
    privacy
        What is taken out.
    """

    def __init__(self, tracks: Tracks, size: tuple[int, int], privacy: Privacy) -> None:
        self._privacy = privacy
        self._size = size
        poses = tracks.poses
        self._frames = poses.frame_index
        self._boxes = poses.bbox
        self._bodies = body_boxes(poses.bbox, poses.keypoints, poses.keypoint_scores)
        self._heads = head_boxes(poses.bbox, poses.keypoints, poses.keypoint_scores)
        self._hold = max(1, round(HOLD_SECONDS * poses.fps))
        self._tracks = tracks.track_id

    def over(self, frame_index: int, image: Image) -> Image:
        """Return what may be shown of a frame; the frame itself where nothing has to be taken out."""
        if self._privacy is Privacy.OFF:
            return image
        if self._privacy is Privacy.SKELETON:
            return np.full_like(image, BACKGROUND)
        keep = self.sharp(frame_index)
        coarse = coarsened(image)
        return np.where(keep[..., None], image, coarse)

    def sharp(self, frame_index: int) -> npt.NDArray[np.bool_]:
        """Return which pixels (H, W) of a frame stay sharp."""
        width, height = self._size
        keep, boxed = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
        first, last = np.searchsorted(self._frames, [frame_index, frame_index + 1]).tolist()
        for x1, y1, x2, y2 in np.round(self._bodies[first:last]).astype(int).tolist():
            # Where boxes overlap, somebody's head may be before another one's legs: counted, and only once is sharp.
            keep[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] += 1
        for x1, y1, x2, y2 in np.round(self._boxes[first:last]).astype(int).tolist():
            boxed[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] += 1
        keep[boxed > 1] = 0
        for x1, y1, x2, y2 in np.round(self._heads_near(frame_index)).astype(int).tolist():
            keep[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 0
        return keep.astype(bool)

    def _heads_near(self, frame_index: int) -> FloatArray:
        """Return the heads of a frame, and those of people who have a row shortly before or after it, larger."""
        start, end = np.searchsorted(self._frames, [frame_index - self._hold, frame_index + self._hold + 1]).tolist()
        heads = self._heads[start:end]
        away = self._frames[start:end] != frame_index
        here = self._tracks[start:end][~away]
        # Where a person is in the frame itself, other frames say nothing better.
        wanted = ~away | ~np.isin(self._tracks[start:end], here)
        return grown(heads[wanted], np.where(away[wanted], HELD_GROWTH, 1.0).astype(np.float32))


def head_boxes(bbox: FloatArray, keypoints: FloatArray, scores: FloatArray) -> FloatArray:
    """Return where heads are, generously, (N, 4) x1, y1, x2, y2 in pixels.

    A head lies around the joints of the face; without them beyond the shoulders, away from the hips; without those at
    the top of the box. The top of an upright box is part of it in any case: joints err.

    Parameters
    ----------
    bbox
        (N, 4) pixels.
    keypoints, scores
        (N, 17, 2) pixels and (N, 17), COCO order.
    """
    width, height = (bbox[:, 2:] - bbox[:, :2]).T
    # A head is a seventh of a body; by the longer side of the box, since people lie too.
    reach = np.maximum(0.14 * np.maximum(width, height), 4.0)
    top = np.stack([(bbox[:, 0] + bbox[:, 2]) / 2, bbox[:, 1] + 0.1 * height], axis=1)
    face, face_known = _mean_of(keypoints[:, FACE], scores[:, FACE])
    neck, neck_known = _mean_of(keypoints[:, SHOULDERS], scores[:, SHOULDERS])
    hips, hips_known = _mean_of(keypoints[:, HIPS], scores[:, HIPS])
    # The middle of a head is about 0.4 of the trunk's length beyond the shoulders.
    beyond = neck + 0.4 * (neck - hips)
    centre = np.where((neck_known & hips_known)[:, None], beyond, top)
    centre = np.where(face_known[:, None], face, centre)
    boxes = np.concatenate([centre - reach[:, None], centre + reach[:, None]], axis=1)
    # The whole upper fifth of a box that is higher than wide.
    upright = height >= width
    cap = np.stack([bbox[:, 0], bbox[:, 1] - 0.05 * height, bbox[:, 2], bbox[:, 1] + 0.2 * height], axis=1)
    joined = np.concatenate([np.minimum(boxes[:, :2], cap[:, :2]), np.maximum(boxes[:, 2:], cap[:, 2:])], axis=1)
    return np.where(upright[:, None], joined, boxes).astype(np.float32)


def body_boxes(bbox: FloatArray, keypoints: FloatArray, scores: FloatArray) -> FloatArray:
    """Return the part of each upright box that lies below the waist, (N, 4); of no size for all others.

    Above it people close together have their heads in one another's boxes.
    """
    hips, known = _mean_of(keypoints[:, HIPS], scores[:, HIPS])
    boxes = bbox.copy()
    width, height = (bbox[:, 2:] - bbox[:, :2]).T
    # Of somebody who lies or bends the head may be anywhere in the box: nothing of it is sharp.
    upright = known & (height > 1.3 * width)
    # Never above the middle of the box, whatever the hips say; all others get a box of no height.
    boxes[:, 1] = np.where(upright, np.maximum(hips[:, 1], bbox[:, 1] + 0.5 * height), bbox[:, 3])
    return boxes


def coarsened(image: Image) -> Image:
    """Return a picture in coarse blocks."""
    height, width = image.shape[:2]
    # At least 8 pixels: in small pictures the share alone would leave faces as they are.
    block = max(8, round(min(width, height) * BLOCK_SHARE))
    # The mean of each block, so that no pixel of the picture is kept.
    small = cv2.resize(image, (max(1, width // block), max(1, height // block)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def grown(boxes: FloatArray, factor: FloatArray) -> FloatArray:
    """Return boxes (N, 4) grown around their middles by a factor each."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor[:, None]
    return np.concatenate([middle - half, middle + half], axis=1)


def _mean_of(points: FloatArray, scores: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return the mean of the joints that were seen, (N, 2), and whether any was."""
    seen = scores >= SEEN_JOINT
    # At least 1, so that nothing is divided by 0; `known` tells these rows apart.
    count = np.maximum(seen.sum(axis=1), 1)[:, None]
    known = np.asarray(seen.any(axis=1), np.bool_)
    return (points * seen[..., None]).sum(axis=1) / count, known
