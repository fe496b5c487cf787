"""The engines: the same outputs as step by step, and a fault in a stage costs one clip."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from flows.engine.engines import OverlappedEngine, resolved, run_keys
from flows.engine.jobs import ClipJob
from flows.engine.stages import find_poses, finish
from flows.engine.walk import walk
from tasks.annotations.format import read_annotation
from tasks.clips.discovery import discover_clips
from tasks.core.errors import ClipError, FailureReason
from tasks.core.settings import Settings
from tasks.poses.detections import Detections
from tasks.video.kept_frames import KeptBudget
from tasks.video.reading import Image, decode_frames, probe_video
from tests.conftest import StandInModel
from tests.video_factory import plain_frames, write_video


class Seeing(StandInModel):
    """A stand-in whose people depend on the image alone, whichever clip or batch it is part of."""

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return people who are where the image's bright square is."""
        found = []
        for image in images:
            # The square moves two pixels a frame.
            self.frames = int(np.argmax(image[image.shape[0] // 3 + 6].sum(axis=1))) // 2
            found.append(self._people(image))
        return found


@pytest.fixture
def jobs(tmp_path: Path, out: Path) -> list[ClipJob]:
    """Give seven clips of odd lengths, no multiples of a batch."""
    root = tmp_path / "Fight"
    root.mkdir()
    for number in range(7):
        write_video(root / f"{number}.mp4", plain_frames(13 + number, width=128, height=96))
    return [ClipJob(clip, root, out, Settings()) for clip in discover_clips(root, out).clips]


def alone(job: ClipJob, output_root: Path) -> dict[str, Any]:
    """Annotate a clip with a model of its own, stage by stage in this process, and return its annotation."""
    (clip,) = [clip for clip in discover_clips(job.input_root, output_root).clips if clip.relative == job.clip.relative]
    own = replace(job, clip=clip, output_root=output_root, settings=resolved(job.settings))
    with ExitStack() as held:
        # A budget of nothing: frames are decoded twice.
        found, descriptor = find_poses(own, run_keys(job.settings), Seeing(), KeptBudget(0), held, lambda: None)
        assert descriptor is None
        finish(found)
    return read_annotation(clip.annotation_path)["annotations"][0]


def test_many_clips_at_once_give_what_each_gives_alone(jobs, tmp_path):
    """Batches are filled across clips and frames are decoded once; annotation and overlay are the same."""
    with OverlappedEngine(jobs[0].settings, Seeing(), finishers=2) as engine:
        ended = list(walk(jobs, engine))
    assert [e.error for e in ended] == [None] * 7
    assert all(e.summary is not None and e.summary.extracted and e.summary.usage for e in ended)
    for job in jobs:
        expected = alone(job, tmp_path / "alone")
        annotation = read_annotation(job.clip.annotation_path)["annotations"][0]
        assert np.allclose(annotation["keypoint"], expected["keypoint"], atol=1e-3)
        assert np.allclose(annotation["keypoint_score"], expected["keypoint_score"], atol=1e-6)
        other = tmp_path / "alone" / job.clip.overlay_path.relative_to(job.output_root)
        drawn, again = (
            [frame.image for frame in decode_frames(probe_video(path))] for path in (job.clip.overlay_path, other)
        )
        assert len(drawn) == len(again) == annotation["total_frames"]
        assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_a_second_run_takes_poses_from_the_store(jobs):
    """The model is not asked."""
    for model in (Seeing(), StandInModel()):
        with OverlappedEngine(jobs[0].settings, model, finishers=1) as engine:
            ended = list(walk(jobs[:2], engine))
    assert [e.summary.extracted for e in ended if e.summary] == [False, False]
    assert model.frames == 0


def test_bad_clips_cost_only_themselves(jobs):
    """Of every stage: probing, decoding, selecting."""
    root = jobs[0].input_root
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mp4").write_text("no video")
    write_video(root / "short.mp4", plain_frames(4, width=128, height=96))
    all_jobs = [replace(jobs[0], clip=clip) for clip in discover_clips(root, jobs[0].output_root).clips]
    with OverlappedEngine(jobs[0].settings, Seeing(), finishers=2) as engine:
        ended = {e.job.clip.stem: e.error for e in walk(all_jobs, engine)}
    reasons = {stem: error.reason for stem, error in ended.items() if isinstance(error, ClipError)}
    assert reasons == {
        "empty": FailureReason.EMPTY_VIDEO,
        "text": FailureReason.PROCESSING_ERROR,
        "short": FailureReason.INSUFFICIENT_LENGTH,
    }
    assert sum(error is None for error in ended.values()) == 7


def test_an_engine_leaves_no_process_behind(jobs):
    """Its workers end with it; idle decoders are kept for the next run of this process."""
    with OverlappedEngine(jobs[0].settings, Seeing(), finishers=2) as engine:
        list(walk(jobs[:3], engine))
        workers = engine.finishers.processes()
        assert workers
    assert not any(psutil.pid_exists(pid) for pid in workers)


def test_what_is_sent_to_a_worker_can_be_pickled_and_is_small(jobs):
    """It must not hold frames or poses."""
    with ExitStack() as held:
        found, _ = find_poses(
            replace(jobs[0], settings=resolved(jobs[0].settings)),
            run_keys(jobs[0].settings),
            Seeing(),
            KeptBudget(),
            held,
            lambda: None,
        )
        assert found.kept is not None
        assert len(pickle.dumps(found)) < 20_000


def test_copies_of_a_clip_that_are_under_way_together_go_through_the_model_once(jobs):
    """Folders hold the same download under several names; the others wait for its poses."""
    root = jobs[0].input_root
    for number in range(1, 7):
        (root / f"{number}.mp4").write_bytes((root / "0.mp4").read_bytes())
    with OverlappedEngine(jobs[0].settings, Seeing(), finishers=2) as engine:
        ended = list(walk(jobs, engine))
    assert [e.error for e in ended] == [None] * 7
    assert sum(e.summary.extracted for e in ended if e.summary) == 1
