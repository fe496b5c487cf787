"""Boxes that end where a nearer person begins.

A pose model guesses the joints of a whole body and draws its box around them, also where half of the body is hidden
behind somebody else. A joint is taken as hidden if it is seen far less surely than the person's best joints and lies
within the box of somebody nearer to the camera, whose feet are lower in the picture.

The boxes are for annotation and overlay. How large a body is and how fast it moves for its size does not depend on who
is in front, so that the ranking takes the whole ones.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tasks.core.geometry import overlap, pairs_within_frames
from tasks.core.records import BoolArray, Poses, Tracks
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.tracking.smoothing import mean_nearby

WEAK = 0.6
"""Hidden joints score less than this share of the mean of the person's `BEST` best joints."""

BEST = 6

NEARER = 0.05
"""A person whose box ends lower by this share of a person's height is nearer to the camera."""

SURE = 0.5
"""A person who hides somebody scores at least this share of that person's score: a ghost hides nobody."""

MARGIN = 0.06
"""What is left below the lowest joint that is seen, as a share of the height."""

LEAST = 0.35
"""Of the height, so much stays: a head and shoulders, when all other joints are hidden."""


def end_at_nearer(tracks: Tracks) -> Tracks:
    """Return the tracks with boxes that end below the lowest joint that nobody hides; all else stays as it is.

    Boxes are cut at their lower side alone: cameras look down, so that the nearer person hides legs. How much is cut
    changes as slowly as boxes do (`smooth`). People without joints keep their boxes.
    """
    poses = tracks.poses
    # y grows downwards: the largest y is the lowest joint that nobody hides.
    heights = np.where(_hidden(poses), -np.inf, poses.keypoints[..., 1]).max(axis=1)
    top, bottom = poses.bbox[:, 1], poses.bbox[:, 3]
    height = bottom - top
    end = np.clip(heights + MARGIN * height, top + LEAST * height, bottom)
    # Only where a hidden joint lies lower than all seen ones is there anything to cut.
    cut = np.where(heights < poses.keypoints[..., 1].max(axis=1), bottom - end, 0)
    bbox = poses.bbox.copy()
    bbox[:, 3] -= mean_nearby(tracks, cut[:, None])[:, 0]
    return Tracks(dataclasses.replace(poses, bbox=bbox), tracks.track_id, tracks.filled)


def _hidden(poses: Poses) -> BoolArray:
    """Return which joints of each row are hidden behind somebody nearer, (N, 17) bool."""
    covered = np.zeros((len(poses), NUM_KEYPOINTS), bool)
    height = poses.bbox[:, 3] - poses.bbox[:, 1]
    for pair in pairs_within_frames(poses.frame_index):
        touch = overlap(poses.bbox[pair[0]], poses.bbox[pair[1]]) > 0
        for behind, nearer in (pair, pair[::-1]):
            below = poses.bbox[nearer, 3] - poses.bbox[behind, 3] > NEARER * height[behind]
            hides = touch & below & (poses.score[nearer] >= SURE * poses.score[behind])
            a, joints, box = behind[hides], poses.keypoints[behind[hides]], poses.bbox[nearer[hides], None]
            within = (joints > box[..., :2]) & (joints < box[..., 2:])
            # One person may be hidden behind several.
            np.logical_or.at(covered, a, within.all(axis=-1))
    best = np.sort(poses.keypoint_scores, axis=1)[:, -BEST:].mean(axis=1, keepdims=True)
    return np.asarray(covered & (poses.keypoint_scores < WEAK * best), bool)
