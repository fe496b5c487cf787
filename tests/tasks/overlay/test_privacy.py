"""Overlays that show nobody's face: heads are covered, found or not, or nothing of the picture is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.core.choices import Privacy
from tasks.core.records import Tracks
from tasks.core.settings import OverlaySettings, Settings
from tasks.overlay.painter import OverlayPainter
from tasks.overlay.privacy import BACKGROUND, Veil, coarsened, head_boxes
from tests.scenes import ranked_by_id, standing_people

SIZE = (640, 360)


def noise() -> np.ndarray:
    """Return a picture in which every pixel differs from its neighbours, as details do."""
    return np.random.default_rng(3).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


def with_scores(tracks: Tracks, joints: slice, score: float) -> Tracks:
    """Return tracks with some joints of another score."""
    scores = tracks.poses.keypoint_scores.copy()
    scores[:, joints] = score
    return replace(tracks, poses=replace(tracks.poses, keypoint_scores=scores))


def faces(tracks: Tracks, frame: int) -> np.ndarray:
    """Return which pixels lie in the faces of a frame: around the joints of eyes, ears and nose."""
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    for row in np.flatnonzero(tracks.poses.frame_index == frame):
        points = tracks.poses.keypoints[row, :5]
        x1, y1 = np.maximum(np.floor(points.min(axis=0) - 8), 0).astype(int)
        x2, y2 = np.ceil(points.max(axis=0) + 8).astype(int)
        mask[y1:y2, x1:x2] = True
    return mask


@pytest.mark.parametrize("missing", ["nothing", "face", "face and shoulders", "all"])
def test_faces_are_covered_whatever_joints_are_missing(missing: str) -> None:
    """In single frames or throughout."""
    tracks = standing_people(SIZE)
    truth = faces(tracks, 3)
    gone = {"nothing": slice(0, 0), "face": slice(0, 5), "face and shoulders": slice(0, 7), "all": slice(0, 17)}
    sharp = Veil(with_scores(tracks, gone[missing], 0.0), SIZE, Privacy.HEADS).sharp(3)
    assert not (sharp & truth).any()


def test_faces_are_covered_in_frames_in_which_nobody_was_found() -> None:
    """A detection that drops out shows nobody: what is not known to be a body stays coarse."""
    tracks = standing_people(SIZE)
    kept = tracks.select(tracks.poses.frame_index != 5)
    truth = faces(tracks, 5)
    assert not (Veil(kept, SIZE, Privacy.HEADS).sharp(5) & truth).any()
    nobody = tracks.select(np.zeros(0, np.intp))
    assert not Veil(nobody, SIZE, Privacy.HEADS).sharp(5).any()


def test_a_head_before_another_ones_legs_is_covered() -> None:
    """People who stand in front of one another, and one who was not tracked for a moment."""
    tracks = standing_people(SIZE)
    poses = tracks.poses
    shift = np.where(tracks.track_id == 2, 1.0, 0.0)[:, None] * (poses.bbox[0, :2] - poses.bbox[1, :2] + (0, 80))
    moved = replace(
        poses,
        bbox=poses.bbox + np.tile(shift, 2).astype(np.float32),
        keypoints=poses.keypoints + shift[:, None].astype(np.float32),
    )
    both = replace(tracks, poses=moved)
    truth = faces(both, 4)
    assert not (Veil(both, SIZE, Privacy.HEADS).sharp(4) & truth).any()
    without = both.select((both.poses.frame_index != 4) | (both.track_id == 1))
    assert not (Veil(without, SIZE, Privacy.HEADS).sharp(4) & truth).any()


def test_legs_stay_sharp_and_the_rest_is_coarse() -> None:
    """It is still seen what happens."""
    tracks = standing_people(SIZE)
    veil = Veil(tracks, SIZE, Privacy.HEADS)
    sharp = veil.sharp(3)
    assert 0.01 < sharp.mean() < 0.3
    image = noise()
    shown = veil.over(3, image)
    assert (shown[sharp] == image[sharp]).all()
    assert (shown[~sharp] == coarsened(image)[~sharp]).all()
    # Details are gone: what is left of the noise is a twentieth.
    assert coarsened(image).std() < 0.1 * image.std()


def test_a_skeleton_overlay_holds_no_pixel_of_the_source() -> None:
    """Two clips with the same people give the same picture."""
    tracks = standing_people(SIZE)
    settings = OverlaySettings(overlay_privacy=Privacy.SKELETON)
    painter = OverlayPainter(tracks, ranked_by_id(tracks), SIZE, settings)
    drawn = painter.draw(3, noise())
    assert (drawn == painter.draw(3, np.zeros((SIZE[1], SIZE[0], 3), np.uint8))).all()
    assert (drawn == BACKGROUND).all(axis=2).mean() > 0.5


def test_heads_of_people_who_lie_are_where_the_shoulders_point() -> None:
    """The top of a box that is wider than high is no head."""
    tracks = standing_people(SIZE, people=1)
    poses = tracks.poses
    lying_joints, lying_box = poses.keypoints[..., ::-1].copy(), poses.bbox[:, [1, 0, 3, 2]]
    boxes = head_boxes(lying_box, lying_joints, poses.keypoint_scores)
    face = lying_joints[:, :5]
    assert ((face >= boxes[:, None, :2]) & (face <= boxes[:, None, 2:])).all()
    blind = poses.keypoint_scores.copy()
    blind[:, :5] = 0
    boxes = head_boxes(lying_box, lying_joints, blind)
    assert ((face.mean(axis=1) >= boxes[:, :2]) & (face.mean(axis=1) <= boxes[:, 2:])).all()


def test_privacy_is_part_of_the_key_of_outputs_only_where_it_is_asked_for() -> None:
    """Finished clips stay finished; others are drawn again from their stored poses."""
    from tasks.mapping.receipts import settings_key

    plain = Settings()
    asked = Settings(overlay=OverlaySettings(overlay_privacy=Privacy.HEADS))
    assert "overlay_privacy" not in plain.overlay.decisive()
    assert settings_key(plain, "model") != settings_key(asked, "model")
