"""People of known place, track and score: the one stick figure of the tests and benchmarks."""

from __future__ import annotations

import numpy as np

from tasks.core.records import Involvement, Poses, RegionWeights, Tracks

# A standing person as shares of its box: x, y of COCO's 17 joints.
STANDING = np.array(
    [
        (0.50, 0.06), (0.54, 0.04), (0.46, 0.04), (0.58, 0.06), (0.42, 0.06),
        (0.75, 0.20), (0.25, 0.20), (0.85, 0.36), (0.15, 0.36), (0.90, 0.50), (0.10, 0.50),
        (0.65, 0.52), (0.35, 0.52), (0.65, 0.75), (0.35, 0.75), (0.65, 0.97), (0.35, 0.97),
    ]
)  # fmt: skip


def standing_people(
    size: tuple[int, int], people: int = 2, frames: int = 12, joint_score: float = 0.8, fps: float = 25.0
) -> Tracks:
    """Return people side by side who swing their arms, one row per person and frame, IDs from 1 from left to right.

    Parameters
    ----------
    size
        Width and height of the frame in pixels.
    people, frames
        How many.
    joint_score
        Score of every joint.
    fps
        Frames per second.
    """
    width, height = size
    body_height, body_width = height * 0.4, height * 0.18
    frame_index = np.repeat(np.arange(frames, dtype=np.int32), people)
    track_id = np.tile(np.arange(1, people + 1, dtype=np.int32), frames)
    left = width * (track_id - 0.5) / people - body_width / 2
    top = np.full_like(left, height * 0.35)
    body = np.repeat(STANDING[None], len(left), axis=0)
    body[:, 7:11, 1] += 0.05 * np.sin(frame_index / 3)[:, None]
    origin = np.stack([left, top], axis=1)
    extent = np.array([body_width, body_height])
    poses = Poses(
        frame_index,
        np.concatenate([origin, origin + extent], axis=1).astype(np.float32),
        np.full(len(left), 0.9, np.float32),
        (origin[:, None] + body * extent).astype(np.float32),
        np.full((len(left), 17), joint_score, np.float32),
        frames,
        width,
        height,
        fps,
    )
    return Tracks(poses, track_id, np.zeros(len(left), np.bool_))


def ranked_by_id(tracks: Tracks, window: int = 4) -> Involvement:
    """Return an involvement that ranks the tracks by their ID, with time windows of `window` frames."""
    ids, frames = tracks.ids, tracks.poses.frame_count
    count = len(ids)
    edges = np.append(np.arange(0, frames, window), frames).astype(np.int32)
    score = np.linspace(0.9, 0.3, count, dtype=np.float32)
    weights = np.array([0.7, 0.7, 0.8, 0.8, 1.0], np.float32)
    return Involvement(
        track_ids=ids,
        score=score,
        components={"movement": score},
        quality=np.full(count, 0.8, np.float32),
        length=np.full(count, frames, np.int32),
        best_partner=np.zeros(count, np.int32),
        region_scores=np.zeros((count, 5), np.float32),
        region_weights=RegionWeights(weights, weights[None]),
        window_frames=edges,
        window_score=np.repeat(score[:, None], len(edges) - 1, axis=1),
    )


def person(
    frames: np.ndarray,
    centre: np.ndarray,
    height: float = 100.0,
    swing: float = 0.0,
    rate: float = 2.0,
    fps: float = 25.0,
    score: float = 0.9,
) -> dict[str, np.ndarray]:
    """Rows of one person: box centres (N, 2) px, limbs swinging `swing` heights at `rate` Hz."""
    frames = np.asarray(frames)
    centre = np.broadcast_to(np.asarray(centre, float), (len(frames), 2))
    size = np.array([0.4 * height, height])
    keypoints = centre[:, None] + (STANDING - 0.5) * size
    phase = np.sin(2 * np.pi * rate * frames / fps) * swing * height
    for joint, sign in ((9, 1), (10, -1), (7, 0.5), (8, -0.5), (15, -0.5), (16, 0.5)):
        keypoints[:, joint, 0] += sign * phase
    return {
        "frame": frames,
        "bbox": np.concatenate([centre - size / 2, centre + size / 2], axis=1),
        "keypoints": keypoints,
        "scores": np.full((len(frames), 17), score),
        "filled": np.zeros(len(frames), bool),
    }


def tracks_of(
    people: list[dict[str, np.ndarray]],
    frame_count: int,
    width: int = 640,
    height: int = 360,
    fps: float = 25.0,
) -> Tracks:
    """Join the rows of people into tracks with IDs 1, 2, ... in the order given."""
    track = np.concatenate([np.full(len(p["frame"]), i + 1) for i, p in enumerate(people)] or [np.zeros(0)])
    parts = {
        name: np.concatenate([p[name] for p in people]) if people else np.zeros(shape)
        for name, shape in {
            "frame": (0,), "bbox": (0, 4), "keypoints": (0, 17, 2), "scores": (0, 17), "filled": (0,)
        }.items()
    }  # fmt: skip
    order = np.lexsort((track, parts["frame"]))
    poses = Poses(
        parts["frame"][order].astype(np.int32),
        parts["bbox"][order].astype(np.float32),
        parts["scores"][order].mean(1).astype(np.float32) if people else np.zeros(0, np.float32),
        parts["keypoints"][order].astype(np.float32),
        parts["scores"][order].astype(np.float32),
        frame_count,
        width,
        height,
        fps,
    )
    return Tracks(poses, track[order].astype(np.int32), parts["filled"][order].astype(bool))
