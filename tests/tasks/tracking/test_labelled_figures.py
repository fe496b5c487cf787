"""The figures on labelled clips, on a case worked out by hand."""

import numpy as np
import pytest

from tests.benchmarks.labelled import Label, dense_boxes, score_clip, totals
from tests.tasks.tracking.clips import clip, standing

A, B, C = standing(0, 0), standing(200, 0), standing(400, 0)


def person(name: str, role: str, box: np.ndarray) -> dict[str, object]:
    """Return one labelled person."""
    return {"person": name, "role": role, "box": box.tolist()}


def test_figures_of_a_clip_worked_out_by_hand() -> None:
    """Two fighters and a bystander in two labelled frames; the second fighter's track changes."""
    people = [person("p1", "fighter", A), person("p2", "fighter", B), person("p3", "bystander", C)]
    label = Label("clip.mp4", "source", {0: people, 5: people})
    boxes = np.zeros((4, 6, 4))
    # Rank 1 is the bystander, rank 2 fighter A throughout, ranks 3 and 4 share fighter B.
    boxes[0, :], boxes[1, :], boxes[2, 0], boxes[3, 5] = C, A, B, B
    score = score_clip(boxes, label)
    assert (score.boxes, score.covered_boxes, score.chances, score.kept) == (4, 4, 2, 1)
    assert (score.pairs, score.changes) == (3, 1)
    figures = totals([score])
    assert figures["p_at_2"] == 0.5
    assert figures["oracle"] == 1.0
    assert figures["first_fighter"] == 0.0
    # Fighters at ranks 2, 3 and 4.
    assert figures["ap"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) / 3)


def test_a_clip_without_tracks_has_covered_nobody_but_keeps_its_chances() -> None:
    """As a clip whose annotation is missing."""
    people = [person("p1", "fighter", A)]
    score = score_clip(np.zeros((0, 0, 4)), Label("clip.mp4", "source", {0: people, 5: people}))
    assert (score.covered_boxes, score.chances, score.kept, score.judged) == (0, 1, 0, False)


def test_dense_boxes_stand_in_the_order_that_is_asked_for() -> None:
    """Row m is the m-th ID; frames without a row are zeros."""
    from tasks.tracking import track_people
    from tests.tasks.tracking.clips import SETTINGS

    tracks = track_people(clip([[(A, 0.9), (B, 0.8)]] * 12 + [[]]), SETTINGS)
    dense = dense_boxes(tracks, tracks.ids[::-1])
    assert dense.shape == (2, 13, 4)
    np.testing.assert_allclose(dense[:, 0], [B, A] if tracks.poses.bbox[0, 0] == A[0] else [A, B])
    assert not dense[:, 12].any()
