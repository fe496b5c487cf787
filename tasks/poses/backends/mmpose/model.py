"""RTMO as mmpose config and checkpoint, run in torch on the CPU or an NVIDIA GPU.

In float32 the people are those of mmpose's `inference_bottomup`; on a GPU the network runs in half precision, the
coordinates stay float32.

This module imports torch at its top: import it only where a torch model is used.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import torch

from tasks.core.errors import FightposeError
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.poses.backends.mmpose.compat import importable_mmpose, quieten
from tasks.poses.backends.mmpose.files import require_rtmo_config
from tasks.poses.backends.mmpose.network import RtmoNetwork
from tasks.poses.backends.rtmo_input import Fit, decode_people
from tasks.poses.detections import Detections
from tasks.video.reading import Image

logger = logging.getLogger(__name__)

CPU_BATCH, CUDA_BATCH = 4, 32
"""Frames handed over at once. Batching gains nothing on the CPU; a GPU needs it to be busy."""


class MmposeRtmo:
    """RTMO in torch.

    Parameters
    ----------
    config
        The user's mmpose config, a Python file.
    checkpoint
        The user's .pth file.
    device
        `cpu`, `cuda` or `cuda:N`.
    half
        fp16 for the network's layers, on a GPU; coordinates stay float32.

    Raises
    ------
    FightposeError
        If mmpose is not installed, a file cannot be read, the two do not fit, or the device does not exist.
    """

    def __init__(self, config: Path, checkpoint: Path, device: str, half: bool = False) -> None:
        self._device = usable_device(device)
        self.network = load_network(config, checkpoint).to(self._device)
        self._cuda = self._device.type == "cuda"
        self._half = half and self._cuda
        if self._cuda:
            # The layout in which tensor cores read images without a transposition.
            self.network = self.network.to(memory_format=torch.channels_last)
            if not self._half:
                # Without TF32, torch's default in convolutions, whose ten bits of fraction are no fp32.
                torch.backends.cudnn.allow_tf32 = False
        self.batch_size = CUDA_BATCH if self._cuda else CPU_BATCH
        self._at_once = self.batch_size
        height, width = self.network.input_size
        self._size = (width, height)
        # One for all batches. Memory that the GPU can read by itself makes copying to it cheaper.
        room = torch.empty((self.batch_size, height, width, 3), dtype=torch.uint8, pin_memory=self._cuda)
        self._input = room.numpy()

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find the people in images.

        Parameters
        ----------
        images
            (H, W, 3) uint8 BGR, of any sizes.

        Returns
        -------
        Per image its people in pixels of the image; not yet thresholded.

        Raises
        ------
        FightposeError
            If the GPU's memory does not hold even one frame.
        """
        quieten()
        found: list[Detections] = []
        while len(found) < len(images):
            some = images[len(found) : len(found) + self._at_once]
            fits = [Fit.of((image.shape[1], image.shape[0]), self._size) for image in some]
            for fit, image, target in zip(fits, some, self._input, strict=False):
                fit.warp(image, target)
            part = self._run(self._input[: len(some)])
            if part is None:
                self._halve()
                continue
            found += [decode_people(dets, points, fit) for dets, points, fit in zip(*part, fits, strict=True)]
        return found

    def _run(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Run the network on (B, H, W, 3) uint8; None where the device's memory does not hold it."""
        try:
            # Bytes go to the device, a quarter of the floats; seen as (B, 3, H, W) they already lie channels-last.
            images = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2).float()
            if not self._cuda:
                # In mmpose's own layout the CPU gives mmpose's own numbers, to the last bit of the scores.
                images = images.contiguous()
            with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self._half):
                dets, points = self.network(images)
            return dets.cpu().numpy(), points.cpu().numpy()
        except torch.OutOfMemoryError:
            # Handled by the caller: until this block is left, the error keeps the tensors alive that fill the memory.
            return None

    def _halve(self) -> None:
        """Go on with half as many frames at once after the device ran out of memory."""
        if self._cuda:
            torch.cuda.empty_cache()
        if self._at_once == 1:
            raise FightposeError(
                f"{self._device} has too little free memory for one frame; free some there, or use --device cpu"
            )
        if self._at_once == self.batch_size:
            logger.warning(
                "%s ran out of memory with %d frames at once; going on with fewer", self._device, self._at_once
            )
        self._at_once //= 2


def usable_device(device: str) -> torch.device:
    """Return a device that exists here.

    Raises
    ------
    FightposeError
        If the name is none, or the machine has no such device.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise FightposeError(f"unknown device {device!r}; use cpu or cuda:0") from error
    if wanted.type == "cpu":
        return wanted
    if wanted.type != "cuda":
        raise FightposeError(f"device {device!r} is not supported; use cpu or cuda:0")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (wanted.index or 0) >= count:
        has = ", ".join(f"cuda:{index}" for index in range(count)) or "no CUDA device that torch can use"
        raise FightposeError(f"device {device!r} does not exist: this machine has {has}; use --device cpu")
    return wanted


def load_network(config: Path, checkpoint: Path) -> RtmoNetwork:
    """Build RTMO from the user's config and load the user's checkpoint into it, on the CPU, ready to run.

    Raises
    ------
    FightposeError
        If mmpose is not installed, a file is absent or cannot be read, the config is no RTMO with 17 keypoints, or
        the checkpoint does not fit the config.
    """
    for path in (config, checkpoint):
        if not path.is_file():
            raise FightposeError(f"{path} does not exist; give --config and --checkpoint of one model")
    require_rtmo_config(config)
    quieten()
    with importable_mmpose():
        model, size = _build(config)
    _load_weights(model, checkpoint, config)
    # mmpose's own thresholds, which a user can change in the config; the numbers are its head's where none are given.
    limits = model.test_cfg
    return RtmoNetwork(model, size, float(limits.get("score_thr", 0.01)), float(limits.get("nms_thr", 1.0))).eval()


def _build(config: Path) -> tuple[Any, tuple[int, int]]:
    """Return mmpose's model of a config, and the (height, width) of its input."""
    from mmengine.config import Config
    from mmengine.model.utils import revert_sync_batchnorm
    from mmengine.registry import DefaultScope
    from mmpose.models import build_pose_estimator

    try:
        # Runs the user's file, which is Python.
        settings = Config.fromfile(str(config))
        settings.model.train_cfg = None
        with DefaultScope.overwrite_default_scope("mmpose"):
            model = revert_sync_batchnorm(build_pose_estimator(settings.model))
        # Where mmpose's own inference looks for its pipeline.
        model.cfg = settings
    # A config can fail in any way that Python can.
    except Exception as error:
        raise FightposeError(f"{config} cannot be used as an mmpose config: {_brief(error)}") from error
    head: Any = getattr(model, "head", None)
    if not hasattr(head, "dcc") or head.num_keypoints != NUM_KEYPOINTS:
        raise FightposeError(
            f"{config} describes {type(model).__name__} with {type(head).__name__}, not RTMO with "
            f"{NUM_KEYPOINTS} keypoints; use one of mmpose's configs/body_2d_keypoint/rtmo"
        )
    return model, _input_size(settings, config)


def _input_size(settings: Any, config: Path) -> tuple[int, int]:
    """Return the (height, width) to which the config's own test pipeline scales."""
    for step in settings.get("test_dataloader", {}).get("dataset", {}).get("pipeline", []):
        if step["type"] == "BottomupResize":
            width, height = step["input_size"]
            return height, width
    raise FightposeError(
        f"{config} does not say how large the input is: its test_dataloader has no step BottomupResize; "
        "use one of mmpose's configs/body_2d_keypoint/rtmo"
    )


def _load_weights(model: Any, checkpoint: Path, config: Path) -> None:
    """Load a checkpoint, and refuse one that leaves weights of the model as they were initialised."""
    state = {key.removeprefix("module."): value for key, value in _read_state(checkpoint).items()}
    own = model.state_dict()
    # Other buffers are constants that the model works out itself; older checkpoints lack some of them.
    needed = {name for name, _ in model.named_parameters()} | {key for key in own if ".running_" in key}
    missing = sorted(needed - state.keys())
    other = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
    if missing or other:
        details = []
        if missing:
            details.append(f"{len(missing)} of {len(needed)} weights are missing, first {missing[0]}")
        if other:
            shapes = f"{list(state[other[0]].shape)} instead of {list(own[other[0]].shape)}"
            details.append(f"{len(other)} have another shape, first {other[0]}: {shapes}")
        raise FightposeError(f"{checkpoint} does not fit {config.name}: {'; '.join(details)}; use its own config")
    model.load_state_dict(state, strict=False)


class PassedOver:
    """What takes the place of every object of a checkpoint that is not a weight: takes anything, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Take the arguments with which a pickle makes an object."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of whatever it replaces."""

    def __setstate__(self, state: Any) -> None:
        """Take the content of an object."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take an item of a mapping."""

    def append(self, item: Any) -> None:
        """Take an item of a sequence."""

    def extend(self, items: Any) -> None:
        """Take items of a sequence."""


class WeightsUnpickler(pickle.Unpickler):
    """Reads the tensors of a checkpoint and runs nothing of what else it names.

    torch gives it the storages; of all other names a pickle can bring, only those that make tensors and ordered
    mappings mean something here.
    """

    KNOWN = frozenset(
        {
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_parameter"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """Return what makes tensors, and an inert class for everything else."""
        return super().find_class(module, name) if (module, name) in self.KNOWN else PassedOver

    @classmethod
    def load_from(cls, stream: Any, **options: Any) -> Any:
        """Read one pickle, as `pickle.load` does; torch asks for it with files of its older form."""
        return cls(stream, **options).load()


def _read_state(checkpoint: Path) -> Mapping[str, torch.Tensor]:
    """Return the weights of a .pth file that the user named."""
    try:
        try:
            data = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            # OpenMMLab's files keep numpy and mmengine objects beside the weights.
            logger.info("%s holds Python objects beside its weights; they are passed over", checkpoint)
            reader = SimpleNamespace(__name__="weights", Unpickler=WeightsUnpickler, load=WeightsUnpickler.load_from)
            data = torch.load(checkpoint, map_location="cpu", weights_only=False, pickle_module=reader)
    # A file that is no checkpoint fails in any way that unpickling can.
    except Exception as error:
        raise FightposeError(f"{checkpoint} cannot be read as a checkpoint: {_brief(error)}; copy it again") from error
    # Checkpoints of training wrap the weights in `state_dict`; other files hold nothing else.
    state = data.get("state_dict", data) if isinstance(data, Mapping) else None
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise FightposeError(f"{checkpoint} holds no weights (state_dict); give the .pth file of the model")
    return dict(state)


def _brief(error: Exception) -> str:
    """Return the kind and the first line of an error."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"
