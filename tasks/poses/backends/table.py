"""The table of pose backends: which files each takes, what runs it, how it is hashed, checked and loaded.

A new kind of model is a module of its own and one row here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from tasks.core.choices import InputShape, Precision, Runtime
from tasks.core.settings import Thresholds
from tasks.core.storage import model_sha256
from tasks.poses.backends.mmpose.compat import require_installed, require_mmpose
from tasks.poses.backends.mmpose.files import hash_of_mmpose_model, require_rtmo_config
from tasks.poses.backends.movenet import MoveNet
from tasks.poses.backends.rtmo import OnnxRuntimeRtmo, Rtmo, read_sidecar
from tasks.poses.backends.runtimes import device_kind
from tasks.poses.backends.top_down import TopDown, hash_of_top_down, read_top_down
from tasks.poses.detections import Detections
from tasks.video.reading import Image

logger = logging.getLogger(__name__)


class PoseModel(Protocol):
    """What a backend offers: people in images of any sizes.

    A backend whose input size can be chosen per image offers `tasks.poses.second_look.Zoom` as well.
    """

    batch_size: int

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return per (H, W, 3) uint8 BGR image its people in pixels of the image, not yet thresholded."""
        ...


class QuantizableModel(PoseModel, Protocol):
    """What a backend offers whose models can be brought to int8."""

    def calibration_inputs(self, network: Any, frames: Sequence[Image]) -> list[npt.NDArray[Any]]:
        """Open OpenVINO's network for all inputs that the model uses, and return those that frames become."""
        ...


class LoadRequest(NamedTuple):
    """What a backend is told when it loads a model.

    Attributes
    ----------
    path, config
        The model file, and the mmpose config that goes with a checkpoint.
    device, runtime, precision, input_shape
        As planned (`tasks.poses.backends.runtimes`): nothing is left at `auto`.
    int8
        The model's int8 form where that is asked for.
    long_side
        Length to which the longer side of a frame is scaled, pixels; 0 where the file says it.
    """

    path: Path
    config: Path | None
    device: str
    runtime: Runtime
    precision: Precision
    input_shape: InputShape
    int8: Path | None
    long_side: int


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """A row of the table.

    Attributes
    ----------
    name
        For people.
    suffix
        Ending of the files that `--model` takes, empty where it is not used.
    runtimes
        What can run it, by kind of device, the fastest first (`tests.benchmarks.throughput`).
    load
        Loads a model.
    thresholds
        Score thresholds that fit the model in a file.
    long_side
        Length to which the longer side of a frame is scaled, pixels; 0 where the file says it.
    file_hash
        Hash of all files that decide a model's answers, by model file and config.
    check
        Raises FightposeError for files that cannot be its own, without loading them.
    require
        Raises FightposeError where packages are absent, without importing them.
    precisions
        What it computes in, None for all that its runtimes offer.
    fitted
        Whether OpenVINO can leave out the padding.
    int8
        Whether it can be brought to int8: its models are `QuantizableModel`.
    """

    name: str
    suffix: str
    runtimes: Mapping[str, Sequence[Runtime]]
    load: Callable[[LoadRequest], PoseModel]
    thresholds: Callable[[Path], Thresholds]
    long_side: int = 0
    file_hash: Callable[[Path, Path | None], str] = lambda path, _config: model_sha256(path)
    check: Callable[[Path | None], None] = lambda _config: None
    require: Callable[[], None] = lambda: None
    precisions: Sequence[Precision] | None = None
    fitted: bool = False
    int8: bool = False


def _load_movenet(wanted: LoadRequest) -> PoseModel:
    """Load MoveNet; its int8 form takes the file's place."""
    return MoveNet(wanted.int8 or wanted.path, wanted.long_side, wanted.precision)


def _load_rtmo(wanted: LoadRequest) -> PoseModel:
    """Load RTMO from an .onnx file."""
    if wanted.runtime is Runtime.ONNXRUNTIME:
        return OnnxRuntimeRtmo(wanted.path, wanted.device, half=wanted.precision is Precision.FP16)
    return Rtmo(wanted.path, wanted.precision, wanted.int8, wanted.input_shape)


def _load_mmpose(wanted: LoadRequest) -> PoseModel:
    """Load RTMO from mmpose's config and checkpoint."""
    require_mmpose()
    # Imported here: torch takes seconds, and no other kind of model needs it.
    from tasks.poses.backends.mmpose.model import MmposeRtmo

    if device_kind(wanted.device) == "cpu":
        logger.info("on a CPU it runs faster through OpenVINO: export it once with `fightpose export-model`")
    assert wanted.config is not None  # noqa: S101 - a checkpoint has none only by a mistake in `tasks.poses.models`
    return MmposeRtmo(wanted.config, wanted.path, wanted.device, half=wanted.precision is Precision.FP16)


def _check_mmpose(config: Path | None) -> None:
    """Refuse a config of another model."""
    if config is not None:
        require_rtmo_config(config)


MOVENET_THRESHOLDS = Thresholds(
    # MoveNet's scores run low: a person in contact or half hidden often gets less than .1.
    score_thr=0.04,
    nms_thr=0.65,
    track_high_thresh=0.06,
    track_low_thresh=0.04,
    # Of 158 labelled people in 30 clips none that kept still scored less; coats, chairs and bushes did.
    track_still_thresh=0.22,
    quality_threshold=0.1,
)

MOVENET = Backend(
    name="MoveNet",
    suffix=".tflite",
    runtimes={"cpu": (Runtime.OPENVINO,)},
    load=_load_movenet,
    thresholds=lambda _path: MOVENET_THRESHOLDS,
    long_side=416,
    int8=True,
)

RTMO = Backend(
    name="RTMO",
    suffix=".onnx",
    runtimes={"cpu": (Runtime.OPENVINO, Runtime.ONNXRUNTIME), "cuda": (Runtime.ONNXRUNTIME,)},
    load=_load_rtmo,
    thresholds=lambda path: read_sidecar(path).thresholds,
    fitted=True,
    int8=True,
)

TOP_DOWN = Backend(
    name="top-down",
    suffix=".json",
    runtimes={"cpu": (Runtime.OPENVINO,), "cuda": (Runtime.ONNXRUNTIME,)},
    load=lambda wanted: TopDown(wanted.path, wanted.device),
    thresholds=lambda path: read_top_down(path).thresholds,
    file_hash=lambda path, _config: hash_of_top_down(path),
    # Two networks of other people's making, whose lower precisions nobody has compared.
    precisions=(Precision.AUTO, Precision.FP32),
)

MMPOSE = Backend(
    name="RTMO in mmpose",
    # Named by --config and --checkpoint instead.
    suffix="",
    runtimes={"cpu": (Runtime.TORCH,), "cuda": (Runtime.TORCH,)},
    load=_load_mmpose,
    thresholds=lambda _path: Thresholds(),
    file_hash=lambda path, config: hash_of_mmpose_model(config or path, path),
    check=_check_mmpose,
    require=require_installed,
)

BACKENDS = (MOVENET, RTMO, TOP_DOWN, MMPOSE)

BY_SUFFIX = {backend.suffix: backend for backend in BACKENDS if backend.suffix}
