"""Corrected annotations: they keep the contract and the automatic values, and do what was said."""

import copy

import numpy as np
import pytest

from tasks.annotations.format import Annotation, build_annotation
from tasks.annotations.other_tracks import OtherTracks, other_tracks
from tasks.annotations.validate import validate_annotation
from tasks.involvement.selection import take
from tasks.review.corrections import Applied, apply_changes
from tasks.review.log import (
    Change,
    DropPerson,
    MergeTracks,
    Role,
    SetExcluded,
    SetLabel,
    SetOrder,
    SetRole,
    SplitTrack,
    SwapTracks,
    WriteNote,
)
from tests.tasks.samples import SETTINGS, sample_annotation, sample_clip, sample_involvement, sample_tracks

# The sample ranks IDs 3, 2, 1; person i has no pose in the frames where (frame + i) % 5 == 0, i from 0 for ID 1.


def corrected(*changes: Change) -> tuple[Annotation, Annotation]:
    """Apply corrections to the sample; return the automatic and the corrected annotation."""
    automatic = sample_annotation()
    applied = apply_changes(automatic, changes)
    assert applied.annotation is not None
    assert applied.misfits == []
    assert validate_annotation(applied.annotation) == []
    return automatic, applied.annotation


def row(annotation: Annotation, track_id: int) -> int:
    """Return the place of a person."""
    return int(np.flatnonzero(annotation["track_ids"] == track_id)[0])


def test_nothing_said_changes_nothing_but_the_marks() -> None:
    """Every array is as it was."""
    automatic, result = corrected()
    for key, value in automatic.items():
        np.testing.assert_equal(result[key], value)
    assert set(result) - set(automatic) == {"automatic", "review"}


def test_the_automatic_annotation_is_left_as_it_is() -> None:
    """Corrections work on copies."""
    automatic = sample_annotation()
    before = copy.deepcopy(automatic)
    applied = apply_changes(automatic, [MergeTracks(into=3, other=1), SetLabel(label=0)])
    assert applied.annotation is not None
    applied.annotation["keypoint"][:] = 7
    applied.annotation["automatic"]["composite_scores"][:] = 7
    np.testing.assert_equal(automatic, before)


def test_order_by_hand_stands_and_the_others_follow() -> None:
    """The arrays move with the people."""
    automatic, result = corrected(SetOrder(track_ids=(1, 3)))
    assert result["track_ids"].tolist() == [1, 3, 2]
    np.testing.assert_array_equal(result["keypoint"][0], automatic["keypoint"][2])
    np.testing.assert_array_equal(result["score_breakdown"]["movement"][0], automatic["score_breakdown"]["movement"][2])
    # Each person keeps the score that the ranking gave them, whatever their new rank.
    np.testing.assert_array_equal(result["composite_scores"], automatic["composite_scores"][[2, 0, 1]])
    assert result["automatic"]["track_ids"].tolist() == [3, 2, 1]


def test_fighters_come_first_and_bystanders_last() -> None:
    """Roles order people; within a role the automatic order stays; an order by hand goes before roles."""
    _, result = corrected(SetRole(track_id=3, role=Role.BYSTANDER), SetRole(track_id=1, role=Role.FIGHTER))
    assert result["track_ids"].tolist() == [1, 2, 3]
    assert result["review"]["roles"] == {"1": "fighter", "3": "bystander"}
    _, result = corrected(SetRole(track_id=1, role=Role.FIGHTER), SetOrder(track_ids=(2,)))
    assert result["track_ids"].tolist() == [2, 1, 3]


def test_merged_tracks_are_one_person() -> None:
    """The frames of both, the kept one's pose where both have one; partners follow."""
    automatic, result = corrected(MergeTracks(into=3, other=1))
    assert result["track_ids"].tolist() == [3, 2]
    kept, other = automatic["keypoint_score"][0].max(axis=1) > 0, automatic["keypoint_score"][2].max(axis=1) > 0
    person = result["keypoint"][0]
    np.testing.assert_array_equal(person[kept], automatic["keypoint"][0][kept])
    np.testing.assert_array_equal(person[other & ~kept], automatic["keypoint"][2][other & ~kept])
    assert result["track_length"][0] == (kept | other).sum()
    # Person 2's partner was 1, who is 3 now.
    assert result["best_partner"][1] == 3


def test_split_track_is_two_people() -> None:
    """The frames are shared out at the frame given; together they are what was there."""
    automatic, result = corrected(SplitTrack(track_id=2, frame=8, new_id=9))
    assert result["track_ids"].tolist() == [3, 2, 9, 1]
    early, late = result["keypoint_score"][1], result["keypoint_score"][2]
    assert not early[8:].any()
    assert not late[:8].any()
    np.testing.assert_array_equal(early + late, automatic["keypoint_score"][1])
    # Two windows of ten frames: only the second person has frames in both.
    assert result["window_scores"][1].tolist() == [0.5, 0.0]
    assert result["track_length"][1:3].sum() == automatic["track_length"][1]


def test_split_and_merge_exchange_two_people_who_were_swapped() -> None:
    """The usual mend of an ID switch: split both where they swapped, and join the right halves."""
    automatic, result = corrected(
        SplitTrack(track_id=3, frame=10, new_id=8),
        SplitTrack(track_id=2, frame=10, new_id=9),
        MergeTracks(into=3, other=9),
        MergeTracks(into=2, other=8),
    )
    assert result["track_ids"].tolist() == [3, 2, 1]
    np.testing.assert_array_equal(result["keypoint"][0][:10], automatic["keypoint"][0][:10])
    np.testing.assert_array_equal(result["keypoint"][0][10:], automatic["keypoint"][1][10:])
    np.testing.assert_array_equal(result["keypoint"][1][10:], automatic["keypoint"][0][10:])


def test_swap_exchanges_two_people_from_a_frame_on() -> None:
    """One correction in place of two splits and two merges: the same poses, ranks and roles stay with the IDs."""
    role = SetRole(track_id=3, role=Role.FIGHTER)
    _, result = corrected(role, SwapTracks(track_id=3, other=2, frame=10))
    _, by_halves = corrected(
        role,
        SplitTrack(track_id=3, frame=10, new_id=8),
        SplitTrack(track_id=2, frame=10, new_id=9),
        MergeTracks(into=3, other=9),
        MergeTracks(into=2, other=8),
    )
    for key in ("track_ids", "keypoint", "keypoint_score", "bbox", "filled", "track_length", "composite_scores"):
        np.testing.assert_array_equal(result[key], by_halves[key])
    assert result["review"]["roles"] == {"3": "fighter"}


def test_a_swap_made_twice_changes_nothing() -> None:
    """The second one takes the first one back."""
    automatic, result = corrected(*[SwapTracks(track_id=3, other=2, frame=10)] * 2)
    for key in ("track_ids", "keypoint", "bbox", "track_length"):
        np.testing.assert_array_equal(result[key], automatic[key])


def split_sample(people: int) -> tuple[Annotation, Annotation, OtherTracks]:
    """Return the sample whole, the annotation of its first people, and the others as a run keeps them."""
    tracks, ranking = sample_tracks(), sample_involvement([3, 2, 1])
    whole, part = (
        build_annotation(sample_clip(), tracks, take(ranking, np.arange(count)), SETTINGS, {"model": "test"})
        for count in (3, people)
    )
    return whole, part, other_tracks(tracks, ranking, part["track_ids"])


def test_people_left_out_come_in_as_if_they_had_never_been_out() -> None:
    """Called a fighter or put into the order, a person of the rest has all that an annotated one has."""
    whole, part, others = split_sample(1)
    assert others.ids == [2, 1]
    for change in (SetRole(track_id=1, role=Role.FIGHTER), SetOrder(track_ids=(1,))):
        applied = apply_changes(part, [change], others)
        assert applied.misfits == []
        result = applied.annotation
        assert result is not None
        assert validate_annotation(result) == []
        assert result["track_ids"].tolist() == [1, 3]
        assert result["review"]["joined"] == [1]
        for key in ("keypoint", "keypoint_score", "bbox", "filled", "track_quality", "window_scores"):
            np.testing.assert_array_equal(result[key], whole[key][[2, 0]])


@pytest.mark.parametrize(
    ("change", "ids"),
    [
        (SetRole(track_id=2, role=Role.BYSTANDER), [3]),
        (SetRole(track_id=2, role=Role.UNSURE), [3]),
        (DropPerson(track_id=2), [3]),
        (SplitTrack(track_id=2, frame=8, new_id=9), [3]),
        (MergeTracks(into=3, other=2), [3]),
        (MergeTracks(into=2, other=3), [2]),
        (SwapTracks(track_id=3, other=2, frame=8), [3]),
    ],
)
def test_what_is_said_of_people_left_out_fits(change: Change, ids: list[int]) -> None:
    """They stay out of the annotation unless they are joined to somebody in it; nothing that was said is lost."""
    _, part, others = split_sample(1)
    applied = apply_changes(part, [change], others)
    assert applied.misfits == []
    assert applied.annotation is not None
    assert validate_annotation(applied.annotation) == []
    assert applied.annotation["track_ids"].tolist() == ids
    # Without the rest, as in outputs of an earlier version, the same correction is reported.
    assert len(apply_changes(part, [change]).misfits) == 1


def test_a_fragment_left_out_fills_the_frames_of_the_person_it_is_merged_with() -> None:
    """The poses of both are in the annotation, and the overlay is told whose track was used up."""
    whole, part, others = split_sample(1)
    merged, merged_of_whole = (
        apply_changes(annotation, [MergeTracks(into=3, other=1)], rest).annotation
        for annotation, rest in ((part, others), (whole, None))
    )
    assert merged is not None
    assert merged_of_whole is not None
    np.testing.assert_array_equal(merged["keypoint"][0], merged_of_whole["keypoint"][0])
    assert merged["review"]["joined"] == [1]


def test_dropped_person_is_gone_and_nobody_s_partner() -> None:
    """Everything that named the person is mended."""
    _, result = corrected(DropPerson(track_id=1))
    assert result["track_ids"].tolist() == [3, 2]
    assert result["best_partner"].tolist() == [2, 0]
    assert result["keypoint"].shape[0] == 2


def test_label_note_and_exclusion() -> None:
    """The last word stands; the automatic label is kept."""
    applied = apply_changes(
        sample_annotation(),
        [SetLabel(label=1), SetLabel(label=0), WriteNote(text="staged"), SetExcluded(excluded=True)],
    )
    assert applied.annotation is not None
    assert applied.annotation["label"] == 0
    assert applied.annotation["automatic"]["label"] == 1
    assert applied.note == "staged"
    assert applied.excluded


def test_a_clip_without_people_left_is_excluded() -> None:
    """An annotation without people loads, but predicts noise: there is none."""
    applied = apply_changes(sample_annotation(), [DropPerson(track_id=i) for i in (1, 2, 3)])
    assert applied == Applied(None, True, "", [])


@pytest.mark.parametrize(
    "change",
    [
        DropPerson(track_id=7),
        MergeTracks(into=3, other=7),
        MergeTracks(into=3, other=3),
        SplitTrack(track_id=3, frame=5, new_id=2),
        SplitTrack(track_id=3, frame=500, new_id=9),
        SwapTracks(track_id=3, other=7, frame=5),
        SwapTracks(track_id=3, other=1, frame=500),
        SetRole(track_id=7, role=Role.FIGHTER),
    ],
)
def test_a_correction_that_does_not_fit_is_told_and_passed_over(change: Change) -> None:
    """After an undo or a new automatic run a correction may name people who are not there."""
    applied = apply_changes(sample_annotation(), [change, SetLabel(label=0)])
    assert len(applied.misfits) == 1
    assert applied.annotation is not None
    assert applied.annotation["label"] == 0
    assert applied.annotation["track_ids"].tolist() == [3, 2, 1]


def test_ids_that_lead_in_a_circle_end() -> None:
    """An ID that was freed by a merge and given again by a split."""
    _, result = corrected(
        MergeTracks(into=1, other=2),
        SplitTrack(track_id=1, frame=10, new_id=2),
        MergeTracks(into=2, other=1),
        DropPerson(track_id=2),
    )
    assert result["track_ids"].tolist() == [3]
    assert result["best_partner"].tolist() == [0]
