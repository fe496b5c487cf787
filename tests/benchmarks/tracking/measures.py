"""HOTA, IDF1, MOTA and ID switches of tracks against known people, computed by `trackers.eval`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from trackers.eval import (
    aggregate_clear_metrics,
    aggregate_hota_metrics,
    aggregate_identity_metrics,
    compute_clear_metrics,
    compute_hota_metrics,
    compute_identity_metrics,
)

from tasks.core.geometry import iou
from tasks.core.records import Tracks

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class People:
    """People in a clip, known or tracked: one row per person and frame, sorted by frame.

    Attributes
    ----------
    frame, person
        (N,) integers from 0.
    bbox
        (N, 4) xyxy pixels.
    ignore
        (N,) bool: neither to be found nor a mistake to be found (ground truth only).
    """

    frame: npt.NDArray[np.integer[Any]]
    person: npt.NDArray[np.integer[Any]]
    bbox: FloatArray
    ignore: npt.NDArray[np.bool_]


def people_of(tracks: Tracks) -> People:
    """Return tracks in the form that is compared with the truth."""
    person = np.unique(tracks.track_id, return_inverse=True)[1]
    return People(tracks.poses.frame_index, person, tracks.poses.bbox.astype(float), np.zeros(len(tracks), bool))


@dataclass(frozen=True)
class Measured:
    """The three families of figures of one clip, as `trackers.eval` computes them."""

    clear: dict[str, Any]
    hota: dict[str, Any]
    identity: dict[str, Any]


def measure(truth: People, found: People, frames: int) -> Measured:
    """Compare tracked people with the truth over a clip of `frames` frames.

    People marked `ignore` are matched first and leave with the tracked rows that they match, as MOTChallenge does.
    """
    truth_ids, found_ids, fits = [], [], []
    for f in range(frames):
        t, d = np.flatnonzero(truth.frame == f), np.flatnonzero(found.frame == f)
        fit = iou(truth.bbox[t][:, None], found.bbox[d][None])
        wanted = ~truth.ignore[t]
        rows, columns = linear_sum_assignment(np.where(fit >= 0.5, fit, 0), maximize=True)
        spare = np.ones(len(d), bool)
        spare[columns[(fit[rows, columns] >= 0.5) & ~wanted[rows]]] = False
        truth_ids.append(truth.person[t[wanted]])
        found_ids.append(found.person[d[spare]])
        fits.append(fit[wanted][:, spare])
    # The measures index arrays by ID: IDs must be dense among what is left.
    truth_ids, found_ids = _dense(truth_ids), _dense(found_ids)
    return Measured(
        compute_clear_metrics(truth_ids, found_ids, fits),
        compute_hota_metrics(truth_ids, found_ids, fits),
        compute_identity_metrics(truth_ids, found_ids, fits),
    )


def _dense(ids: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Return the frames' IDs renumbered from 0 without holes."""
    flat = np.concatenate([np.zeros(0, np.intp), *ids])
    known = np.unique(flat)
    return [np.searchsorted(known, frame) for frame in ids]


def combine(measured: list[Measured]) -> dict[str, float]:
    """Return the figures over several clips, in percent but for the count of switches."""
    clear = aggregate_clear_metrics([m.clear for m in measured])
    hota = aggregate_hota_metrics([m.hota for m in measured])
    identity = aggregate_identity_metrics([m.identity for m in measured])
    return {
        "HOTA": 100 * float(hota["HOTA"]),
        "IDF1": 100 * float(identity["IDF1"]),
        "MOTA": 100 * float(clear["MOTA"]),
        "IDSW": int(clear["IDSW"]),
    }
