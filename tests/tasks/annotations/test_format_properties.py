"""What must hold for the annotation of any tracks: it keeps the contract, and comes back as it was written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.annotations.format import build_annotation, read_annotation, write_annotation
from tasks.annotations.validate import validate_annotation
from tasks.clips.discovery import clip_record
from tasks.core.errors import ClipError
from tasks.core.records import Tracks
from tasks.core.settings import Settings, Thresholds
from tasks.involvement import select_people
from tests.tasks.involvement.test_ranking_properties import rank, scenes

OF_THE_INPUT = {"box-outside", "joint-outside"}
"""Rules on what a model may find: the scenes hold people far outside the frame."""

RESOLVED = Settings().resolve(Thresholds(quality_threshold=0.0))


def annotated(tracks: Tracks, most: int) -> dict:
    """Return the annotation of some tracks, of at most so many people."""
    chosen = RESOLVED.selection.model_copy(update={"min_track_length": 1, "max_persons": most})
    clip = clip_record(Path("/in/set"), "Fight/a.mp4", "a", Path("/out"))
    try:
        people = select_people(rank(tracks), chosen, clip.path)
    except ClipError:
        assume(False)
    return build_annotation(clip, tracks, people, RESOLVED, {"model": "none"})


@settings(max_examples=60, deadline=None)
@given(tracks=scenes(), most=st.integers(1, 6))
def test_the_annotation_of_any_tracks_keeps_the_contract(tracks, most):
    """Every rule that is not on the input; people in rank order; exact zeros where somebody is missing."""
    annotation = annotated(tracks, most)
    assert {problem.rule for problem in validate_annotation(annotation)} <= OF_THE_INPUT
    assert annotation["keypoint"].shape == (
        min(most, len(annotation["track_ids"])),
        tracks.poses.frame_count,
        17,
        2,
    )
    assert np.all(np.diff(annotation["composite_scores"]) <= 0)
    assert not annotation["keypoint"][annotation["keypoint_score"] == 0].any()


@settings(max_examples=25, deadline=None)
@given(tracks=scenes())
def test_what_is_written_is_what_is_read(tracks):
    """Through the restricted reader."""
    annotation = annotated(tracks, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pkl"
        write_annotation(path, [annotation], {"all": [annotation["frame_dir"]]})
        data = read_annotation(path)
    (back,) = data["annotations"]
    assert back.keys() == annotation.keys()
    for name in ("keypoint", "keypoint_score", "composite_scores", "track_ids"):
        np.testing.assert_array_equal(back[name], annotation[name])
