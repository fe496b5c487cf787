"""From mmpose's config and checkpoint to an .onnx file that runs without torch, proven on frames before it is kept."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.core.errors import FightposeError
from tasks.core.settings import Thresholds
from tasks.core.storage import atomic_path, file_sha256, require_writable, write_text
from tasks.poses.backends.mmpose.compat import importable_mmpose, require_installed, require_mmpose
from tasks.poses.backends.mmpose.files import require_rtmo_config
from tasks.poses.backends.rtmo import Rtmo, Sidecar, sidecar_path
from tasks.poses.detections import Detections, suppress_duplicates
from tasks.video.reading import Image, decode_frames, probe_video

if TYPE_CHECKING:
    from tasks.poses.backends.mmpose.network import RtmoNetwork

logger = logging.getLogger(__name__)

MAX_SHIFT_PX = 0.5
"""A joint or a side of a box may differ by so much from mmpose's, pixels of the frame."""

MAX_SCORE_SHIFT = 0.01
"""A score may differ by so much from mmpose's; one so near the threshold may be on either side of it."""

CHECK_FRAMES, CHECK_STEP = 8, 12
"""How many frames of a video are compared, and how far apart: neighbours show the same picture."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an exported file compares with mmpose over some frames.

    Attributes
    ----------
    frames, people
        How many frames were compared, and how many people mmpose saw in them.
    unmatched
        People that one of the two saw and the other did not.
    joint_shift, box_shift
        Largest distance of a joint, and difference of a side of a box, pixels of the frame.
    score_shift
        Largest difference of a score, of people or joints.
    """

    frames: int
    people: int
    unmatched: int
    joint_shift: float
    box_shift: float
    score_shift: float

    @property
    def holds(self) -> bool:
        """Whether the two show the same people."""
        return (
            self.unmatched == 0
            and max(self.joint_shift, self.box_shift) <= MAX_SHIFT_PX
            and self.score_shift <= MAX_SCORE_SHIFT
        )

    def __str__(self) -> str:
        return (
            f"{self.people} people in {self.frames} frames: {self.unmatched} unmatched, joints within "
            f"{self.joint_shift:.3f} px, boxes within {self.box_shift:.3f} px, scores within {self.score_shift:.4f}"
        )


def export_model(config: Path, checkpoint: Path, out: Path, frames: Sequence[Image]) -> Agreement:
    """Write an .onnx file and the JSON file beside it, after comparing it with mmpose on frames.

    Parameters
    ----------
    config, checkpoint
        The user's mmpose files.
    out
        The .onnx file to write; nothing is written unless the comparison holds.
    frames
        (H, W, 3) uint8 BGR with people in them, for the comparison.

    Returns
    -------
    The figures of the comparison.

    Raises
    ------
    FightposeError
        If mmpose is not installed, a file cannot be read or written, mmpose sees nobody in the frames, or the
        exported file disagrees with mmpose (the figures are in the message).
    """
    # All that can be refused at once is, before torch is imported, which takes seconds.
    if out.suffix.lower() != ".onnx":
        raise FightposeError(f"{out} must end in .onnx")
    require_installed("onnx")
    require_rtmo_config(config)
    require_writable(out.parent)
    require_mmpose()
    from tasks.poses.backends.mmpose.model import load_network

    network = load_network(config, checkpoint)
    with tempfile.TemporaryDirectory(prefix="fightpose-") as folder:
        # Written elsewhere first: a file that disagrees must never be at `out`, where runs would take it.
        candidate = Path(folder) / "candidate.onnx"
        write_onnx(network, candidate)
        agreement = compare(network.model, Rtmo(candidate), frames)
        if agreement.people == 0:
            raise FightposeError(
                f"{out.name} is not written: mmpose sees nobody in the {agreement.frames} frames it would be checked "
                "on; give a video with people in it"
            )
        if not agreement.holds:
            raise FightposeError(f"{out.name} is not written: it disagrees with mmpose ({agreement})")
        # Copied, not renamed: the temporary folder may be on another disk.
        with atomic_path(out) as partial:
            partial.write_bytes(candidate.read_bytes())
    # The hash ties the JSON file to this export, should `out` be replaced later.
    sidecar = Sidecar(
        input_size=network.input_size,
        thresholds=Thresholds(),
        sha256=file_sha256(out),
        source={
            "config": config.name,
            "checkpoint": checkpoint.name,
            "checkpoint_sha256": file_sha256(checkpoint),
            "checked": str(agreement),
        },
    )
    write_text(sidecar_path(out), sidecar.model_dump_json(indent=1) + "\n")
    logger.info("wrote %s (%s)", out, agreement)
    return agreement


def check_frames(video: Path) -> list[Image]:
    """Return some frames of a clip for the comparison: every `CHECK_STEP`-th, at most `CHECK_FRAMES`.

    Raises
    ------
    ClipError
        If the clip cannot be decoded.
    """
    images = (frame.image for frame in decode_frames(probe_video(video)))
    return list(islice(images, 0, CHECK_STEP * CHECK_FRAMES, CHECK_STEP))


def compare(reference: Any, exported: Rtmo, frames: Sequence[Image]) -> Agreement:
    """Compare an exported model with mmpose's `inference_bottomup` at the thresholds of mmpose's config.

    People are compared as sets: each of mmpose's with the one nearest to it, whatever the order of the rows.
    """
    from mmengine.registry import DefaultScope

    with importable_mmpose():
        from mmpose.apis import inference_bottomup

    # Bottom-up pipelines use nothing of it, but inference_bottomup asks for it.
    reference.dataset_meta = {}
    limits = {name: float(reference.test_cfg[name]) for name in ("score_thr", "nms_thr")}
    people = unmatched = 0
    # A row of zeros, so that there is a maximum where nobody was seen.
    shifts = [np.zeros(3)]
    for image, found in zip(frames, exported.detect(frames), strict=True):
        # Its pipeline is built by names that mmengine looks up in the scope of the moment.
        with DefaultScope.overwrite_default_scope("mmpose"):
            answer = inference_bottomup(reference, image)[0].pred_instances
        expected = Detections(answer.bboxes, answer.scores, answer.keypoints, answer.keypoint_scores)
        # mmpose's answer has gone through NMS, that of the exported file has not.
        got = suppress_duplicates(found, **limits)
        people += len(expected)
        pairs = matching_rows(expected, got)
        for one, side in ((expected, 0), (got, 1)):
            alone = np.setdiff1d(np.arange(len(one)), pairs[:, side])
            # Near the threshold rounding decides who is seen: only those clearly above it count.
            unmatched += int((one.score[alone] > limits["score_thr"] + MAX_SCORE_SHIFT).sum())
        if len(pairs):
            height, width = image.shape[:2]
            shifts.append(_shifts(expected.select(pairs[:, 0]), got.select(pairs[:, 1]), width, height))
    joint, box, score = np.max(shifts, axis=0)
    return Agreement(len(frames), people, unmatched, float(joint), float(box), float(score))


def matching_rows(first: Detections, second: Detections) -> np.ndarray:
    """Return (P, 2) rows that are the same person in both: each other's nearest by the joints.

    Not by the boxes, which mmpose clips to its input: clipped ones of two people at an edge can be the same.
    """
    if not len(first) or not len(second):
        return np.zeros((0, 2), int)
    apart = np.linalg.norm(first.keypoints[:, None] - second.keypoints[None], axis=-1).mean(axis=-1)
    nearest = apart.argmin(axis=1)
    rows = np.arange(len(first))
    return np.stack([rows, nearest], axis=1)[apart.argmin(axis=0)[nearest] == rows]


def _shifts(first: Detections, second: Detections, width: int, height: int) -> np.ndarray:
    """Return the largest difference of joints (px), of boxes within the frame (px) and of scores."""
    limits = np.array([width, height] * 2)
    joint = np.linalg.norm(first.keypoints - second.keypoints, axis=-1).max()
    # mmpose clips boxes to its input, which reaches beyond the frame where that is padded.
    box = np.abs(np.clip(first.bbox, 0, limits) - np.clip(second.bbox, 0, limits)).max()
    score = np.abs(first.score - second.score).max()
    joint_score = np.abs(first.keypoint_scores - second.keypoint_scores).max()
    return np.array([joint, box, max(score, joint_score)])


def write_onnx(network: RtmoNetwork, path: Path) -> None:
    """Trace the network into an .onnx file, unchecked.

    Raises
    ------
    FightposeError
        If the exporter cannot trace the model.
    """
    import torch

    height, width = network.input_size
    # mmpose's neck looks for a table in an attribute while it is traced, which this call makes.
    network.model.neck.switch_to_deploy({"input_size": (height, width)})
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Traced constants and the older exporter itself are warned about; the comparison is what tells.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (torch.zeros(1, 3, height, width),),
                str(path),
                # The dynamo exporter needs onnxscript, and fails on data-dependent sizes.
                dynamo=False,
                opset_version=17,
                input_names=["input"],
                output_names=["dets", "keypoints"],
                # Keypoints only for candidates: a fixed number of them costs more than the rest of RTMO-t.
                dynamic_axes={"dets": {1: "people"}, "keypoints": {1: "people"}},
            )
    # The exporter raises errors of many kinds for what it cannot trace.
    except Exception as error:
        raise FightposeError(f"this model cannot be exported: {str(error).strip().splitlines()[0]}") from error
