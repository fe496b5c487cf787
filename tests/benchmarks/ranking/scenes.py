"""Synthetic scenes that are hard to rank, as tracks of known role: what tracking hands on, with its faults.

Each scene has two or three people who fight and others who do not. Joints carry noise of 1.5 % of the body height, a
few joints are swapped, detections drop out (more in contact), and ghosts flicker. Motion is set so that the measured
limb speeds are those of the labelled clips (body sizes per second over 0.2 s: fighters about 0.5, the stillest
twentieth of them 0.25, bystanders 0.15 to 0.2, ghosts 0.4). The scenarios add what misleads rules:

hugging_pair       two people embrace, close and still; the fight is elsewhere
runners_passing    people run past the fight, limbs swinging, through the frame's middle
three_person_fight three fight, everyone strikes at the next one
one_sided_attack   one strikes, the other is on the ground and hardly moves
camera_shake       the whole picture trembles and pans
id_switches        every track breaks every second or so and goes on under a new ID
half_out_of_frame  the fight is at the edge of the frame, bodies cut off; bystanders stand in the middle
near_bystander     someone stands near the camera, twice as large as those who fight
crowd              thirty people stand and stroll about
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.records import Poses, Tracks

Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT, FPS, FRAMES = 1280, 720, 30.0, 120
NOISE = 0.015
SWAPPED = 0.03
DROPPED, DROPPED_IN_CONTACT = 0.05, 0.25
GHOSTS = 4

# Joints of a standing person in body heights: x from the body's axis, y from the top. COCO order.
STANDING = np.array(
    [
        (0.00, 0.06), (0.02, 0.05), (-0.02, 0.05), (0.04, 0.06), (-0.04, 0.06),
        (0.10, 0.19), (-0.10, 0.19), (0.14, 0.34), (-0.14, 0.34), (0.15, 0.48), (-0.15, 0.48),
        (0.07, 0.51), (-0.07, 0.51), (0.08, 0.74), (-0.08, 0.74), (0.08, 0.96), (-0.08, 0.96),
    ]
)  # fmt: skip
FLIPPED = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])
T = np.arange(FRAMES) / FPS


@dataclass
class Person:
    """One person: head (T, 2) and height in pixels, joints around the head in body heights, and the role."""

    head: Floats
    height: float
    body: Floats
    role: str
    present: npt.NDArray[np.bool_] = field(default_factory=lambda: np.ones(FRAMES, bool))


def _arms(rng: np.random.Generator, size: float, rate: float) -> Floats:
    """Joints (T, 17, 2) of a standing body whose limbs swing `size` body heights at about `rate` Hz."""
    reach = np.array([0.1] * 5 + [0.15, 0.15, 0.6, 0.6, 1.0, 1.0, 0.15, 0.15, 0.35, 0.35, 0.5, 0.5])
    rates = rate * rng.uniform(0.7, 1.3, (17, 2))
    swing = reach[:, None] * size * np.sin(2 * np.pi * rates * T[:, None, None] + rng.uniform(0, 6.3, (17, 2)))
    return STANDING + swing


def _wander(rng: np.random.Generator, size: float) -> Floats:
    """Return a smooth path (T, 2) of about `size` pixels."""
    return size * np.sin(2 * np.pi * rng.uniform(0.1, 0.5, 2) * T[:, None] + rng.uniform(0, 6.3, 2))


def fighter(rng: np.random.Generator, place: Any, towards: int, height: float) -> Person:
    """Someone who strikes in bursts towards one side (+1 right, -1 left), stepping in and out."""
    body = _arms(rng, 0.18, 1.6)
    beat = np.maximum(0, np.sin(2 * np.pi * rng.uniform(0.7, 1.3) * T + rng.uniform(0, 6.3))) ** 2
    for joint, gain in ((9, 0.4), (7, 0.2), (10, 0.3), (8, 0.15)):
        body[:, joint, 0] += towards * gain * beat
        body[:, joint, 1] -= gain * 0.5 * beat
    step = 0.2 * height * np.sin(2 * np.pi * rng.uniform(0.4, 0.9) * T + rng.uniform(0, 6.3))
    head = np.asarray(place, float) + _wander(rng, 8) + np.stack([step, 0.2 * step], 1)
    return Person(head, height, body, "fighter")


def bystander(rng: np.random.Generator, place: Any = None, height: float | None = None) -> Person:
    """Someone who stands, or strolls at up to half a body height a second, gesturing a little."""
    height = height or rng.uniform(130, 230)
    place = np.array([rng.uniform(80, 1200), rng.uniform(60, 400)]) if place is None else np.asarray(place, float)
    stroll = rng.choice([0.0, 0.0, 1.0]) * rng.uniform(-0.4, 0.4) * height
    head = place + _wander(rng, 5) + np.stack([stroll * T, np.zeros(FRAMES)], 1)
    return Person(head, height, _arms(rng, rng.uniform(0.01, 0.05), 0.5), "bystander")


def _pair(rng: np.random.Generator, x: float, y: float, height: float) -> list[Person]:
    """Two people at arm's length who strike at one another."""
    gap = rng.uniform(0.2, 0.35) * height
    return [fighter(rng, (x - gap, y), 1, height), fighter(rng, (x + gap, y), -1, height * rng.uniform(0.92, 1.08))]


def _somewhere(rng: np.random.Generator) -> list[Person]:
    """Place a fight of two anywhere that the frame holds it."""
    return _pair(rng, rng.uniform(300, 980), rng.uniform(120, 360), rng.uniform(150, 240))


def _hugging(rng: np.random.Generator) -> list[Person]:
    x, y, height = rng.uniform(200, 1080), rng.uniform(100, 350), rng.uniform(150, 250)
    hug = [bystander(rng, (x + side * 0.08 * height, y), height) for side in (-1, 1)]
    return [*_somewhere(rng), *hug, bystander(rng)]


def _runners(rng: np.random.Generator) -> list[Person]:
    people = _somewhere(rng)
    for _ in range(2):
        height = rng.uniform(150, 220)
        speed = rng.uniform(1.2, 1.8) * height * rng.choice([-1, 1])
        start = rng.uniform(0, 2)
        head = np.stack([640 + speed * (T - start - 1), np.full(FRAMES, rng.uniform(100, 380))], 1)
        body = _arms(rng, 0.02, 1.0)
        for joint, gain in (
            (9, 0.12),
            (10, -0.12),
            (7, 0.06),
            (8, -0.06),
            (13, 0.08),
            (14, -0.08),
            (15, 0.16),
            (16, -0.16),
        ):
            body[:, joint, 0] += gain * np.sin(2 * np.pi * 1.4 * T)
        people.append(Person(head, height, body, "bystander", (head[:, 0] > 0) & (head[:, 0] < WIDTH)))
    return [*people, bystander(rng), bystander(rng)]


def _three(rng: np.random.Generator) -> list[Person]:
    x, y, height = rng.uniform(350, 930), rng.uniform(120, 340), rng.uniform(150, 230)
    third = fighter(rng, (x, y - 0.15 * height), rng.choice([-1, 1]), height)
    return [*_pair(rng, x, y, height), third, *(bystander(rng) for _ in range(3))]


def _one_sided(rng: np.random.Generator) -> list[Person]:
    x, y, height = rng.uniform(350, 930), rng.uniform(120, 330), rng.uniform(160, 230)
    attacker = fighter(rng, (x, y), 1, height)
    # On the ground: the body turned by a right angle, feet away from the attacker, jerking now and then.
    body = _arms(rng, 0.09, 1.1)[..., ::-1] * np.array([1.0, 0.6])
    jerk = np.maximum(0, np.sin(2 * np.pi * 1.2 * T + 1)) ** 2
    body[:, [7, 9, 13, 15], 1] -= 0.18 * jerk[:, None]
    head = np.array([x + 0.1 * height, y + 0.75 * height]) + _wander(rng, 3)
    return [attacker, Person(head, height, body, "fighter"), *(bystander(rng) for _ in range(3))]


def _shaking(rng: np.random.Generator) -> list[Person]:
    people = [*_somewhere(rng), *(bystander(rng) for _ in range(3))]
    shake = rng.normal(0, 4, (FRAMES, 2)) + np.cumsum(rng.normal(0, 0.8, (FRAMES, 2)), 0)
    for person in people:
        person.head = person.head + shake
    return people


def _plain(rng: np.random.Generator) -> list[Person]:
    return [*_somewhere(rng), *(bystander(rng) for _ in range(3))]


def _half_out(rng: np.random.Generator) -> list[Person]:
    height = rng.uniform(180, 260)
    x = rng.choice([0.0, float(WIDTH)])
    inner = rng.uniform(0.3, 0.5) * height
    return [
        *_pair(rng, x + inner if x == 0 else x - inner, rng.uniform(150, 400), height),
        *(bystander(rng, (rng.uniform(450, 830), rng.uniform(100, 350))) for _ in range(3)),
    ]


def _near(rng: np.random.Generator) -> list[Person]:
    fight = _pair(rng, rng.uniform(300, 980), rng.uniform(100, 260), rng.uniform(150, 200))
    return [*fight, bystander(rng, (rng.uniform(200, 1080), 200), 420), bystander(rng)]


def _crowd(rng: np.random.Generator) -> list[Person]:
    return [*_somewhere(rng), *(bystander(rng) for _ in range(30))]


SCENARIOS: dict[str, Callable[[np.random.Generator], list[Person]]] = {
    "hugging_pair": _hugging,
    "runners_passing": _runners,
    "three_person_fight": _three,
    "one_sided_attack": _one_sided,
    "camera_shake": _shaking,
    "id_switches": _plain,
    "half_out_of_frame": _half_out,
    "near_bystander": _near,
    "crowd": _crowd,
}


def make_scene(scenario: str, seed: int) -> tuple[Tracks, dict[int, str]]:
    """Make the tracks of a scene, and the role of each.

    Parameters
    ----------
    scenario
        A name of `SCENARIOS`.
    seed
        The same arguments always give the same scene.

    Returns
    -------
    tracks
        Without estimated rows.
    roles
        Track ID to `fighter`, `bystander` or `unknown` (a ghost).
    """
    rng = np.random.default_rng([seed, list(SCENARIOS).index(scenario)])
    people = SCENARIOS[scenario](rng)
    boxes = np.stack([_box(p.head[:, None] + p.body * p.height, p.height) for p in people])
    found: list[tuple[str, dict[str, npt.NDArray[Any]]]] = []
    for index, person in enumerate(people):
        rows = _observe(rng, person, _in_contact(boxes, index))
        # A broken track: a new ID about every second.
        piece = rows["frame"] // int(rng.integers(25, 45)) if scenario == "id_switches" else rows["frame"] * 0
        for value in np.unique(piece):
            found.append((person.role, {name: v[piece == value] for name, v in rows.items()}))
    found += [("unknown", _ghost(rng)) for _ in range(GHOSTS)]
    # IDs in any order: ties are broken by ID, and must not favour the fighters for being made first.
    ids = rng.permutation(len(found)) + 1
    roles = {int(i): role for i, (role, _) in zip(ids, found, strict=True)}
    return _tracks([rows | {"id": i} for i, (_, rows) in zip(ids, found, strict=True)]), roles


def _box(joints: Floats, height: float) -> Floats:
    """Boxes (T, 4) around joints (T, 17, 2), with a margin of 4 % of the height."""
    return np.concatenate([joints.min(1) - 0.04 * height, joints.max(1) + 0.04 * height], axis=1)


def _in_contact(boxes: Floats, index: int) -> npt.NDArray[np.bool_]:
    """Whether a person's box overlaps anyone else's by more than a quarter of its area, (T,)."""
    own, others = boxes[index], np.delete(boxes, index, axis=0)
    shared = np.maximum(np.minimum(own[:, 2:], others[..., 2:]) - np.maximum(own[:, :2], others[..., :2]), 0).prod(-1)
    return (shared > 0.25 * (own[:, 2:] - own[:, :2]).prod(-1)).any(0)


def _observe(rng: np.random.Generator, person: Person, contact: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[Any]]:
    """Return what pose model and tracker make of a person: noise, swaps, drop-outs, no joints outside the frame."""
    joints = person.head[:, None] + person.body * person.height
    joints = joints + rng.normal(0, NOISE * person.height, joints.shape)
    swapped = rng.random(FRAMES) < SWAPPED
    joints[swapped] = joints[swapped][:, FLIPPED]
    scores = np.clip(rng.normal(np.where(contact, 0.4, 0.6)[:, None], 0.1, (FRAMES, 17)), 0.05, 1)
    outside = ((joints < 0) | (joints > (WIDTH, HEIGHT))).any(-1)
    scores = np.where(outside, 0, scores)
    kept = rng.random(FRAMES) >= np.where(contact, DROPPED_IN_CONTACT, DROPPED)
    kept &= person.present & ((scores > 0).sum(1) >= 5)
    box = np.clip(_box(joints, person.height), 0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
    return {
        "frame": np.flatnonzero(kept),
        "bbox": box[kept],
        "keypoints": np.where(outside[..., None], 0, joints)[kept],
        "scores": scores[kept],
    }


def _ghost(rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Return a false person: a third to a half of a second long, trembling, poorly seen."""
    length = int(rng.integers(10, 16))
    height = rng.uniform(60, 260)
    head = rng.uniform((60, 40), (1220, 450))
    joints = head + (STANDING + rng.normal(0, 0.05, (length, 17, 2))) * height
    start = int(rng.integers(0, FRAMES - length))
    return {
        "frame": np.arange(start, start + length),
        "bbox": np.clip(_box(joints, height), 0, (WIDTH, HEIGHT, WIDTH, HEIGHT)),
        "keypoints": joints,
        "scores": np.clip(rng.normal(0.2, 0.08, (length, 17)), 0.02, 1),
    }


def _tracks(parts: list[dict[str, npt.NDArray[Any]]]) -> Tracks:
    """Join the rows of all tracks, sorted by frame."""
    frame = np.concatenate([p["frame"] for p in parts])
    ids = np.concatenate([np.full(len(p["frame"]), p["id"]) for p in parts])
    order = np.lexsort((ids, frame))
    bbox, keypoints, scores = (
        np.concatenate([p[name] for p in parts])[order].astype(np.float32) for name in ("bbox", "keypoints", "scores")
    )
    poses = Poses(frame[order].astype(np.int32), bbox, scores.mean(1), keypoints, scores, FRAMES, WIDTH, HEIGHT, FPS)
    return Tracks(poses, ids[order].astype(np.int32), np.zeros(len(order), bool))
