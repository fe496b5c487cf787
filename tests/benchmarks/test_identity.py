"""The figures of the identity benchmark, on moments whose outcome is known."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.identity import Moment, found_by, measured, moments_of, reliability
from tests.benchmarks.labelled import Label
from tests.tasks.samples import sample_annotation


def test_reliability_compares_chances_with_outcomes() -> None:
    """Band by band; bands without a moment are left out."""
    chance = np.array([0.05, 0.05, 0.45, 0.45, 0.9])
    real = np.array([False, False, True, False, True])
    assert reliability(chance, real) == [(0.05, 0.0, 2), (0.45, 0.5, 2), (0.9, 1.0, 1)]


def moment(clip: int, tracks: set[int], real: bool = True, source: str = "a") -> Moment:
    """Return a moment from frame 10 to frame 20."""
    return Moment(clip, source, 10, 20, tracks, real, np.zeros(6))


def test_an_entry_finds_a_moment_by_one_of_its_tracks_and_its_time() -> None:
    """Within a quarter of a second, and among the first entries only."""
    clips = [{"fps": 20.0}]
    for entry, found in (((15, {1, 2}), 1), ((24, {1}), 1), ((15, {3}), 0), ((40, {1}), 0)):
        assert found_by(clips, [moment(0, {1})], [[entry]], 1) == found
    assert found_by(clips, [moment(0, {1})], [[(15, {3}), (15, {1})]], 1) == 0
    assert found_by(clips, [moment(0, {1}), moment(0, {7}, real=False)], [[(15, {1})]], 3) == 1


def test_moments_say_who_was_exchanged() -> None:
    """Two labelled people who change tracks are two real moments; kept ones are none."""
    annotation = sample_annotation(2, 40)
    annotation["bbox"][:, 5] = annotation["bbox"][:, 6]
    first, second = (annotation["bbox"][row, 6].tolist() for row in (0, 1))
    frames = {
        frame: [{"person": "x", "role": "fighter", "box": one}, {"person": "y", "role": "fighter", "box": other}]
        for frame, one, other in ((6, first, second), (12, *annotation["bbox"][:, 12].tolist()))
    }
    kept = moments_of(0, Label("a", "s", frames), annotation)
    assert [one.real for one in kept] == [False, False]
    for person, name in zip(frames[12], "yx", strict=True):
        person["person"] = name
    lost = moments_of(0, Label("a", "s", frames), annotation)
    assert [(one.real, one.tracks) for one in lost] == [(True, {0, 1}), (True, {0, 1})]
    result = measured([annotation], [*kept, *lost])
    assert (result["moments"], result["real"]) == (4, 2)
