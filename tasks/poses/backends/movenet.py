"""MoveNet MultiPose through OpenVINO, which reads the .tflite file as it is.

Input: uint8 [1, H, W, 3] RGB, H and W multiples of 32. Output: [1, 6, 56], for each of at most six people 17 x (y, x,
score) and then ymin, xmin, ymax, xmax, score, all relative to the input.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.choices import Precision
from tasks.core.errors import FightposeError
from tasks.core.records import FloatArray
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.poses.backends.compiled_models import CompiledModels
from tasks.poses.backends.letterbox import letterbox, letterbox_size
from tasks.poses.backends.openvino_cpu import Requests, last_line
from tasks.poses.detections import Detections
from tasks.video.reading import Image

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
    precision
        fp32 or bf16; int8 for a file that was quantised.

    Raises
    ------
    FightposeError
        If the file cannot be read or is no MoveNet, or the processor lacks the precision.
    """

    batch_size = 8
    """Frames handed over at once: enough to keep every inference stream busy, and to look ahead within."""

    sure_score = 0.35
    """Who scores this much is found again in an enlarged crop nearly always: it would be wasted."""

    tile_side = 160
    """MoveNet sees people best who are 80 to 150 pixels tall in its input, whatever the frame's size."""

    crop_side = 128
    """A person who fills a crop is found as well at 128 pixels as at 192, for less than half the cost."""

    def __init__(self, path: Path, long_side: int, precision: Precision = Precision.FP32) -> None:
        # Imported here: OpenVINO costs a noticeable part of a second, and `fightpose --help` needs none of it.
        import openvino

        self._path = path
        self.long_side = long_side
        self._core = openvino.Core()
        self._requests: dict[tuple[int, int], Requests] = {}
        self._compiled = CompiledModels(self._core, path, precision)
        self._read: Any = None
        # A wrong file is refused here and not at the first frame. Reading the right one takes half a second, which
        # is saved where all shapes that a run meets were compiled before.
        if not self._compiled.known:
            self._source()

    def cost(self, width: int, height: int, long_side: int | None = None) -> float:
        """Return the number of input pixels: inference time grows with nothing else."""
        rows, columns, _ = letterbox_size(width, height, long_side or self.long_side, MULTIPLE)
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
        sizes = [letterbox_size(im.shape[1], im.shape[0], long_side or self.long_side, MULTIPLE) for im in images]
        found: list[Detections] = [Detections.none()] * len(images)
        # The requests of one shape at a time: those of two would compete for the same cores.
        for shape in dict.fromkeys(size[:2] for size in sizes):
            places = [place for place, size in enumerate(sizes) if size[:2] == shape]

            def fill(index: int, target: npt.NDArray[Any], places: list[int] = places) -> None:
                """Letterbox an image into a request's input, which holds an earlier image."""
                target.fill(0)
                letterbox(images[places[index]], target, sizes[places[index]][2])

            for place, (output,) in zip(places, self._of_shape(*shape).run(len(places), fill), strict=True):
                scale = sizes[place][2]
                found[place] = decode_people(output, shape[0] / scale, shape[1] / scale)
        return found

    def _of_shape(self, rows: int, columns: int) -> Requests:
        """Return the requests for an input shape, compiling the model for it the first time."""
        shape = (rows, columns)
        if shape not in self._requests:
            while len(self._requests) >= MAX_SHAPES:
                # Dicts keep the order of insertion: the shape compiled first goes first.
                self._requests.pop(next(iter(self._requests)))
            compiled = self._compiled.get(f"{rows}x{columns}", lambda: self._of_size(rows, columns))
            self._requests[shape] = Requests(compiled, [0])
        return self._requests[shape]

    def _source(self) -> Any:
        """Return OpenVINO's model of the file, read once for all shapes.

        Raises
        ------
        FightposeError
            If the file cannot be read or is no MoveNet.
        """
        if self._read is None:
            try:
                model = self._core.read_model(self._path)
            except RuntimeError as error:
                raise FightposeError(f"{self._path} cannot be read as a model: {last_line(error)}") from error
            if model.inputs[0].get_partial_shape().rank.get_length() != 4 or len(model.outputs) != 1:
                raise FightposeError(f"{self._path} is not a MoveNet MultiPose model; see `fightpose models list`")
            self._read = model
        return self._read

    def _of_size(self, rows: int, columns: int) -> Any:
        """Return OpenVINO's model for one input size; a clone shares the weights with the file's."""
        model = self._source().clone()
        model.reshape([1, rows, columns, 3])
        return self._taking_bgr(model)

    def calibration_inputs(self, network: Any, frames: Sequence[Image]) -> list[npt.NDArray[Any]]:
        """Open OpenVINO's network for all sizes, and return what frames become: [1, H, W, 3] uint8 RGB each."""
        network.reshape([1, -1, -1, 3])
        inputs = []
        for frame in frames:
            # All sizes that are looked at: whole frames, tiles and crops.
            for side in (self.long_side, self.tile_side, self.crop_side):
                rows, columns, scale = letterbox_size(frame.shape[1], frame.shape[0], side, MULTIPLE)
                target = np.zeros((rows, columns, 3), np.uint8)
                letterbox(frame, target, scale)
                inputs.append(np.ascontiguousarray(target[None, ..., ::-1]))
        return inputs

    def _taking_bgr(self, model: Any) -> Any:
        """Return the model with the change of colour order inside its graph: no pass over the pixels here."""
        from openvino import Layout
        from openvino.preprocess import ColorFormat, PrePostProcessor

        steps = PrePostProcessor(model)
        steps.input().tensor().set_layout(Layout("NHWC")).set_color_format(ColorFormat.BGR)
        steps.input().preprocess().convert_color(ColorFormat.RGB)
        steps.input().model().set_layout(Layout("NHWC"))
        return steps.build()


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
    # The network gives y before x, of boxes as of joints.
    bbox = np.concatenate([box[:, [1, 0]] * size, box[:, [3, 2]] * size], axis=1)
    return Detections(bbox, box[:, 4], joints[..., 1::-1] * size, joints[..., 2])
