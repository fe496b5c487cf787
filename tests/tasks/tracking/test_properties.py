"""What holds for any detections."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.core.records import Poses, Tracks
from tasks.tracking import track_people
from tests.tasks.tracking.clips import SETTINGS

PIXEL = st.floats(-50, 700, width=32)
SCORE = st.floats(0, 1, width=32)


@st.composite
def any_poses(draw: st.DrawFn) -> Poses:
    """Draw detections of up to twelve frames: anywhere, turned inside out, without joints, several alike."""
    frames = draw(st.integers(1, 12))
    n = draw(st.integers(0, 40))
    frame = np.sort(draw(hnp.arrays(np.int32, n, elements=st.integers(0, frames - 1))))
    # Few distinct people, so that tracks form; and wild boxes among them.
    kinds = draw(hnp.arrays(np.float32, (4, 4), elements=PIXEL))
    kinds[0] = (100, 100, 150, 220)
    kinds[1] = (130, 105, 180, 225)
    kind = draw(hnp.arrays(np.int8, n, elements=st.integers(0, 3)))
    bbox = kinds[kind] + draw(hnp.arrays(np.float32, (n, 1), elements=st.sampled_from(np.float32([0, 1, 5]))))
    share = np.linspace(0, 1, 17, dtype=np.float32)[None, :, None]
    keypoints = bbox[:, None, :2] + share * (bbox[:, 2:] - bbox[:, :2])[:, None]
    joint = draw(hnp.arrays(np.float32, (n, 1), elements=SCORE))
    score = draw(hnp.arrays(np.float32, n, elements=SCORE))
    return Poses(frame, bbox, score, keypoints, np.repeat(joint, 17, axis=1), frames, 640, 480, 30.0)


def same(a: Tracks, b: Tracks) -> bool:
    """Whether two results hold the same rows, whatever their order within a frame."""

    def table(tracks: Tracks) -> np.ndarray:
        """One sorted row of numbers per row of the tracks."""
        p = tracks.poses
        columns = (p.frame_index, tracks.track_id, tracks.filled, p.score, *p.bbox.T, p.keypoints.sum((1, 2)))
        rows = np.stack([np.asarray(c, np.float64) for c in columns], axis=1)
        return rows[np.lexsort(rows.T)]

    return len(a) == len(b) and bool(np.array_equal(table(a), table(b)))


EAGER = SETTINGS.model_copy(update={"track_min_hits": 1, "track_high_thresh": 0.2, "track_low_thresh": 0.0})


@settings(max_examples=60, deadline=None)
@given(any_poses(), st.integers(0, 2**32 - 1))
def test_the_order_of_detections_within_a_frame_changes_nothing(poses: Poses, seed: int) -> None:
    """Permutation invariance."""
    shuffled = np.random.default_rng(seed).permutation(len(poses))
    order = shuffled[np.argsort(poses.frame_index[shuffled], kind="stable")]
    assert same(track_people(poses, EAGER), track_people(poses.select(order), EAGER))


@settings(max_examples=60, deadline=None)
@given(any_poses())
def test_the_same_input_gives_the_same_output(poses: Poses) -> None:
    """No state survives a clip."""
    assert same(track_people(poses, EAGER), track_people(poses, EAGER))


@settings(max_examples=60, deadline=None)
@given(any_poses())
def test_tracks_are_what_later_steps_rely_on(poses: Poses) -> None:
    """IDs from 1 without holes, once a frame; seen rows come from the input; filled rows lie inside a track's span."""
    tracks = track_people(poses, EAGER)
    assert tracks.ids.tolist() == list(range(1, len(tracks.ids) + 1))
    # That no ID stands twice in a frame is checked by the record itself.
    # Boxes are smoothed; the joints are those that were found.
    given_rows = {(int(f), joints.tobytes()) for f, joints in zip(poses.frame_index, poses.keypoints, strict=True)}
    seen_rows = tracks.poses.select(np.flatnonzero(~tracks.filled))
    for f, joints in zip(seen_rows.frame_index, seen_rows.keypoints, strict=True):
        assert (int(f), joints.tobytes()) in given_rows
    for person in tracks.ids:
        rows = tracks.track_id == person
        seen = tracks.poses.frame_index[rows & ~tracks.filled]
        filled = tracks.poses.frame_index[rows & tracks.filled]
        assert np.all((filled > seen.min()) & (filled < seen.max()))
