"""Top-down models: a detector finds the people of a frame, and a second network the joints of each, in a crop.

The two files are named by a small JSON file, which is what `--model` takes:

    {"detector": {"file": "yolox_nano.onnx", "kind": "yolox"}, "pose": {"file": "thunder.onnx", "kind": "movenet"}}

Paths are relative to the JSON file. What goes in and comes out, by kind:

- `yolox`: float32 [1, 3, H, W], BGR 0-255, frame in the top left corner, grey (114) beside it;
- `rtmdet`: the same, less OpenMMLab's mean and divided by its spread;
- both give either `dets` [1, N, 5] (x1, y1, x2, y2, score; OpenMMLab's files, duplicates removed) with or without
  `labels` [1, N], or YOLOX's raw grid [1, N, 5 + classes] of strides 8, 16 and 32, person the first class;
- `movenet`: [1, S, S, 3] RGB 0-255 of a square crop; gives [1, 1, 17, 3] as y, x, score, relative to the crop;
- `rtmpose`: float32 [b, 3, H, W], RGB less mean and divided by spread, of a crop of the input's shape; gives SimCC
  [b, 17, kW] and [b, 17, kH], one distribution per joint along each axis.

The score of a person is the detector's. RTMDet and RTMPose follow OpenMMLab's files as mmpose 1.3 describes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.core.errors import FightposeError
from tasks.core.records import FloatArray
from tasks.core.settings import Thresholds
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.core.storage import key_of, model_sha256
from tasks.poses.backends.letterbox import letterbox
from tasks.poses.backends.onnx_runner import Array, Runner, load_runner
from tasks.poses.detections import Detections, merge_people, suppress_duplicates
from tasks.video.reading import Image

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
SPREAD = np.array([58.395, 57.12, 57.375], np.float32)
"""ImageNet's mean and standard deviation of red, green and blue, 0-255, as OpenMMLab's configs have them."""

PAD_VALUE = 114
"""Grey level beside the frame, as in the detectors' training."""

STRIDES = (8, 16, 32)
"""Cell sizes of YOLOX's three grids, input pixels."""

LEAST_SCORE = 0.08
"""Boxes that score less are not looked at: each costs a run of the pose network."""

SAME_BOX = 0.65
"""IoU above which two boxes of the detector are one person, as in YOLOX's evaluation."""

MOST_PEOPLE = 30
"""People per frame whose joints are looked for, the best first: bounds the cost of a crowd."""

CROP_SCALE = 1.25
"""Side of a crop as a multiple of the person's box, as RTMPose was trained."""

LEAST_SIDE = 12
"""Smallest side, pixels, that a person's box is taken to have when its crop is cut."""


class DetectorKind(StrEnum):
    """Detectors whose input is known."""

    YOLOX = "yolox"
    RTMDET = "rtmdet"


class PoseKind(StrEnum):
    """Single-person pose networks whose input and output are known."""

    MOVENET = "movenet"
    RTMPOSE = "rtmpose"


class _Part(BaseModel):
    """A group of the JSON file: immutable, and a misspelt name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DetectorFile(_Part):
    """The detector: its file, and what it is."""

    file: str
    kind: DetectorKind


class PoseFile(_Part):
    """The pose network: its file, and what it is."""

    file: str
    kind: PoseKind


class TopDownFiles(_Part):
    """What the JSON file says.

    Attributes
    ----------
    detector, pose
        The two networks.
    thresholds
        Score thresholds that fit the detector's scores.
    """

    detector: DetectorFile
    pose: PoseFile
    thresholds: Thresholds = Thresholds(
        score_thr=0.08,
        nms_thr=0.65,
        track_high_thresh=0.15,
        track_low_thresh=0.08,
        track_still_thresh=0.3,
        quality_threshold=0.1,
    )


def read_top_down(path: Path) -> TopDownFiles:
    """Read the JSON file of a top-down model.

    Raises
    ------
    FightposeError
        If it is not such a file, or one of the two files is not there.
    """
    try:
        files = TopDownFiles.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FightposeError(f"{path} does not describe a top-down model: {where}: {first['msg']}") from error
    for part in (files.detector, files.pose):
        if not (path.parent / part.file).is_file():
            raise FightposeError(f"{path.parent / part.file}, named in {path.name}, does not exist; correct the path")
    return files


def hash_of_top_down(path: Path) -> str:
    """Return one key for the JSON file and both files that it names."""
    files = read_top_down(path)
    return key_of(
        [model_sha256(file) for file in (path, path.parent / files.detector.file, path.parent / files.pose.file)]
    )


class TopDown:
    """A detector and a single-person pose network, as one pose model.

    Parameters
    ----------
    path
        The JSON file.
    device
        `cpu` (OpenVINO) or `cuda:N` (ONNX Runtime).

    Raises
    ------
    FightposeError
        If a file cannot be read or is not of the stated kind, or the device is not there.
    """

    batch_size = 8
    """Frames handed over at once: enough to keep every inference stream busy."""

    def __init__(self, path: Path, device: str) -> None:
        files = read_top_down(path)
        self._detector = _Detector(path.parent / files.detector.file, files.detector.kind, device)
        pose = _MoveNetCrops if files.pose.kind is PoseKind.MOVENET else _RtmPoseCrops
        self._pose = pose(path.parent / files.pose.file, device)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the people in images.

        Parameters
        ----------
        images
            (H, W, 3) uint8 BGR, of any sizes.

        Returns
        -------
        Per image its people in pixels of the image, at most `MOST_PEOPLE`; not yet thresholded.
        """
        boxes = self._detector.find(images)
        # The crops of all frames in one go, so that they share the batches.
        people = [(frame, box) for frame, found in enumerate(boxes) for box in found[:, :4]]
        joints = self._pose.find([images[frame] for frame, _ in people], [box for _, box in people])
        # The joints of all frames come in one list: this says which frame a row is of.
        owner = np.array([frame for frame, _ in people], np.intp)
        found = [
            Detections(box[:, :4], box[:, 4], joints[owner == frame, :, :2], joints[owner == frame, :, 2])
            for frame, box in enumerate(boxes)
        ]
        # Two boxes on one person, the whole and its upper half, have the same joints.
        return [merge_people(people, LEAST_SCORE, SAME_BOX) for people in found]


class _Detector:
    """The person detector of a top-down model."""

    def __init__(self, path: Path, kind: DetectorKind, device: str) -> None:
        self._runner = load_runner(path, device)
        self._normalised = kind is DetectorKind.RTMDET
        shape = self._runner.input_shape
        if len(shape) != 4 or shape[1] != 3 or not shape[2] or not shape[3]:
            raise FightposeError(
                f"{path} is not a detector of the kind {kind.value}: it takes {shape}, expected [1, 3, H, W]"
            )
        self._height, self._width = shape[2], shape[3]
        self._cells = _grid_cells(self._height, self._width)
        self._path = path

    def find(self, images: Sequence[Image]) -> list[FloatArray]:
        """Return per image (N, 5) boxes and scores, x1, y1, x2, y2, score in its pixels, best first."""
        blobs, scales = [], []
        for image in images:
            scale = min(self._width / image.shape[1], self._height / image.shape[0])
            padded = np.full((self._height, self._width, 3), PAD_VALUE, np.uint8)
            letterbox(image, padded, scale)
            blob = padded.astype(np.float32)
            if self._normalised:
                # Reversed: the image is BGR, the constants are RGB.
                blob = (blob - MEAN[::-1]) / SPREAD[::-1]
            blobs.append(np.ascontiguousarray(blob.transpose(2, 0, 1)))
            scales.append(scale)
        return [self._decode(output, scale) for output, scale in zip(self._runner.run(blobs), scales, strict=True)]

    def _decode(self, output: list[Array], scale: float) -> FloatArray:
        """Return the boxes of one image in pixels of the frame."""
        rows = self._rows(output)
        found = Detections(
            rows[:, :4] / np.float32(scale), rows[:, 4], np.zeros((len(rows), NUM_KEYPOINTS, 2), np.float32),
            np.zeros((len(rows), NUM_KEYPOINTS), np.float32),
        )  # fmt: skip
        found = found.select(np.isfinite(found.bbox).all(axis=1) & np.isfinite(found.score))
        best = suppress_duplicates(found, LEAST_SCORE, SAME_BOX)
        return np.concatenate([best.bbox, best.score[:, None]], axis=1)[:MOST_PEOPLE]

    def _rows(self, output: list[Array]) -> FloatArray:
        """Return (N, 5) boxes and scores in pixels of the input, from either form of output."""
        for array in output:
            if array.ndim == 2 and array.shape[1] == 5:
                labels = [other for other in output if other.ndim == 1 and len(other) == len(array)]
                # Class 0 is person, as in COCO; a file without labels finds people only.
                person = labels[0] == 0 if labels else np.ones(len(array), bool)
                return np.asarray(array[person], np.float32)
            if array.ndim == 2 and array.shape[1] > 5 and len(array) == len(self._cells):
                # YOLOX's decoding: offsets from the cell in strides, sizes as logarithms of strides.
                centre = (array[:, :2] + self._cells[:, :2]) * self._cells[:, 2:]
                # Beyond e^9 input pixels the value is none, and the exponential would overflow.
                half = np.exp(np.minimum(array[:, 2:4], 9)) * self._cells[:, 2:] / 2
                # Objectness times the probability of the first class.
                score = array[:, 4] * array[:, 5]
                return np.concatenate([centre - half, centre + half, score[:, None]], axis=1).astype(np.float32)
        shapes = " and ".join(str(list(array.shape)) for array in output)
        raise FightposeError(
            f"{self._path} is not a detector: it gives {shapes} for an image, expected dets [N, 5] or YOLOX's grid "
            f"[{len(self._cells)}, 5 + classes]"
        )


def _grid_cells(height: int, width: int) -> FloatArray:
    """Return column, row and stride of every cell of YOLOX's grids, (N, 3), in the order of its output."""
    cells = [
        (column, row, stride)
        for stride in STRIDES
        for row in range(height // stride)
        for column in range(width // stride)
    ]
    return np.array(cells, np.float32).reshape(-1, 3)


class _MoveNetCrops:
    """MoveNet SinglePose (Lightning or Thunder) on square crops."""

    def __init__(self, path: Path, device: str) -> None:
        self._runner = load_runner(path, device)
        shape = self._runner.input_shape
        if len(shape) != 4 or shape[3] != 3 or not shape[1] or shape[1] != shape[2]:
            raise FightposeError(f"{path} is not a MoveNet single-pose model: it takes {shape}, expected [1, S, S, 3]")
        self._side = shape[1]
        self._path = path

    def find(self, images: Sequence[Image], boxes: Sequence[FloatArray]) -> FloatArray:
        """Return (N, 17, 3) joints as x, y, score in pixels of the frame, one row per image and box."""
        places = [crop_of(box, 1.0) for box in boxes]
        blobs = []
        for image, (centre, size) in zip(images, places, strict=True):
            crop = warp(image, centre, size, (self._side, self._side))
            blobs.append(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).astype(self._runner.input_type))
        joints = np.zeros((len(places), NUM_KEYPOINTS, 3), np.float32)
        for row, (output, (centre, size)) in enumerate(zip(self._runner.run(blobs), places, strict=True)):
            if output[0].shape != (1, NUM_KEYPOINTS, 3):
                raise FightposeError(f"{self._path} is not a MoveNet single-pose model: it gives {output[0].shape}")
            # From shares of the crop to pixels around its centre; y comes before x.
            joints[row, :, :2] = (output[0][0, :, 1::-1] - 0.5) * size + centre
            joints[row, :, 2] = output[0][0, :, 2]
        return joints


class _RtmPoseCrops:
    """RTMPose on crops of its input's shape."""

    def __init__(self, path: Path, device: str) -> None:
        self._runner: Runner = load_runner(path, device)
        shape = self._runner.input_shape
        if len(shape) != 4 or shape[1] != 3 or not shape[2] or not shape[3]:
            raise FightposeError(f"{path} is not RTMPose: it takes {shape}, expected [b, 3, H, W]")
        self._height, self._width = shape[2], shape[3]
        self._path = path

    def find(self, images: Sequence[Image], boxes: Sequence[FloatArray]) -> FloatArray:
        """Return (N, 17, 3) joints as x, y, score in pixels of the frame, one row per image and box."""
        places = [crop_of(box, self._width / self._height) for box in boxes]
        blobs = []
        for image, (centre, size) in zip(images, places, strict=True):
            crop = warp(image, centre, size, (self._width, self._height))
            blob = (crop[..., ::-1].astype(np.float32) - MEAN) / SPREAD
            blobs.append(np.ascontiguousarray(blob.transpose(2, 0, 1)))
        joints = np.zeros((len(places), NUM_KEYPOINTS, 3), np.float32)
        for row, (output, (centre, size)) in enumerate(zip(self._runner.run(blobs), places, strict=True)):
            across, down = self._axes(output)
            # SimCC: the bin with the highest value is the place along an axis, as a share of the crop.
            at = np.stack([across.argmax(1) / across.shape[1], down.argmax(1) / down.shape[1]], axis=1)
            joints[row, :, :2] = (at - 0.5) * size + centre
            joints[row, :, 2] = np.minimum(across.max(1), down.max(1))
        return joints

    def _axes(self, output: list[Array]) -> tuple[Array, Array]:
        """Return the distributions along x and y, told by their lengths."""
        if len(output) == 2 and all(array.ndim == 2 and len(array) == NUM_KEYPOINTS for array in output):
            for across, down in (output, output[::-1]):
                # Both axes have the same number of bins per input pixel; x comes first where the input is square.
                if across.shape[1] * self._height == down.shape[1] * self._width:
                    return across, down
        shapes = " and ".join(str(list(array.shape)) for array in output)
        raise FightposeError(f"{self._path} is not RTMPose: it gives {shapes}, expected SimCC [17, kW] and [17, kH]")


def crop_of(box: npt.NDArray[np.floating], aspect: float) -> tuple[FloatArray, FloatArray]:
    """Return centre and (width, height) of the crop around a person's box, pixels; width = aspect x height."""
    size = np.maximum(box[2:4] - box[:2], LEAST_SIDE) * CROP_SCALE
    # The crop grows to the input's shape: nothing of the person is cut off or stretched.
    height = max(float(size[1]), float(size[0]) / aspect)
    centre = np.asarray((box[:2] + box[2:4]) / 2, np.float32)
    return centre, np.array([height * aspect, height], np.float32)


def warp(image: Image, centre: FloatArray, size: FloatArray, target: tuple[int, int]) -> Image:
    """Return a crop scaled to a (width, height), black where it leaves the frame."""
    scale = np.array(target, np.float32) / size
    offset = np.array(target, np.float32) / 2 - scale * centre
    matrix = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]], np.float64)
    return np.asarray(cv2.warpAffine(image, matrix, target, flags=cv2.INTER_LINEAR), np.uint8)
