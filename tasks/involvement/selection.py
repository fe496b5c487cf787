"""Which of the ranked people reach the annotation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.core.errors import ClipError, FailureReason
from tasks.core.records import Involvement
from tasks.core.settings import SelectionSettings


def select_people(involvement: Involvement, selection: SelectionSettings, clip: Path) -> Involvement:
    """Drop tracks that are too short or too poor, and keep the first of the rest.

    Parameters
    ----------
    involvement
        All tracks of a clip in rank order.
    selection
        Minimum length, quality threshold (resolved, None keeps all) and number of people.
    clip
        The clip, for the error.

    Returns
    -------
    The kept people, at least one, still in rank order.

    Raises
    ------
    ClipError
        NO_TRACKS, INSUFFICIENT_LENGTH or LOW_QUALITY when nobody is left: an empty annotation is never written.
    """
    if not len(involvement.track_ids):
        raise ClipError(FailureReason.NO_TRACKS, clip, "nobody was followed through the clip; try a lower --score-thr")
    long_enough = involvement.length >= selection.min_track_length
    if not long_enough.any():
        raise ClipError(
            FailureReason.INSUFFICIENT_LENGTH,
            clip,
            f"the longest track has {involvement.length.max()} frames, fewer than "
            f"--min-track-length {selection.min_track_length}; lower it, or leave the clip out",
        )
    threshold = selection.quality_threshold or 0.0
    # Without a single joint a person is in no frame of an annotation, whatever the threshold.
    keep = long_enough & (involvement.quality >= threshold) & (involvement.quality > 0)
    if not keep.any():
        if not involvement.quality[long_enough].any():
            raise ClipError(FailureReason.LOW_QUALITY, clip, "nobody in it has a single joint; use a stronger --model")
        raise ClipError(
            FailureReason.LOW_QUALITY,
            clip,
            f"the best track has a mean joint score of {involvement.quality[long_enough].max():.2f}, below "
            f"--quality-threshold {threshold:g}; lower it, or use a stronger --model",
        )
    return take(involvement, np.flatnonzero(keep)[: selection.max_persons])


def take(involvement: Involvement, people: npt.NDArray) -> Involvement:
    """Return the record of some people, given as positions in rank order."""
    return replace(
        involvement,
        track_ids=involvement.track_ids[people],
        score=involvement.score[people],
        components={name: values[people] for name, values in involvement.components.items()},
        quality=involvement.quality[people],
        length=involvement.length[people],
        best_partner=involvement.best_partner[people],
        region_scores=involvement.region_scores[people],
        window_score=involvement.window_score[people],
    )
