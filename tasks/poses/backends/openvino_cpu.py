"""Running a model on the CPU through OpenVINO, several requests at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.choices import Precision
from tasks.core.errors import FightposeError
from tasks.core.records import FloatArray

HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16", Precision.INT8: "f32"}
"""OpenVINO's name of the precision in which layers run; those of an int8 file that are not quantised run in f32."""


def options_of(precision: Precision) -> dict[str, str]:
    """Return OpenVINO's options for a precision; the same for compiling a model and for reading a compiled one."""
    # Throughput mode runs several requests at once, which uses all cores better than several threads on one frame.
    return {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "THROUGHPUT"}


def compile_on_cpu(core: Any, model: Any, precision: Precision) -> Any:
    """Compile a model for the CPU in one precision, the same on every machine.

    Raises
    ------
    FightposeError
        If the processor lacks the precision: OpenVINO would silently take another one.
    """
    if precision is Precision.BF16:
        require_bf16(core)
    return core.compile_model(model, "CPU", options_of(precision))


def require_bf16(core: Any = None) -> None:
    """Make sure that the processor computes in bf16.

    Raises
    ------
    FightposeError
        If it does not.
    """
    if core is None:
        import openvino

        core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise FightposeError("this processor has no bf16; use --precision fp32")


class Requests:
    """The requests of a compiled model that takes one image at a time.

    Parameters
    ----------
    compiled
        OpenVINO's compiled model, with one input [1, ...].
    outputs
        The places of the outputs that are wanted.
    """

    def __init__(self, compiled: Any, outputs: Sequence[int]) -> None:
        import openvino

        self._queue = openvino.AsyncInferQueue(compiled)
        self._outputs = tuple(outputs)

    def run(self, count: int, fill: Callable[[int, npt.NDArray[Any]], None]) -> list[tuple[FloatArray, ...]]:
        """Run the model on some images; while it works on one, the next is being prepared.

        Parameters
        ----------
        count
            Number of images.
        fill
            Writes the image of an index into the input of a request, without the batch axis. The memory still holds
            an earlier image.

        Returns
        -------
        Per image the wanted outputs, without the batch axis.
        """
        answers: list[tuple[FloatArray, ...]] = [()] * count

        def keep(request: Any, index: int) -> None:
            """Copy the outputs out of the request, whose memory the next image reuses."""
            answers[index] = tuple(
                np.array(request.get_output_tensor(place).data[0], np.float32) for place in self._outputs
            )

        # Called in OpenVINO's threads; each call fills a place of its own, so that no lock is needed.
        self._queue.set_callback(keep)
        try:
            for index in range(count):
                # The same request that start_async takes: the one that has been idle longest.
                request = self._queue[self._queue.get_idle_request_id()]
                fill(index, request.get_input_tensor().data[0])
                self._queue.start_async(userdata=index)
        finally:
            # After an error, too: no request may be under way when the next call starts.
            self._queue.wait_all()
        return answers


def last_line(error: Exception) -> str:
    """Return the last line of an error's text: the runtimes put their call stack before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
