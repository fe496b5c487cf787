"""int8 forms of models, calibrated on the user's own frames with NNCF (the extra `int8`).

The numbers that int8 leaves depend on the pictures it was calibrated on, so nothing fits everybody: the form is made
here, compared with fp32 on frames that the calibration did not see, and kept in the model folder under the hash of the
model it was made from.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any, cast

from tasks.core.choices import InputShape, Precision, Runtime
from tasks.core.errors import ClipError, FightposeError
from tasks.core.settings import LimitSettings
from tasks.core.storage import PARTIAL_MARK, write_json
from tasks.poses.agreement import Likeness, likeness
from tasks.poses.backends.table import LoadRequest, PoseModel, QuantizableModel
from tasks.poses.detections import Detections, clean, suppress_duplicates
from tasks.poses.models import ModelEntry, model_file
from tasks.poses.published_models import quantized_path, require_writable_model_folder
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.reading import Image

logger = logging.getLogger(__name__)

FRAMES, STEP, CLIPS = 160, 12, 40
"""At most so many frames, so far apart (neighbours show the same picture), from so many clips."""

LEAST_FRAMES = 8
"""Fewer say nothing about the range of a layer's values."""


def calibration_frames(clips: Sequence[Path]) -> list[Image]:
    """Return frames of clips, spread evenly over them.

    Raises
    ------
    FightposeError
        If there are too few.
    """
    # Spread over the list: neighbours in it are often of one camera.
    some = clips[:: max(1, len(clips) // CLIPS)][:CLIPS]
    each = max(2, FRAMES // max(1, len(some)))
    frames = [frame for clip in some for frame in _frames_of(clip, each)][:FRAMES]
    if len(frames) < LEAST_FRAMES:
        raise FightposeError(f"{len(frames)} frames are too few to calibrate with; give more or longer clips")
    return frames


def _frames_of(clip: Path, most: int) -> Iterable[Image]:
    """Yield some frames of a clip; none of one that cannot be read, and most folders have such a clip."""
    limits = ClipLimits(clip, LimitSettings())
    try:
        for frame in islice(decode_guarded(probe_guarded(limits), limits), 0, STEP * most, STEP):
            yield frame.image
    except (ClipError, OSError) as error:
        logger.warning("%s; it is passed over", error)


def quantize_model(entry: ModelEntry, frames: Sequence[Image], force: bool = False) -> Likeness:
    """Make the int8 form of a model that OpenVINO runs, and keep it if it finds the people of fp32.

    Parameters
    ----------
    entry
        MoveNet, or RTMO as .onnx.
    frames
        (H, W, 3) uint8 BGR. Every other one calibrates, the rest compares.
    force
        Keep the form even if it finds other people.

    Returns
    -------
    How its people compare with those of fp32.

    Raises
    ------
    FightposeError
        If NNCF is not installed, the model is of another kind, the model folder cannot be written, or the form finds
        other people (the figures are in the message); an earlier form stays then.
    """
    if importlib.util.find_spec("nncf") is None:
        raise FightposeError("int8 needs NNCF, which is not installed: run `make install-int8`")
    if not entry.backend.int8:
        raise FightposeError(f"{entry.name} has no int8 form; export it with `fightpose export-model` first")
    require_writable_model_folder()
    path, target = model_file(entry), quantized_path(entry.sha256)
    reference = _model(entry, path, None)
    quantized = quantized_by_nncf(path, reference, frames[::2])
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the files can be renamed into place.
    with tempfile.TemporaryDirectory(prefix=PARTIAL_MARK, dir=target.parent) as folder:
        candidate = Path(folder) / target.name
        _save(quantized, candidate)
        # Frames that the calibration has not seen: on its own frames every form looks good.
        models = (reference, _model(entry, path, candidate))
        found = likeness(*(_people(model, entry, frames[1::2]) for model in models))
        if not (found.holds or force):
            raise FightposeError(
                f"no int8 form of {entry.name} is kept, because it does not find the people of fp32 ({found}); use "
                "--precision fp32, calibrate with more clips, or keep it all the same with --force"
            )
        # Without the .xml there is no int8 form: removed first and put back last, so that it never goes with the
        # weights of another one.
        target.unlink(missing_ok=True)
        for suffix in (".bin", ".xml"):
            candidate.with_suffix(suffix).replace(target.with_suffix(suffix))
    write_json(
        target.with_suffix(".json"),
        {"model": entry.name, "sha256": entry.sha256, "frames": len(frames[::2]), "against_fp32": str(found)},
    )
    logger.info("wrote %s (%s)", target, found)
    return found


def _model(entry: ModelEntry, path: Path, int8: Path | None) -> QuantizableModel:
    """Return a model in fp32, or in int8 where its file is given."""
    precision = Precision.INT8 if int8 else Precision.FP32
    wanted = LoadRequest(path, None, "cpu", Runtime.OPENVINO, precision, InputShape.SQUARE, int8, entry.long_side)
    return cast("QuantizableModel", entry.backend.load(wanted))


def quantized_by_nncf(path: Path, model: QuantizableModel, frames: Sequence[Image]) -> Any:
    """Return OpenVINO's model in int8."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # It reports the frameworks that it found, and what it imports warns about itself.
        warnings.simplefilter("ignore")
        import nncf
    import openvino

    raw = openvino.Core().read_model(path)
    inputs = model.calibration_inputs(raw, frames)
    # Convolutions alone: both models work out coordinates in their graph as well, and 8 bits of those are pixels.
    others = {node.get_type_name() for node in raw.get_ops()} - {"Convolution", "GroupConvolution"}
    scope = nncf.IgnoredScope(types=sorted(others - {"Constant", "Parameter", "Result"}), validate=False)
    # NNCF writes a line for every layer that it leaves alone, and progress bars to standard output, where `--json`
    # has its one value.
    nncf.set_log_level(logging.WARNING)
    with redirect_stdout(io.StringIO()):
        return nncf.quantize(
            raw,
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=scope,
        )


def _save(model: Any, target: Path) -> None:
    """Write OpenVINO's two files, .xml and .bin."""
    import openvino

    # By default OpenVINO would halve the weights of the layers that stay in fp32.
    openvino.save_model(model, target, compress_to_fp16=False)


def _people(model: PoseModel, entry: ModelEntry, frames: Sequence[Image]) -> list[Detections]:
    """Return the people of frames at the model's own thresholds."""
    limits = entry.thresholds
    return [
        clean(suppress_duplicates(found, limits.score_thr, limits.nms_thr), frame.shape[1], frame.shape[0])
        for frame, found in zip(frames, model.detect(frames), strict=True)
    ]
