"""Region weights of a camera, learned from many of its clips: a fixed camera sees its fights in the same places.

Clips are grouped by camera: by what a pattern finds in their identifier, else by their folder, the label folders
`Fight` and `NonFight` taken out, so that both halves of a data set share what is learned. Per camera

    observed_r = mean over clips of (region score s_r of the first two people, weighted by their involvement)
    w          = (c * initial + n * observed / max observed) / (c + n),   divided by its largest

with n the number of clips and c = 5: a handful of clips only nudges the weights that hold for any camera. Where a
camera has clips labelled as fights, only these are learned from; the weights over all clips serve unknown cameras.
The result is a small JSON file, and the start from which `tasks.regions.clip_weights` learns each clip's own weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.clips.labels import matcher
from tasks.core.errors import FightposeError
from tasks.core.region_layout import LAYOUT, REGIONS
from tasks.core.settings.camera_weights import CameraWeights
from tasks.core.text import normal

INITIAL_WEIGHTS = np.array([region.weight for region in LAYOUT])
"""Weights before anything is known, order of `REGIONS`: the middle first, then what is near the camera."""

INITIAL_CLIPS = 5
"""How many clips the initial weights are worth."""

LABEL_FOLDERS = {"fight", "nonfight"}

FIGHTERS = 2
"""People of a clip that are learned from: those that STGCN++ is shown."""

EVERYWHERE = ""
"""Name of the group of all clips."""


def start_weights(cameras: CameraWeights | None, frame_dir: str) -> npt.NDArray[np.float64]:
    """Return the weights to start a clip from, (5,): its camera's, else those over all clips, else the initial ones.

    Parameters
    ----------
    cameras
        What was learned before; None where nothing was.
    frame_dir
        The clip's identifier.
    """
    if cameras is None:
        return INITIAL_WEIGHTS.copy()
    row = cameras.weights.get(camera_of(frame_dir, cameras.camera_pattern), cameras.weights.get(EVERYWHERE))
    return INITIAL_WEIGHTS.copy() if row is None else np.array(row)


def camera_of(frame_dir: str, pattern: str | None = None) -> str:
    """Return the camera of a clip.

    Parameters
    ----------
    frame_dir
        The clip's identifier: its relative path without ending.
    pattern
        Regular expression; its first group, else its whole match, names the camera. A clip that it does not match, and
        every clip where it is None, belongs to its folder without the label folders.
    """
    found = _found(pattern, frame_dir)
    if found:
        # An optional group that matched nothing gives None: such a clip counts among all clips only.
        return str((found.groups() or (found.group(),))[0] or "")
    folders = PurePosixPath(frame_dir).parent.parts
    return "/".join(part for part in folders if part.lower() not in LABEL_FOLDERS)


def _found(pattern: str | None, frame_dir: str) -> re.Match[str] | None:
    """Return what a pattern finds in an identifier; an accent counts however either of them stores it."""
    return re.search(normal(pattern), normal(frame_dir)) if pattern else None


def learn_camera_weights(annotations: Iterable[Mapping[str, Any]], pattern: str | None = None) -> CameraWeights:
    """Learn the region weights of every camera from the annotations of its clips.

    Parameters
    ----------
    annotations
        Annotations as `tasks.annotations.format` builds them, people in rank order; other people's, which lack the
        scores, are passed over.
    pattern
        Finds the camera in `frame_dir`, see `camera_of`.

    Returns
    -------
    The weights; without usable annotations those of no camera.

    Raises
    ------
    FightposeError
        If the pattern is not a regular expression, or matches none of the clips.
    """
    if pattern is not None:
        # Compiled once here: what is no regular expression is one clear line, before anything is read.
        matcher(pattern)
    seen: dict[str, list[tuple[int, npt.NDArray[np.float64]]]] = {}
    unmatched = ""
    matches = 0
    for annotation in annotations:
        usage = _usage(annotation)
        if usage is not None:
            row = (int(annotation.get("label", 0)), usage)
            name = str(annotation.get("frame_dir", ""))
            matches += _found(pattern, name) is not None
            unmatched = unmatched or name
            camera = camera_of(name, pattern)
            # A set: a camera without a name would otherwise count its clips twice.
            for group in {EVERYWHERE, camera}:
                seen.setdefault(group, []).append(row)
    # Every clip would silently belong to its folder.
    if seen and pattern and not matches:
        raise FightposeError(f"the camera pattern {pattern!r} matches none of the clips, such as {unmatched}")
    weights, clips = {}, {}
    for group in sorted(seen):
        fights = [usage for label, usage in seen[group] if label == 1]
        # Clips without a fight show where people walk: they serve only where nothing else is known.
        used = fights or [usage for _, usage in seen[group]]
        weights[group], clips[group] = _blend(np.array(used)), len(used)
    return CameraWeights(camera_pattern=pattern, weights=weights, clips=clips)


def _usage(annotation: Mapping[str, Any]) -> npt.NDArray[np.float64] | None:
    """Return how much the first people of a clip use each region, (5,), None where the annotation does not say."""
    breakdown, scores = annotation.get("region_breakdown"), annotation.get("composite_scores")
    if not isinstance(breakdown, Mapping) or not set(REGIONS) <= breakdown.keys() or scores is None:
        return None
    involvement = np.asarray(scores, np.float64)[:FIGHTERS]
    regions = np.stack([np.asarray(breakdown[name], np.float64)[:FIGHTERS] for name in REGIONS], axis=1)
    # `not ... > 0` refuses NaN as well, which `<= 0` would let through.
    if not involvement.sum() > 0 or not regions.max(initial=0.0) > 0:
        return None
    return np.asarray(involvement @ regions / involvement.sum())


def _blend(usage: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Return a camera's weights from the usage of its clips, (n, 5)."""
    observed = usage.mean(axis=0)
    # Relative to the region used most: only proportions are learned, not how much was going on.
    blended = (INITIAL_CLIPS * INITIAL_WEIGHTS + len(usage) * observed / observed.max()) / (INITIAL_CLIPS + len(usage))
    return tuple((blended / blended.max()).round(4).tolist())
