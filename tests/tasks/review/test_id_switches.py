"""Places where an ID may have gone to another person: found where boxes say so, silent where nothing happened."""

from __future__ import annotations

import numpy as np

from tasks.annotations.format import Annotation
from tasks.review.id_switches import Suspect, find_suspects


def walking(*paths: list[tuple[float, float] | None]) -> Annotation:
    """Return an annotation of people of 40x100 pixels whose centres follow paths; None where nobody is seen."""
    people, frames = len(paths), len(paths[0])
    bbox = np.zeros((people, frames, 4), np.float32)
    score = np.zeros((people, frames, 17), np.float32)
    for person, path in enumerate(paths):
        for frame, spot in enumerate(path):
            if spot is not None:
                bbox[person, frame] = (spot[0] - 20, spot[1] - 50, spot[0] + 20, spot[1] + 50)
                score[person, frame] = 0.8
    ids = np.arange(1, people + 1, dtype=np.int32)
    return {"bbox": bbox, "keypoint_score": score, "track_ids": ids, "fps": 25.0}


def test_people_who_walk_and_cross_are_no_suspects():
    """Also with gaps: who goes on walking is where they should be."""
    right = [(10.0 * frame, 100.0) for frame in range(30)]
    left = [(300.0 - 10.0 * frame, 160.0) for frame in range(30)]
    seldom = [spot if frame % 4 else None for frame, spot in enumerate(right)]
    assert find_suspects(walking(right, left)) == []
    assert find_suspects(walking(seldom, left)) == []


def test_two_who_change_places_are_one_swap():
    """And not two jumps besides."""
    first = [(100.0, 100.0)] * 10 + [(300.0, 100.0)] * 10
    second = [(300.0, 100.0)] * 10 + [(100.0, 100.0)] * 10
    assert find_suspects(walking(first, second)) == [Suspect("swap", 10, (1, 2))]


def test_one_who_is_suddenly_elsewhere_jumps():
    """The frame is the first one there; a slow way over a gap is none."""
    path = [(100.0, 100.0)] * 5 + [(400.0, 100.0)] * 5
    assert find_suspects(walking(path)) == [Suspect("jump", 5, (1,))]
    slowly = [(100.0, 100.0)] * 5 + [None] * 10 + [(400.0, 100.0)] * 5
    assert find_suspects(walking(slowly)) == []


def test_a_track_that_goes_on_under_another_id_is_broken():
    """Only where the second begins soon and near."""
    gone = [(100.0, 100.0)] * 10 + [None] * 20
    near = [None] * 14 + [(110.0, 100.0)] * 16
    late = [None] * 26 + [(110.0, 100.0)] * 4
    far = [None] * 14 + [(400.0, 100.0)] * 16
    assert find_suspects(walking(gone, near)) == [Suspect("broken", 14, (1, 2))]
    assert find_suspects(walking(gone, late)) == []
    assert find_suspects(walking(gone, far)) == []


def test_an_annotation_without_boxes_or_people_has_none():
    """That of an earlier script, or of a track that was never seen."""
    assert find_suspects({"keypoint_score": np.zeros((1, 3, 17), np.float32)}) == []
    assert find_suspects(walking([None, None, None])) == []


def test_the_likeliest_comes_first_and_people_who_look_alike_are_listed() -> None:
    """Two people in one place for a second are one moment, told once for both; far apart they are none."""
    near = walking([(100.0, 100.0)] * 50, [(104.0, 100.0)] * 50)
    far = walking([(100.0, 100.0)] * 50, [(400.0, 100.0)] * 50)
    for annotation in (near, far):
        shape = annotation["keypoint_score"].shape
        rng = np.random.default_rng(0)
        annotation["keypoint"] = annotation["bbox"][:, :, None, :2] + rng.uniform(0, 3, (*shape, 2)).astype(np.float32)
        annotation["filled"] = np.zeros(shape[:2], np.bool_)
        annotation["keypoint_score"] *= 0.3
    found = find_suspects(near)
    assert {suspect.kind for suspect in found} == {"alike"}
    assert all(suspect.track_ids in ((1, 2), (2, 1)) for suspect in found)
    assert [suspect.likely for suspect in found] == sorted((suspect.likely for suspect in found), reverse=True)
    assert find_suspects(far) == []


def crowd(*paths: list[tuple[float, float] | None]) -> dict:
    """Return people whose joints and faint scores make a contact uncertain."""
    annotation = walking(*paths)
    shape = annotation["keypoint_score"].shape
    rng = np.random.default_rng(0)
    annotation["keypoint"] = annotation["bbox"][:, :, None, :2] + rng.uniform(0, 3, (*shape, 2)).astype(np.float32)
    annotation["filled"] = np.zeros(shape[:2], np.bool_)
    annotation["keypoint_score"] *= 0.3
    return annotation


def test_a_contact_of_several_is_one_entry() -> None:
    """It names all who overlap, for a second and a half; who is elsewhere is not in it."""
    here, there = [(100.0, 100.0)] * 20, [(500.0, 100.0)] * 20
    near = [(100.0 + 4 * k, 100.0) for k in range(3)]
    found = find_suspects(crowd(here, *([spot] * 20 for spot in near[1:]), there))
    assert len(found) == 1
    assert set(found[0].track_ids) == {1, 2, 3}
    assert found[0].likely > 0.5
    # Four at most; the next ones are an entry of their own.
    many = find_suspects(crowd(*([(100.0 + 3 * k, 100.0)] * 20 for k in range(6))))
    assert len(many[0].track_ids) == 4
    assert set().union(*(suspect.track_ids for suspect in many)) == {1, 2, 3, 4, 5, 6}


def test_a_sign_within_a_contact_gives_it_kind_and_frame() -> None:
    """Two who change places while a third is close are one entry, the two first."""
    first = [(100.0, 100.0)] * 10 + [(132.0, 100.0)] * 10
    second = [(132.0, 100.0)] * 10 + [(100.0, 100.0)] * 10
    found = find_suspects(crowd(first, second, [(116.0, 100.0)] * 20))
    assert [(suspect.kind, suspect.frame) for suspect in found if suspect.kind == "swap"] == [("swap", 10)]
    swap = next(suspect for suspect in found if suspect.kind == "swap")
    assert swap.track_ids[:2] == (1, 2)
    assert swap.track_ids[2:] == (3,)
