"""The loop as a person goes through it: annotate, review, tune, annotate again, and compare the two runs.

Poses are imported, so that no model is needed; everything after them is what a run does.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from flows.cli import main as cli
from flows.review.service import ReviewService
from tasks.annotations.format import read_annotation
from tasks.clips.manifest import read_manifests
from tasks.review.index import clip_id
from tasks.review.log import Change, MergeTracks, Role, SetChecked, SetRole
from tests.video_factory import plain_frames, write_video

FRAMES, FPS, GONE = 60, 25, range(21, 26)
"""Fighters are unseen for five frames between two known ones, and come back most of a body's width away."""

CAMERAS, CLIPS = 3, 2


def standing(x: float, rng: np.random.Generator) -> dict:
    """Return a person of 40x120 pixels at a place as MMPose writes it; joints sway a little."""
    left, right = x - 14, x + 14
    columns = [x, x - 3, x + 3, x - 5, x + 5, *[left, right] * 6]
    rows = [30, 27, 27, 30, 30, *np.repeat([45, 65, 85, 90, 115, 140], 2).tolist()]
    joints = np.stack([columns, rows], axis=-1) + rng.normal(0, 2.5, (17, 2))
    box = [[x - 20, 20.0, x + 20, 145.0]]
    return {"keypoints": joints.tolist(), "keypoint_scores": [0.9] * 17, "bbox": box, "bbox_score": 0.9}


def poses_of(seed: int) -> list[dict]:
    """Return two fighters who are lost for a moment, and a bystander who is not, without track IDs."""
    rng = np.random.default_rng(seed)
    frames = []
    for frame in range(FRAMES):
        later = 30 if frame >= GONE.stop else 0
        # Both move the same way: neither comes back where the other one was.
        fighters = [] if frame in GONE else [60 + later, 160 + later]
        frames.append({"frame_id": frame, "instances": [standing(x, rng) for x in (*fighters, 290)]})
    return frames


def run(*arguments: str) -> str:
    """Run a command that has to succeed, and return its output."""
    result = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_corrections_lead_to_settings_that_keep_people_whole(tmp_path: Path) -> None:
    """Fragments that were merged by hand are joined by the tuned settings, and the report says what changed."""
    clips, poses, first, second = (tmp_path / name for name in ("set", "poses", "first", "second"))
    for number in range(CAMERAS * CLIPS):
        name = f"cam{number % CAMERAS}/Fight/{number}"
        for folder in (clips, poses):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(clips / f"{name}.mp4", plain_frames(FRAMES, width=320, height=160), fps=FPS)
        (poses / f"{name}.json").write_text(json.dumps(poses_of(number)))
    run("import-poses", str(poses), str(clips), "--output-root", str(first))

    # As on the page: who goes on as whom, who fights, and that the clip was looked at.
    service = ReviewService(first, "tester")
    for clip in read_manifests(first):
        (annotation,) = read_annotation(clip.annotation_path)["annotations"]
        assert len(annotation["track_ids"]) == 5
        changes: list[Change] = []
        for x in (60, 160, 290):
            ids = [i for i, place in places(annotation).items() if x - 20 < place < x + 50]
            assert len(ids) == (1 if x == 290 else 2)
            changes += [MergeTracks(into=ids[0], other=other) for other in ids[1:]]
            changes.append(SetRole(track_id=ids[0], role=Role.BYSTANDER if x == 290 else Role.FIGHTER))
        service.correct(clip_id(clip.frame_dir), [*changes, SetChecked(checked=True)])
    assert service.apply()["problems"] == 0

    found = json.loads(run("tune", str(first), "--num-workers", "1", "--json", "--quiet"))
    assert found["cameras"] == CAMERAS
    assert found["figures"]["identity_kept"]["tuned"] > found["figures"]["identity_kept"]["in_use"]
    assert "link_overlap" in found["settings"]["tracking"]
    assert found["stable_from"] == 5

    settings = first / "tuned_settings.json"
    run("import-poses", str(poses), str(clips), "--output-root", str(second), "--settings", str(settings))
    for clip in read_manifests(second):
        (annotation,) = read_annotation(clip.annotation_path)["annotations"]
        assert len(annotation["track_ids"]) == 3
    value = json.loads(run("analyze", str(second), "--against", str(first), "--json"))
    # Settings do by themselves what hands had done: no clip has another number of people, or other fighters in front.
    assert value["people"] == 3 * CAMERAS * CLIPS
    assert all(change["people_before"] == change["people_after"] for change in value["changes"])


def places(annotation: dict) -> dict[int, float]:
    """Return the mean x of each person's box, by ID in the order of appearance."""
    found = {}
    for row, track_id in enumerate(annotation["track_ids"].tolist()):
        seen = annotation["bbox"][row].any(-1)
        found[track_id] = float(annotation["bbox"][row][seen][:, [0, 2]].mean())
    return dict(sorted(found.items()))
