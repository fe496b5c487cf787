"""Overlays drawn again from corrections: who is shown, what is drawn at all, and what happens when it cannot be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.annotations.format import build_annotation, read_annotation, write_annotation
from tasks.clips.discovery import Clip, find_clip
from tasks.clips.manifest import write_manifest
from tasks.core.records import Involvement, Tracks
from tasks.mapping.receipts import finished, overlay_is_current, overlay_shows, write_receipt
from tasks.mapping.summary import ClipSummary
from tasks.overlay.painter import write_overlay
from tasks.poses.stored import poses_path
from tasks.review.apply import apply_review, automatic_path
from tasks.review.log import (
    Change,
    DropPerson,
    MergeTracks,
    Role,
    SetLabel,
    SetOrder,
    SetRole,
    SplitTrack,
    Undo,
    append_change,
)
from tasks.review.overlays import outdated_overlays, overlay_records, redraw_overlay, redraw_overlays
from tasks.tracking import track_people
from tasks.video import decoder
from tasks.video.decoder import probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.reading import decode_frames, probe_video
from tests.scenes import ranked_by_id, standing_people
from tests.tasks.samples import SETTINGS
from tests.video_factory import write_video

SIZE = (640, 360)
FRAMES = 24
KEY = "key-of-settings"


@dataclass
class Scene:
    """An output root of one clip with four people side by side, three of them in the annotation."""

    root: Path
    clip: Clip
    tracks: Tracks
    people: Involvement

    def say(self, *changes: Change) -> str:
        """Append corrections and return the identifier of the last line."""
        for change in changes:
            entry = append_change(self.root, self.clip.frame_dir, "tester", change)
        return entry.id

    def apply(self) -> list[str]:
        """Apply all corrections, draw what has to be, and return the problems."""
        report = apply_review(self.root)
        redraw_overlays(self.root, report)
        return [problem for _, problem in report.problems]

    def shown(self, frame: int = 12) -> np.ndarray:
        """Return a frame of the overlay on disk."""
        return _frame(self.clip.overlay_path, frame)

    def expected(self, tracks: Tracks, people: Involvement, frame: int = 12) -> np.ndarray:
        """Return a frame of an overlay that is made from records; encoded alike, since encoding blurs colours."""
        video = probe_video(self.clip.path)
        path = self.root.parent / "expected.mp4"
        write_overlay(decode_frames(video), video, tracks, people, path, SETTINGS.overlay)
        return _frame(path, frame)


def _frame(path: Path, frame: int) -> np.ndarray:
    """Return one frame of a video."""
    frames = [shown.image.astype(np.int16) for shown in decode_frames(probe_video(path))]
    assert len(frames) == FRAMES
    return frames[frame]


def _apart(one: np.ndarray, other: np.ndarray) -> int:
    """Return how many pixels differ by more than encoding does."""
    return int((np.abs(one - other).max(axis=2) > 90).sum())


def _some(people: Involvement, ids: list[int], windows: np.ndarray | None = None) -> Involvement:
    """Return the involvement of some people in an order; each keeps their score."""
    rows = [people.track_ids.tolist().index(track_id) for track_id in ids]
    return replace(
        people,
        track_ids=np.array(ids, np.int32),
        score=people.score[rows],
        quality=people.quality[rows],
        length=people.length[rows],
        components={name: part[rows] for name, part in people.components.items()},
        best_partner=people.best_partner[rows],
        region_scores=people.region_scores[rows],
        window_score=people.window_score[rows] if windows is None else windows,
    )


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Give the output root of a run, made without Prefect and without a model."""
    source, root = tmp_path / "set", tmp_path / "out"
    (source / "Fight").mkdir(parents=True)
    grey = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    path = write_video(source / "Fight" / "a.mp4", [grey] * FRAMES)
    clip = find_clip(path, source, root)
    write_manifest(root, source, [clip])
    video = probe_video(path)
    poses = standing_people(SIZE, people=4, frames=FRAMES).poses
    poses.save(poses_path(root, video, "model", SETTINGS.poses))
    tracks = track_people(poses, SETTINGS.tracking)
    assert tracks.ids.tolist() == [1, 2, 3, 4]
    people = _some(ranked_by_id(tracks), [1, 2, 3])
    provenance = {"model_sha256": "model", "video_sha256": video.sha256}
    write_annotation(clip.annotation_path, [build_annotation(clip, tracks, people, SETTINGS, provenance)])
    write_overlay(decode_frames(video), video, tracks, people, clip.overlay_path, SETTINGS.overlay)
    summary = ClipSummary(FRAMES, 3, [(1, 0.9), (2, 0.7)], {"poses": 1.0}, extracted=True)
    write_receipt(clip, root, video.sha256, KEY, True, summary)
    return Scene(root, clip, tracks, people)


def test_a_corrected_order_is_seen_in_the_overlay(scene):
    """Badges, board and colours follow it, the person outside the annotation stays, and no model runs."""
    before = scene.shown()
    assert _apart(before, scene.expected(scene.tracks, scene.people)) < 20
    scene.say(SetOrder(track_ids=(3, 1)))
    assert scene.apply() == []
    wanted = scene.expected(scene.tracks, _some(scene.people, [3, 1, 2]))
    assert _apart(scene.shown(), wanted) < 20
    assert _apart(scene.shown(), before) > 100
    assert finished(scene.clip, scene.root, KEY) is not None


def test_a_dropped_person_disappears_and_a_merged_one_keeps_one_id(scene):
    """Dropped people are not drawn as background either."""
    scene.say(DropPerson(track_id=2))
    assert scene.apply() == []
    kept = scene.tracks.select(scene.tracks.track_id != 2)
    assert _apart(scene.shown(), scene.expected(kept, _some(scene.people, [1, 3]))) < 20
    tracks, people = overlay_records(read_annotation(scene.clip.annotation_path)["annotations"][0])
    assert (tracks.ids.tolist(), people.track_ids.tolist()) == ([1, 3], [1, 3])
    scene.say(MergeTracks(into=1, other=3))
    assert scene.apply() == []
    # Where both have a pose the one whose ID stands is shown.
    alone = scene.tracks.select(np.isin(scene.tracks.track_id, [1, 4]))
    assert _apart(scene.shown(), scene.expected(alone, _some(scene.people, [1]))) < 20


def test_a_bystander_is_not_a_fighter_of_the_moment(scene):
    """Marked people step back, and whoever follows takes the emphasis."""
    scene.say(SetRole(track_id=1, role=Role.BYSTANDER))
    assert scene.apply() == []
    order = [2, 3, 1]
    windows = scene.people.window_score[[1, 2, 0]] * np.array([[1], [1], [0]], np.float32)
    assert _apart(scene.shown(), scene.expected(scene.tracks, _some(scene.people, order, windows))) < 20


def test_an_id_given_by_a_split_never_stands_for_two_people(scene):
    """The annotation knows IDs 1 to 3, so that a split gives 4, which someone in the background has already."""
    scene.say(SplitTrack(track_id=1, frame=10, new_id=4))
    assert scene.apply() == []
    early, late = (scene.expected(scene.tracks, scene.people, frame) for frame in (5, 15))
    assert _apart(scene.shown(5), early) < _apart(scene.shown(15), late)


def test_only_what_looks_different_is_drawn(scene):
    """A label changes nothing in the picture, and nothing is drawn twice."""
    before = scene.clip.overlay_path.stat().st_mtime_ns
    scene.say(SetLabel(label=0))
    assert scene.apply() == []
    assert scene.clip.overlay_path.stat().st_mtime_ns == before
    scene.say(SetOrder(track_ids=(2,)))
    assert scene.apply() == []
    drawn = scene.clip.overlay_path.stat().st_mtime_ns
    assert drawn != before
    assert scene.apply() == []
    assert scene.clip.overlay_path.stat().st_mtime_ns == drawn
    scene.clip.overlay_path.unlink()
    scene.say(SetOrder(track_ids=(3,)))
    assert scene.apply() == []
    assert not scene.clip.overlay_path.exists()


def test_taking_everything_back_shows_the_automatic_people_again(scene):
    """Also when drawing fails at first: the clip is found again at the next time."""
    before = scene.shown()
    entry = scene.say(SetOrder(track_ids=(3, 1)))
    scene.apply()
    scene.say(Undo(entry=entry))
    moved = scene.clip.path.rename(scene.clip.path.with_name("away.mp4"))
    assert len(scene.apply()) == 1
    assert automatic_path(scene.clip, scene.root).exists()
    moved.rename(scene.clip.path)
    assert scene.apply() == []
    assert _apart(scene.shown(), before) < 20
    assert overlay_shows(scene.clip, scene.root) is None
    assert not automatic_path(scene.clip, scene.root).exists()
    assert outdated_overlays(scene.root) == []


def test_a_run_does_not_take_a_corrected_overlay_for_its_own(scene):
    """With the annotation deleted, a run makes an automatic one: the overlay has to go with it."""
    sha256 = probe_video(scene.clip.path).sha256
    assert overlay_is_current(scene.clip, scene.root, sha256, KEY)
    scene.say(SetOrder(track_ids=(3, 1)))
    scene.apply()
    assert not overlay_is_current(scene.clip, scene.root, sha256, KEY)


def test_a_clip_that_is_gone_or_another_one_keeps_its_old_overlay(scene):
    """The annotation is corrected all the same, the problem is told, and told again until it is mended."""
    before = scene.clip.overlay_path.read_bytes()
    scene.say(SetOrder(track_ids=(3, 1)))
    moved = scene.clip.path.rename(scene.clip.path.with_name("away.mp4"))
    assert "not drawn again" in scene.apply()[0]
    annotation = read_annotation(scene.clip.annotation_path)["annotations"][0]
    assert annotation["track_ids"].tolist() == [3, 1, 2]
    write_video(scene.clip.path, [np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * FRAMES)
    assert "not the one that was annotated" in scene.apply()[0]
    assert scene.clip.overlay_path.read_bytes() == before
    moved.rename(scene.clip.path)
    assert scene.apply() == []
    assert scene.clip.overlay_path.read_bytes() != before


def test_damaged_poses_are_as_good_as_none(scene, caplog):
    """They are not the annotation's fault, and no reason to leave the overlay as it was."""
    (stored,) = scene.root.glob(".fightpose/poses/*/*.npz")
    stored.write_bytes(b"no poses")
    scene.say(SetOrder(track_ids=(3, 1)))
    assert scene.apply() == []
    assert "not a file of poses" in caplog.text


def test_a_clip_that_hangs_the_decoder_keeps_its_old_overlay(scene, monkeypatch):
    """The clip is foreign: what it does to a decoder must not reach the review page's server."""
    before = scene.clip.overlay_path.read_bytes()
    scene.say(SetOrder(track_ids=(3, 1)))
    probe_guarded(ClipLimits(scene.clip.path, SETTINGS.limits))
    psutil.Process(decoder.idle[-1].process.pid).suspend()
    monkeypatch.setattr(decoder, "SILENCE_SECONDS", 0.3)
    assert "not drawn again: the decoder hangs on it" in scene.apply()[0]
    assert scene.clip.overlay_path.read_bytes() == before


def test_without_stored_poses_the_annotated_people_are_drawn(scene):
    """The store may have been cleared; nobody is invented."""
    for path in (scene.root / ".fightpose" / "poses").rglob("*.npz"):
        path.unlink()
    scene.say(SetOrder(track_ids=(3, 1)))
    assert scene.apply() == []
    tracks = scene.tracks.select(scene.tracks.track_id != 4)
    assert _apart(scene.shown(), scene.expected(tracks, _some(scene.people, [3, 1, 2]))) < 20


def test_tracks_that_are_others_by_now_are_not_mixed_in(scene):
    """Poses tracked otherwise than for the annotation would show one person twice."""
    annotation = read_annotation(scene.clip.annotation_path)["annotations"][0]
    annotation["bbox"] = annotation["bbox"] + 3
    write_annotation(scene.clip.annotation_path, [annotation])
    redraw_overlay(scene.clip, scene.root)
    tracks, people = overlay_records(annotation)
    assert _apart(scene.shown(), scene.expected(tracks, people)) < 20
