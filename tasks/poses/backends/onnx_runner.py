"""An .onnx file with one image input, run on many images: OpenVINO on the CPU, ONNX Runtime on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tasks.core.choices import Precision
from tasks.core.download import cache_folder
from tasks.core.errors import FightposeError
from tasks.poses.backends.compiled_models import CompiledModels
from tasks.poses.backends.openvino_cpu import Requests, last_line
from tasks.poses.backends.runtimes import device_kind

Array = npt.NDArray[Any]

MOST_AT_ONCE = 32
"""Images per run on a GPU, where the file leaves the batch open: bounds its memory."""


class Runner(Protocol):
    """A loaded network.

    Attributes
    ----------
    input_shape
        With the batch axis; 0 for a size that the file leaves open.
    input_type
        What an image must be given as.
    """

    input_shape: list[int]
    input_type: np.dtype[Any]

    def run(self, images: Sequence[Array]) -> list[list[Array]]:
        """Return per image all outputs, without the batch axis."""
        ...


class OpenVinoRunner:
    """On the CPU; images are run one by one, as many at a time as there are streams."""

    def __init__(self, path: Path) -> None:
        # Imported here: OpenVINO costs a noticeable part of a second, and `fightpose --help` needs none of it.
        import openvino

        core = openvino.Core()

        def build() -> Any:
            """Read the file, for one image at a time."""
            model = core.read_model(path)
            require_one_input(len(model.inputs), path)
            shape = model.inputs[0].get_partial_shape()
            if shape.rank.is_static and len(shape) and shape[0].is_dynamic:
                # A request takes one image (`Requests`): the batch that the file leaves open is closed.
                shape[0] = 1
                model.reshape({model.inputs[0]: shape})
            return model

        try:
            # `build` runs in here, too, so that a file that cannot be read is caught as well.
            compiled = CompiledModels(core, path, Precision.FP32).get("as-it-is", build)
        except RuntimeError as error:
            raise FightposeError(f"{path} cannot be read as a model: {last_line(error)}") from error
        shape = compiled.inputs[0].get_partial_shape()
        # 0 marks an open size, see `Runner`.
        self.input_shape = [] if shape.rank.is_dynamic else [0 if s.is_dynamic else s.get_length() for s in shape]
        self.input_type = np.dtype(compiled.inputs[0].get_element_type().to_dtype())
        self._requests = Requests(compiled, range(len(compiled.outputs)))

    def run(self, images: Sequence[Array]) -> list[list[Array]]:
        """Run the network; see `Runner`."""
        answers = self._requests.run(len(images), lambda index, target: np.copyto(target, images[index]))
        return [list(answer) for answer in answers]


class OnnxRuntimeRunner:
    """On an NVIDIA GPU; many images at once where the file leaves the batch open."""

    def __init__(self, path: Path, device: str) -> None:
        self._session = open_session(path, device)
        require_one_input(len(self._session.get_inputs()), path)
        port = self._session.get_inputs()[0]
        self._name = port.name
        self.input_shape = [size if isinstance(size, int) else 0 for size in port.shape]
        self.input_type = np.dtype({"tensor(int32)": np.int32, "tensor(uint8)": np.uint8}.get(port.type, np.float32))
        self._at_once = MOST_AT_ONCE if self.input_shape and not self.input_shape[0] else 1

    def run(self, images: Sequence[Array]) -> list[list[Array]]:
        """Run the network; see `Runner`."""
        outputs: list[list[Array]] = []
        for start in range(0, len(images), self._at_once):
            batch = np.stack(images[start : start + self._at_once])
            found = self._session.run(None, {self._name: batch})
            outputs += [[np.asarray(output)[row] for output in found] for row in range(len(batch))]
        return outputs


def load_runner(path: Path, device: str) -> Runner:
    """Return the network of a file: OpenVINO on the CPU, ONNX Runtime on a GPU."""
    return OpenVinoRunner(path) if device_kind(device) == "cpu" else OnnxRuntimeRunner(path, device)


def open_session(path: Path, device: str, half: bool = False) -> Any:
    """Return ONNX Runtime's session of a file on a device, in TensorRT's fp16 if half.

    Raises
    ------
    FightposeError
        If ONNX Runtime is absent or lacks the device or TensorRT, or the file is no model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise FightposeError(
            f"{path.name} on {device!r} needs ONNX Runtime: pip install onnxruntime-gpu; or use --device cpu"
        ) from error
    providers = providers_for(device, onnxruntime.get_available_providers(), half)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=providers)
    # Its errors share no base class below Exception.
    except Exception as error:
        raise FightposeError(f"{path} cannot be read as a model: {last_line(error)}") from error
    if device_kind(device) != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
        # ONNX Runtime falls back to the CPU with a line in its log only; a run of days must not.
        raise FightposeError(f"ONNX Runtime cannot use {device!r} (driver or CUDA libraries); use --device cpu")
    return session


def require_one_input(count: int, path: Path) -> None:
    """Raise a FightposeError for a model that takes anything but one image."""
    if count != 1:
        raise FightposeError(f"{path} takes {count} inputs, expected one image")


def providers_for(device: str, available: Sequence[str], half: bool = False) -> list[Any]:
    """Return ONNX Runtime's providers for a device, TensorRT in fp16 first if half, or say that it has none."""
    if device_kind(device) == "cpu":
        return ["CPUExecutionProvider"]
    for provider in ["CUDAExecutionProvider", *(["TensorrtExecutionProvider"] if half else [])]:
        if provider not in available:
            # TensorRT alone is missing only where half precision was asked for.
            advice = "use --device cpu or --precision fp32" if half else "use --device cpu"
            raise FightposeError(
                f"ONNX Runtime here has no {provider.removesuffix('ExecutionProvider')} (it has "
                f"{', '.join(available)}): pip install onnxruntime-gpu; or {advice}"
            )
    number = int(device.partition(":")[2] or "0")
    # Without TF32, whose ten bits of fraction are no fp32: the same people as on the CPU.
    cuda = ("CUDAExecutionProvider", {"device_id": number, "use_tf32": 0})
    if not half:
        return [cuda]
    # Building an engine takes minutes: kept for the next run.
    cache = str(cache_folder() / "tensorrt")
    options = {"device_id": number, "trt_fp16_enable": True, "trt_engine_cache_enable": True}
    return [("TensorrtExecutionProvider", options | {"trt_engine_cache_path": cache}), cuda]
