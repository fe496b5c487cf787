"""RTMO from an .onnx file, through OpenVINO on the CPU or ONNX Runtime on a GPU.

Input: float32 [1, 3, H, W] BGR 0-255 (RTMO-t 416 x 416, the larger ones 640 x 640). Outputs: `dets` [1, N, 5] as x1,
y1, x2, y2, score and `keypoints` [1, N, 17, 3] as x, y, score, both in input pixels. That is the form of the files
that OpenMMLab publishes, and of those that `export_model` writes.

What the file itself cannot say is in a small JSON file beside it (`rtmo-s.onnx` and `rtmo-s.onnx.json`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.core.choices import InputShape, Precision
from tasks.core.errors import FightposeError
from tasks.core.settings import Thresholds
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.core.storage import file_sha256
from tasks.poses.backends.compiled_models import CompiledModels
from tasks.poses.backends.onnx_runner import open_session
from tasks.poses.backends.openvino_cpu import Requests, last_line
from tasks.poses.backends.rtmo_input import Fit, decode_people
from tasks.poses.backends.rtmo_window import NOTHING, Cut, cut_input
from tasks.poses.detections import Detections
from tasks.video.reading import Image

MAX_SHAPES = 4
"""Compiled input shapes kept per process: those of a few cameras; each costs memory."""

WANTED = "dets [1, N, 5] and keypoints [1, N, 17, 3] from one image input [1, 3, H, W]"


class Sidecar(BaseModel):
    """What the JSON file beside an .onnx file says; every field may be left out.

    Attributes
    ----------
    input_size
        (height, width) of the input, pixels; needed where the file leaves them open.
    thresholds
        Score thresholds that fit the model.
    sha256
        Hash of the .onnx file, so that a JSON file left over from another model is noticed.
    source
        Where the .onnx file came from, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: tuple[int, int] | None = None
    thresholds: Thresholds = Thresholds()
    sha256: str | None = None
    source: dict[str, str] = {}


def sidecar_path(model: Path) -> Path:
    """Return where the JSON file of an .onnx file lies: the whole name plus `.json`, so that no other JSON is meant."""
    return model.with_name(model.name + ".json")


def read_sidecar(model: Path) -> Sidecar:
    """Return what the JSON file beside a model says, or the defaults where there is none.

    Raises
    ------
    FightposeError
        If the file is not such a JSON file, or belongs to another model.
    """
    path = sidecar_path(model)
    if not path.is_file():
        return Sidecar()
    try:
        sidecar = Sidecar.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FightposeError(f"{path} cannot be used: {where}: {first['msg']}; correct it or remove it") from error
    if sidecar.sha256 is not None and sidecar.sha256 != file_sha256(model):
        raise FightposeError(f"{path} was written for another file than {model.name}; export again or remove the JSON")
    return sidecar


class Rtmo:
    """RTMO on the CPU through OpenVINO.

    Parameters
    ----------
    path
        The .onnx file.
    precision
        fp32 or bf16; int8 with a file that was quantised.
    int8
        The quantised form of the .onnx file (OpenVINO's .xml), for int8.
    shape
        Whether the whole input is worked on or, for the most part, what the frame covers.

    Attributes
    ----------
    height, width
        Size of the whole input, pixels.

    Raises
    ------
    FightposeError
        If a file cannot be read or is no RTMO, the processor lacks the precision, or the file does not allow the shape.
    """

    batch_size = 8
    """Frames handed over at once: enough to keep every inference stream busy."""

    def __init__(
        self,
        path: Path,
        precision: Precision = Precision.FP32,
        int8: Path | None = None,
        shape: InputShape = InputShape.SQUARE,
    ) -> None:
        # Imported here: OpenVINO costs a noticeable part of a second, and `fightpose --help` needs none of it.
        import openvino

        self._path, self._file, self._shape = path, int8 or path, shape
        self._core = openvino.Core()
        self.requests: dict[Cut, Requests] = {}
        self._compiled = CompiledModels(self._core, self._file, precision)
        sidecar = read_sidecar(path)
        # Read once for all shapes: a clone shares its weights. It takes a tenth of what compiling one takes.
        model = self._model = self._read()
        outputs = [_shape_of(port.get_partial_shape()) for port in model.outputs]
        names = [" ".join(port.get_names()) for port in model.outputs]
        self._places = find_outputs(outputs, names, path)
        inputs = [_shape_of(port.get_partial_shape()) for port in model.inputs]
        self.height, self.width = input_size(inputs, sidecar, path)
        if shape is InputShape.FITTED:
            # Tried on the smallest cut: a file that does not allow it is refused here, and not at the first frame.
            cut_input(model.clone(), (self.height, self.width), Cut(1, 0), path)
        else:
            self._of_cut(NOTHING)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the people in images.

        Parameters
        ----------
        images
            (H, W, 3) uint8 BGR, of any sizes.

        Returns
        -------
        Per image its people in pixels of the image; not yet thresholded.
        """
        fits = [Fit.of((image.shape[1], image.shape[0]), (self.width, self.height)) for image in images]
        cuts = [fit.grey_cells() if self._shape is InputShape.FITTED else NOTHING for fit in fits]
        found: list[Detections] = [Detections.none()] * len(images)
        # The requests of one shape at a time: those of two would compete for the same cores.
        for cut in dict.fromkeys(cuts):
            places = [place for place, other in enumerate(cuts) if other == cut]

            def fill(index: int, target: npt.NDArray[Any], places: list[int] = places, cut: Cut = cut) -> None:
                """Letterbox an image into a request's input."""
                fits[places[index]].without(cut).warp(images[places[index]], target)

            answers = self._of_cut(cut).run(len(places), fill)
            for place, (dets, points) in zip(places, answers, strict=True):
                # By the fit of the whole input: a cut network still answers in its pixels.
                found[place] = decode_people(dets, points, fits[place])
        return found

    def calibration_inputs(self, network: Any, frames: Sequence[Image]) -> list[npt.NDArray[Any]]:
        """Fix the size of OpenVINO's network, and return what frames become: [1, 3, H, W] float32 BGR each."""
        network.reshape([1, 3, self.height, self.width])
        target = self.width, self.height
        warped = [Fit.of((frame.shape[1], frame.shape[0]), target).warp(frame) for frame in frames]
        return [np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) for image in warped]

    def _read(self) -> Any:
        """Return OpenVINO's model of the file."""
        try:
            return self._core.read_model(self._file)
        except RuntimeError as error:
            raise FightposeError(f"{self._file} cannot be read as a model: {last_line(error)}") from error

    def _of_cut(self, cut: Cut) -> Requests:
        """Return the requests for a part of the input, compiling the model for it the first time."""
        if cut not in self.requests:
            while len(self.requests) >= MAX_SHAPES:
                # The shape compiled first goes first: dicts keep the order of insertion.
                self.requests.pop(next(iter(self.requests)))
            form = f"{self.height}x{self.width}-cut{cut.rows}x{cut.columns}"
            try:
                self.requests[cut] = Requests(self._compiled.get(form, lambda: self._of_part(cut)), self._places)
            except RuntimeError as error:
                raise FightposeError(f"{self._path} does not run as an RTMO model: {last_line(error)}") from error
        return self.requests[cut]

    def _of_part(self, cut: Cut) -> Any:
        """Return OpenVINO's model for a part of the input, that takes images as they are decoded."""
        import openvino
        from openvino.preprocess import PrePostProcessor

        model = self._model.clone()
        model.reshape([1, 3, self.height, self.width])
        if cut != NOTHING:
            cut_input(model, (self.height, self.width), cut, self._path)
        # The conversion to float and the change of layout run inside the graph: a quarter of the bytes to hand
        # over, and no pass over the pixels in Python.
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        return steps.build()


class OnnxRuntimeRtmo:
    """RTMO through ONNX Runtime, for machines with an NVIDIA GPU.

    Parameters
    ----------
    path
        The .onnx file.
    device
        `cuda:N` or `cpu`.
    half
        fp16, which is TensorRT's: the file itself holds fp32.

    Raises
    ------
    FightposeError
        If ONNX Runtime is absent or lacks the device or TensorRT, or the file is no RTMO.
    """

    batch_size = 8

    def __init__(self, path: Path, device: str, half: bool = False) -> None:
        sidecar = read_sidecar(path)
        self._session = open_session(path, device, half)
        ports = self._session.get_outputs()
        found = find_outputs([_known(port.shape) for port in ports], [port.name for port in ports], path)
        self._outputs = [ports[index].name for index in found]
        self._input = self._session.get_inputs()[0].name
        inputs = [_known(port.shape) for port in self._session.get_inputs()]
        self.height, self.width = input_size(inputs, sidecar, path)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the people in images; as `Rtmo.detect`."""
        found: list[Detections] = []
        for image in images:
            fit = Fit.of((image.shape[1], image.shape[0]), (self.width, self.height))
            # One image at a time: the published files, with NMS inside, give rows for the first of a batch only.
            blob = np.ascontiguousarray(fit.warp(image).transpose(2, 0, 1)[None], np.float32)
            dets, keypoints = self._session.run(self._outputs, {self._input: blob})
            found.append(decode_people(np.asarray(dets)[0], np.asarray(keypoints)[0], fit))
        return found


Shape = list[int | None] | None
"""A shape whose open dimensions are None; None where not even the rank is known."""


def find_outputs(shapes: Sequence[Shape], names: Sequence[str], path: Path) -> tuple[int, int]:
    """Return the places of `dets` and `keypoints` among a model's outputs, told by shape, and by name if need be.

    Raises
    ------
    FightposeError
        If the outputs are not those of an RTMO.
    """
    places = []
    for name, wanted in (("dets", [None, None, 5]), ("keypoints", [None, None, NUM_KEYPOINTS, 3])):
        # Exporters with NMS inside may leave even the rank open.
        fitting = [place for place, shape in enumerate(shapes) if shape is None or _fits(shape, wanted)]
        # Exporters rename outputs: names decide only where several shapes fit.
        places.append([place for place in fitting if name in names[place]] or fitting)
    if len(shapes) != 2 or sorted(places) != [[0], [1]]:
        raise FightposeError(f"{path} is not an RTMO model: it gives {_words(shapes)}, expected {WANTED}")
    return places[0][0], places[1][0]


def input_size(shapes: Sequence[Shape], sidecar: Sidecar, path: Path) -> tuple[int, int]:
    """Return the (height, width) of the input, from the model or else from the JSON file beside it.

    Raises
    ------
    FightposeError
        If there is not one image input, or nothing says how large it is.
    """
    if len(shapes) != 1 or not _fits(shapes[0], [None, 3, None, None]):
        raise FightposeError(f"{path} is not an RTMO model: it takes {_words(shapes)}, expected {WANTED}")
    height, width = (shapes[0] or [None] * 4)[2:]
    stated = sidecar.input_size or (height, width)
    if stated[0] is None or stated[1] is None:
        raise FightposeError(
            f'{path} does not fix its input size; write it into {sidecar_path(path).name}: {{"input_size": [640, 640]}}'
        )
    if (height or stated[0], width or stated[1]) != tuple(stated):
        raise FightposeError(f"{sidecar_path(path)} says input size {list(stated)}, the model takes {[height, width]}")
    return stated[0], stated[1]


def _fits(shape: Shape, wanted: list[int | None]) -> bool:
    """Tell whether a shape can be the wanted one; open dimensions fit anything, an open rank fits nothing."""
    return (
        shape is not None
        and len(shape) == len(wanted)
        and all(a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True))
    )


def _words(shapes: Sequence[Shape]) -> str:
    """Put shapes into words for an error."""
    return " and ".join(str(["?" if size is None else size for size in shape or []]) for shape in shapes) or "nothing"


def _shape_of(shape: Any) -> Shape:
    """Return an OpenVINO partial shape as a list."""
    if shape.rank.is_dynamic:
        return None
    return [None if size.is_dynamic else size.get_length() for size in shape]


def _known(shape: Sequence[Any]) -> Shape:
    """Return an ONNX Runtime shape, whose open dimensions are names or None, as a list."""
    return [size if isinstance(size, int) else None for size in shape]
