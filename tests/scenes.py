"""Synthetic scenes: people of known place, track and score, for the tests and benchmarks of what is drawn."""

import numpy as np

from tasks.core.records import Involvement, Poses, RegionWeights, Tracks

# A standing person in a unit box, COCO order.
_BODY = np.array(
    [
        (0.50, 0.06), (0.53, 0.04), (0.47, 0.04), (0.57, 0.06), (0.43, 0.06), (0.66, 0.20), (0.34, 0.20), (0.80, 0.36),
        (0.20, 0.36), (0.85, 0.50), (0.15, 0.50), (0.60, 0.52), (0.40, 0.52), (0.62, 0.75), (0.38, 0.75), (0.64, 0.97),
        (0.36, 0.97),
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
    body = np.repeat(_BODY[None], len(left), axis=0)
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
