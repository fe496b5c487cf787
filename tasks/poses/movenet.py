"""MoveNet MultiPose through OpenVINO, which reads the .tflite file as it is.

Input: uint8 [1, H, W, 3] RGB, H and W multiples of 32. Output: [1, 6, 56], for each of at most six people 17 x (y, x,
score) and then ymin, xmin, ymax, xmax, score, all relative to the input.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.errors import FightposeError
from tasks.poses.detections import Detections
from tasks.poses.letterbox import letterbox, letterbox_size
from tasks.records import NUM_KEYPOINTS, FloatArray
from tasks.video import Image

MULTIPLE = 32
"""The network's input sides are multiples of this."""

MAX_SHAPES = 8
"""Compiled input shapes kept per process: whole frames, tiles and crops of a few cameras; each costs memory."""


class MoveNet:
    """MoveNet MultiPose on the CPU.

    Parameters
    ----------
    path
        The .tflite file.
    long_side
        Length to which the longer side of a frame is scaled, pixels.
    """

    batch_size = 8
    """Frames handed over at once: enough to keep every inference stream busy, and to look ahead within."""

    sure_score = 0.35
    """Who scores this much is found again in an enlarged crop nearly always: it would be wasted."""

    tile_side = 160
    """MoveNet sees people best who are 80 to 150 pixels tall in its input, whatever the frame's size."""

    crop_side = 128
    """A person who fills a crop is found as well at 128 pixels as at 192, for less than half the cost."""

    def __init__(self, path: Path, long_side: int) -> None:
        # Imported here: OpenVINO costs a noticeable part of a second, and `fightpose --help` needs none of it.
        import openvino

        self._openvino = openvino
        self._path = path
        self._long_side = long_side
        self._core = openvino.Core()
        self._queues: dict[tuple[int, int], Any] = {}
        try:
            model = self._core.read_model(path)
        except RuntimeError as error:
            raise FightposeError(f"{path} cannot be read as a model: {str(error).splitlines()[-1]}") from error
        if model.inputs[0].get_partial_shape().rank.get_length() != 4 or len(model.outputs) != 1:
            raise FightposeError(f"{path} is not a MoveNet MultiPose model; see `fightpose models list`")

    def cost(self, width: int, height: int, long_side: int | None = None) -> float:
        """Return the number of input pixels: inference time grows with nothing else."""
        rows, columns, _ = letterbox_size(width, height, long_side or self._long_side, MULTIPLE)
        return float(rows * columns)

    def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
        """Find the people in images.

        Parameters
        ----------
        images
            (H, W, 3) uint8 BGR, of any sizes.
        long_side
            Length to which the longer side of each image is scaled, pixels; None for the model's own.

        Returns
        -------
        Per image its people, at most six, in pixels of the image; not yet thresholded.
        """
        sizes = [letterbox_size(im.shape[1], im.shape[0], long_side or self._long_side, MULTIPLE) for im in images]
        found: list[Detections] = [Detections.none()] * len(images)
        # One queue at a time: two would compete for the same cores.
        for shape in dict.fromkeys(size[:2] for size in sizes):
            queue = self._queue(*shape)

            def keep(request: Any, index: int) -> None:
                """Copy the output out of the request, whose memory the next image reuses."""
                rows, columns, scale = sizes[index]
                output = np.array(request.get_output_tensor().data[0], np.float32)
                found[index] = decode_people(output, rows / scale, columns / scale)

            queue.set_callback(keep)
            for index, image in enumerate(images):
                if sizes[index][:2] == shape:
                    padded = np.zeros((1, *shape, 3), np.uint8)
                    letterbox(image, padded[0], sizes[index][2])
                    cv2.cvtColor(padded[0], cv2.COLOR_BGR2RGB, dst=padded[0])
                    queue.start_async({0: padded}, index)
            queue.wait_all()
        return found

    def _queue(self, rows: int, columns: int) -> Any:
        """Return the request queue for an input shape, compiling the model for it the first time."""
        shape = (rows, columns)
        if shape not in self._queues:
            while len(self._queues) >= MAX_SHAPES:
                self._queues.pop(next(iter(self._queues)))
            model = self._core.read_model(self._path)
            model.reshape([1, rows, columns, 3])
            # f32 on every machine: the same people wherever the clip is annotated. Throughput mode runs several
            # requests at once, which uses all cores better than several threads on one frame.
            compiled = self._core.compile_model(
                model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
            )
            self._queues[shape] = self._openvino.AsyncInferQueue(compiled)
        return self._queues[shape]


def decode_people(output: FloatArray, height: float, width: float) -> Detections:
    """Turn the network's answer for one frame into pixels.

    Parameters
    ----------
    output
        (6, 56) as the module's head describes.
    height, width
        Size in frame pixels of what the whole input covers, padding included.
    """
    joints = output[:, : 3 * NUM_KEYPOINTS].reshape(-1, NUM_KEYPOINTS, 3)
    box = output[:, 3 * NUM_KEYPOINTS :]
    size = np.array([width, height], np.float32)
    bbox = np.concatenate([box[:, [1, 0]] * size, box[:, [3, 2]] * size], axis=1)
    return Detections(bbox, box[:, 4], joints[..., 1::-1] * size, joints[..., 2])
