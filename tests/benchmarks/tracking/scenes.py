"""Synthetic close contact with known identity: poses as a pose model would report them, faults included.

A scene is fighters who circle one another and strike, and bystanders who stand or stroll. Every person is a skeleton of
17 joints whose limbs swing. What the pose model does to it, all drawn from the scene's seed:

joint noise     Gaussian, `JOINT_NOISE` of the height
drops           a detection is missing with `DROP`, in contact (IoU over `CONTACT`) with `CONTACT_DROP`
merged boxes    in contact, with `MERGE`, the box of who is in front spans both, its pose mixes both, the other is
                missing
swapped joints  each joint of someone in contact is the other's with the scene's swap rate; and with the same rate,
                for anyone, left and right of the whole pose are exchanged
low scores      scores are drawn around .75, in contact around .45
ghosts          `GHOSTS` false people a frame on average, scores .1 to .5
duplicates      `DUPLICATES` of the detections stand twice, the second one shifted and scored lower
camera shake    a jitter of `SHAKE` pixels a frame, plus a drift
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.records import Poses

FloatArray = npt.NDArray[np.floating[Any]]

WIDTH, HEIGHT, FPS = 1280, 720, 30.0
JOINT_NOISE = 0.015
DROP, CONTACT_DROP, CONTACT, MERGE = 0.03, 0.2, 0.3, 0.08
GHOSTS, DUPLICATES = 0.3, 0.04
SHAKE = 2.0

# Joints of a standing person as shares of its height: x from the body's axis, y from the top. COCO order.
_STANDING = np.array(
    [[0, .06], [.02, .05], [-.02, .05], [.04, .06], [-.04, .06], [.10, .18], [-.10, .18], [.13, .34], [-.13, .34],
     [.14, .48], [-.14, .48], [.07, .50], [-.07, .50], [.08, .73], [-.08, .73], [.08, .96], [-.08, .96]]
)  # fmt: skip
_FLIP = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])


@dataclass(frozen=True)
class Scene:
    """A synthetic clip and the truth about it.

    Attributes
    ----------
    poses
        What the pose model reports.
    boxes
        (P, T, 4) true boxes, xyxy pixels.
    keypoints
        (P, T, 17, 2) true joints, pixels.
    fighter
        (P,) bool, who fights.
    """

    poses: Poses
    boxes: FloatArray
    keypoints: FloatArray
    fighter: npt.NDArray[np.bool_]


def make_scene(seed: int, fighters: int = 2, bystanders: int = 3, frames: int = 150, swap: float = 0.0) -> Scene:
    """Return the scene of a seed; the same arguments always give the same scene.

    Parameters
    ----------
    seed
        Of numpy's default generator.
    fighters, bystanders
        How many of each.
    frames
        Length at 30 frames per second.
    swap
        Rate of swapped joints in [0, 1].
    """
    rng = np.random.default_rng(seed)
    centre, height = _paths(rng, fighters, bystanders, frames)
    fighter = np.arange(fighters + bystanders) < fighters
    keypoints = _swing(rng, centre, height, fighter)
    shake = rng.normal(0, SHAKE, (frames, 2)) + rng.normal(0, 0.3, (frames, 2)).cumsum(0)
    keypoints = keypoints + shake[None, :, None]
    boxes = _extent(keypoints, height)
    return Scene(_observe(rng, keypoints, boxes, height, swap), boxes, keypoints, fighter)


def _paths(rng: np.random.Generator, fighters: int, bystanders: int, frames: int) -> tuple[FloatArray, FloatArray]:
    """Return where everyone stands: (P, T, 2) head positions and (P, T) heights, pixels."""
    t = np.arange(frames) / FPS
    people = fighters + bystanders
    base = rng.uniform(160, 240)
    centre, height = np.zeros((people, frames, 2)), np.zeros((people, frames))
    # Fighters circle a common point that wanders; once to twice a revolution in five seconds, closing in and parting.
    hub = np.array([rng.uniform(450, 830), rng.uniform(200, 330)]) + _wander(rng, frames, 25)
    turn = rng.uniform(0.25, 0.5) * rng.choice([-1, 1])
    for p in range(fighters):
        angle = 2 * np.pi * (turn * t + p / fighters) + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 0.9) * t)
        # More fighters stand on a wider ring, as far from one another as two would.
        radius = fighters / 2 * base * (0.3 + 0.18 * np.sin(2 * np.pi * rng.uniform(0.3, 0.7) * t + rng.uniform(0, 6)))
        depth = np.sin(angle)
        centre[p] = hub + np.stack([radius * np.cos(angle), 0.25 * radius * depth], -1)
        height[p] = base * (1 + 0.04 * depth) * rng.uniform(0.94, 1.06)
    for p in range(fighters, people):
        walk = rng.choice([0.0, 1.0]) * rng.uniform(-60, 60)
        x = rng.uniform(80, 1200) + walk * t
        centre[p] = np.stack([x, np.full(frames, rng.uniform(120, 350))], -1) + _wander(rng, frames, 5)
        height[p] = rng.uniform(130, 240)
    return centre, height


def _wander(rng: np.random.Generator, frames: int, size: float) -> FloatArray:
    """Return a smooth random path, (T, 2), of about `size` pixels."""
    t = np.arange(frames)[:, None] / FPS
    return size * np.sin(2 * np.pi * rng.uniform(0.1, 0.5, (1, 2)) * t + rng.uniform(0, 6, (1, 2)))


def _swing(rng: np.random.Generator, centre: FloatArray, height: FloatArray, fighter: npt.NDArray[Any]) -> FloatArray:
    """Return true joints, (P, T, 17, 2): a standing body, limbs swinging, wide and fast where someone fights."""
    people, frames = height.shape
    t = np.arange(frames) / FPS
    reach = np.array([0, 0, 0, 0, 0, 0.1, 0.1, 0.6, 0.6, 1.0, 1.0, 0.15, 0.15, 0.4, 0.4, 0.6, 0.6])
    rate = np.where(
        fighter[:, None, None], rng.uniform(0.8, 2.2, (people, 17, 2)), rng.uniform(0.2, 0.6, (people, 17, 2))
    )
    size = np.where(fighter, 0.14, 0.03)[:, None, None] * reach[:, None]
    phase = rng.uniform(0, 6, (people, 17, 2))
    swing = size[:, None] * np.sin(2 * np.pi * rate[:, None] * t[None, :, None, None] + phase[:, None])
    # A fighter leans: the body shears sideways, which moves the head most.
    lean = np.where(fighter, 0.12, 0.02)[:, None] * np.sin(2 * np.pi * rng.uniform(0.3, 0.8, (people, 1)) * t)
    body = _STANDING + swing
    body[..., 0] += lean[..., None] * (1 - _STANDING[:, 1])
    return centre[:, :, None] + body * height[..., None, None]


def _extent(keypoints: FloatArray, height: FloatArray) -> FloatArray:
    """Return boxes around joints, (..., 4) xyxy, with the margin of flesh around them: 4 % of the height."""
    margin = 0.04 * height[..., None]
    return np.concatenate([keypoints.min(-2) - margin, keypoints.max(-2) + margin], -1)


def _partners(boxes: FloatArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return for each person and frame, (P, T), who overlaps it most and whether they are in contact."""
    a, b = boxes[:, None], boxes[None]
    size = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0)
    inter = size.prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    iou = inter / (area[:, None] + area[None] - inter)
    iou[np.arange(len(boxes)), np.arange(len(boxes))] = 0
    return iou.argmax(1), iou.max(1) > CONTACT


def _observe(rng: np.random.Generator, true: FloatArray, boxes: FloatArray, height: FloatArray, swap: float) -> Poses:
    """Return what the pose model makes of the truth."""
    people, frames = height.shape
    partner, contact = _partners(boxes)
    frame = np.broadcast_to(np.arange(frames), (people, frames))
    seen = true + rng.normal(0, 1, true.shape) * (JOINT_NOISE * height)[..., None, None]
    other = seen[partner, frame]
    foreign = (rng.random((people, frames, 17)) < swap) & contact[..., None]
    # Behind is who stands higher in the picture; only the one in front can swallow the other.
    front = contact & (boxes[..., 3] >= boxes[partner, frame, 3])
    merged = front & (rng.random((people, frames)) < MERGE)
    foreign |= merged[..., None] & (rng.random((people, frames, 17)) < 0.5)
    seen = np.where(foreign[..., None], other, seen)
    flipped = rng.random((people, frames)) < swap
    seen = np.where(flipped[..., None, None], seen[:, :, _FLIP], seen)
    box = _extent(seen, height) + rng.normal(0, 1, boxes.shape) * (0.01 * height)[..., None]
    # A box follows the person, not the swapped joints, unless it is merged.
    own = boxes + rng.normal(0, 1, boxes.shape) * (0.015 * height)[..., None]
    box = np.where(merged[..., None], box, own)
    score = np.clip(rng.normal(np.where(contact, 0.45, 0.75), 0.12), 0.05, 0.98)
    lost = rng.random((people, frames)) < np.where(contact, CONTACT_DROP, DROP)
    lost |= merged[partner, frame] & contact
    joints = np.clip(rng.normal(score[..., None], 0.1, (people, frames, 17)), 0.02, 1)
    keep = ~lost
    parts = [(frame[keep], box[keep], score[keep], seen[keep], joints[keep])]
    twice = keep & (rng.random((people, frames)) < DUPLICATES)
    moved = rng.normal(0, 0.03, (int(twice.sum()), 1, 2)) * height[twice][:, None, None]
    parts.append(
        (
            frame[twice],
            box[twice] + np.tile(moved[:, 0], 2),
            score[twice] * 0.6,
            seen[twice] + moved,
            joints[twice] * 0.6,
        )
    )
    parts.append(_ghosts(rng, frames))
    f, b, s, k, j = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(f, kind="stable")
    float32 = [column[order].astype(np.float32) for column in (b, s, k, j)]
    return Poses(f[order].astype(np.int32), *float32, frames, WIDTH, HEIGHT, FPS)


def _ghosts(rng: np.random.Generator, frames: int) -> tuple[FloatArray, ...]:
    """Return false people: frame, box, score, joints and joint scores."""
    n = int(rng.poisson(GHOSTS * frames))
    height = rng.uniform(60, 260, n)
    head = rng.uniform((60, 40), (1220, 500), (n, 2))
    joints = head[:, None] + (_STANDING + rng.normal(0, 0.04, (n, 17, 2))) * height[:, None, None]
    score = rng.uniform(0.1, 0.5, n)
    return (
        np.sort(rng.integers(0, frames, n)),
        _extent(joints, height),
        score,
        joints,
        np.clip(rng.normal(score[:, None], 0.1, (n, 17)), 0.02, 1),
    )
