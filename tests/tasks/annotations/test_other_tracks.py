"""The people that an annotation leaves out are kept beside it, and never taken for those of another annotation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.annotations.format import build_annotation
from tasks.annotations.other_tracks import load_other_tracks, other_tracks, save_other_tracks
from tasks.involvement.selection import take
from tests.tasks.samples import SETTINGS, sample_clip, sample_involvement, sample_tracks


@pytest.mark.parametrize("people", [1, 2, 3])
def test_what_is_kept_is_read_again(tmp_path: Path, people: int) -> None:
    """Every row and value, also where nobody is left out."""
    tracks, ranking = sample_tracks(), sample_involvement([3, 2, 1])
    annotation = build_annotation(sample_clip(), tracks, take(ranking, np.arange(people)), SETTINGS, {})
    others = other_tracks(tracks, ranking, annotation["track_ids"])
    save_other_tracks(tmp_path / "a.npz", others, annotation)
    again = load_other_tracks(tmp_path / "a.npz", annotation)
    assert again is not None
    assert again.ids == [3, 2, 1][people:]
    np.testing.assert_array_equal(again.tracks.track_id, others.tracks.track_id)
    np.testing.assert_array_equal(again.tracks.poses.keypoints, others.tracks.poses.keypoints)
    # Joined to the annotation, all three are what they are in an annotation of three.
    whole = build_annotation(sample_clip(), tracks, ranking, SETTINGS, {})
    np.testing.assert_equal(again.joined_to(annotation, {1, 2, 3}), whole)


def test_an_older_or_damaged_file_is_not_used(tmp_path: Path) -> None:
    """The page then shows the annotated people only."""
    tracks, ranking = sample_tracks(), sample_involvement([3, 2, 1])
    first, second = (
        build_annotation(sample_clip(), tracks, take(ranking, np.array([place])), SETTINGS, {}) for place in (0, 1)
    )
    path = tmp_path / "a.npz"
    assert load_other_tracks(path, first) is None
    save_other_tracks(path, other_tracks(tracks, ranking, first["track_ids"]), first)
    assert load_other_tracks(path, second) is None
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert load_other_tracks(path, first) is None
