"""An .onnx file with one image input, run on many images: OpenVINO on the CPU, ONNX Runtime on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tasks.errors import FightposeError

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
        try:
            model = core.read_model(path)
            require_one_input(len(model.inputs), path)
            shape = model.inputs[0].get_partial_shape()
            if shape.rank.is_static and len(shape) and shape[0].is_dynamic:
                shape[0] = 1
                model.reshape({model.inputs[0]: shape})
            # f32 on every machine: the same people wherever the clip is annotated.
            compiled = core.compile_model(
                model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
            )
        except RuntimeError as error:
            raise FightposeError(f"{path} cannot be read as a model: {last_line(error)}") from error
        self.input_shape = [] if shape.rank.is_dynamic else [0 if s.is_dynamic else s.get_length() for s in shape]
        self.input_type = np.dtype(compiled.inputs[0].get_element_type().to_dtype())
        self._queue = openvino.AsyncInferQueue(compiled)

    def run(self, images: Sequence[Array]) -> list[list[Array]]:
        """Run the network; see `Runner`."""
        outputs: list[list[Array]] = [[] for _ in images]

        def keep(request: Any, index: int) -> None:
            """Copy the outputs out of the request, whose memory the next image reuses."""
            outputs[index] = [np.array(tensor.data[0]) for tensor in request.output_tensors]

        self._queue.set_callback(keep)
        for index, image in enumerate(images):
            self._queue.start_async({0: image[None]}, index)
        self._queue.wait_all()
        return outputs


class OnnxRuntimeRunner:
    """On an NVIDIA GPU; many images at once where the file leaves the batch open."""

    def __init__(self, path: Path, device: str) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise FightposeError(
                f"{path.name} on {device!r} needs ONNX Runtime: pip install onnxruntime-gpu; or use --device cpu"
            ) from error
        providers = providers_for(device, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=providers)
        # Its errors share no base class below Exception.
        except Exception as error:
            raise FightposeError(f"{path} cannot be read as a model: {last_line(error)}") from error
        if device != "cpu" and "CUDAExecutionProvider" not in self._session.get_providers():
            # ONNX Runtime falls back to the CPU with a line in its log only; a run of days must not.
            raise FightposeError(f"ONNX Runtime cannot use {device!r} (driver or CUDA libraries); use --device cpu")
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
    return OpenVinoRunner(path) if device == "cpu" else OnnxRuntimeRunner(path, device)


def require_one_input(count: int, path: Path) -> None:
    """Raise a FightposeError for a model that takes anything but one image."""
    if count != 1:
        raise FightposeError(f"{path} takes {count} inputs, expected one image")


def providers_for(device: str, available: Sequence[str]) -> list[Any]:
    """Return ONNX Runtime's providers for a device, or say that it has none."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise FightposeError(f"unknown device {device!r}; use cpu or cuda:0")
    if "CUDAExecutionProvider" not in available:
        raise FightposeError(
            f"ONNX Runtime here has no CUDA (it has {', '.join(available)}): pip install onnxruntime-gpu; "
            "or use --device cpu"
        )
    return [("CUDAExecutionProvider", {"device_id": int(number or "0")})]


def last_line(error: Exception) -> str:
    """Return the last line of an error's text: the runtimes put their call stack before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
