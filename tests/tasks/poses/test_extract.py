"""The pass over a clip, with a stand-in for the model, and once with the real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import ClipError, FailureReason
from tasks.core.records import VideoInfo
from tasks.core.settings import PoseSettings, Settings
from tasks.poses import extract_poses, load_model, resolve_model
from tasks.poses.detections import Detections
from tasks.poses.extract import frames_ahead
from tasks.video.reading import Frame, Image, probe_video
from tests.tasks.poses.test_detections import people
from tests.video_factory import person_image, plain_frames, write_video

SETTINGS = PoseSettings(score_thr=0.1, nms_thr=0.65)


class Stand:
    """A model that finds as many people as its script says, one entry per frame, then nobody."""

    batch_size = 4

    def __init__(self, script: Sequence[int]) -> None:
        self.script = list(script)
        self.batches: list[int] = []

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Answer from the script."""
        self.batches.append(len(images))
        counts = [self.script.pop(0) if self.script else 0 for _ in images]
        return [people([[1 + 2 * k, 1, 2 + 2 * k, 40] for k in range(n)], [0.5] * n) for n in counts]


def test_rows_carry_their_frame_and_empty_frames_count(tmp_path: Path) -> None:
    """Frames with nobody stay in the count."""
    video = probe_video(write_video(tmp_path / "a.mp4", plain_frames(6)))
    done: list[int] = []
    poses = extract_poses(video, Stand([0, 2, 0, 1]), SETTINGS, done.append)
    assert poses.frame_index.tolist() == [1, 1, 3]
    assert (poses.frame_count, poses.width, poses.height, poses.fps) == (6, 64, 48, 25)
    assert done == [4, 6]


def test_thirty_people_and_nobody_are_both_fine(tmp_path: Path) -> None:
    """No fixed number of people is assumed."""
    video = probe_video(write_video(tmp_path / "a.mp4", plain_frames(2)))
    assert len(extract_poses(video, Stand([30, 30]), SETTINGS)) == 60
    assert len(extract_poses(video, Stand([]), SETTINGS)) == 0


def test_a_clip_whose_frames_vanish_is_an_empty_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frame decoded when the clip was probed, and none does now."""
    video = probe_video(write_video(tmp_path / "a.mp4", plain_frames(2)))
    monkeypatch.setattr("tasks.poses.extract.decode_frames", lambda _: iter(()))
    with pytest.raises(ClipError) as caught:
        extract_poses(video, Stand([]), SETTINGS)
    assert caught.value.reason is FailureReason.EMPTY_VIDEO


def test_ctrl_c_ends_the_decoding_thread(tmp_path: Path) -> None:
    """It falls while the model runs, with frames decoded ahead; nothing stays open."""
    video = probe_video(write_video(tmp_path / "a.mp4", plain_frames(40)))

    class Stopped(Stand):
        """A model during whose second batch somebody presses Ctrl-C."""

        def detect(self, images: Sequence[Image]) -> list[Detections]:
            """Answer once."""
            if self.batches:
                raise KeyboardInterrupt
            return super().detect(images)

    with pytest.raises(KeyboardInterrupt):
        extract_poses(video, Stopped([]), SETTINGS)
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_frames_that_wait_are_bounded_in_number_and_bytes(tmp_path: Path) -> None:
    """A batch of small frames; of 8K ones the two that overlapping needs."""
    video = probe_video(write_video(tmp_path / "a.mp4", plain_frames(2)))
    assert frames_ahead(video, 32) == 32
    assert frames_ahead(replace(video, width=7680, height=4320), 32) == 2


def test_an_error_while_decoding_is_the_clips_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no thread stood between."""
    video = probe_video(write_video(tmp_path / "a.mp4", plain_frames(2)))

    def broken(video: VideoInfo) -> Iterator[Frame]:
        """Give a frame, then fail."""
        yield Frame(np.zeros((48, 64, 3), np.uint8), 0.0)
        raise ClipError(FailureReason.PROCESSING_ERROR, video.path, "the share went away")

    monkeypatch.setattr("tasks.poses.extract.decode_frames", broken)
    with pytest.raises(ClipError, match="the share went away"):
        extract_poses(video, Stand([]), SETTINGS)


def test_open_thresholds_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    """They are resolved before any work starts."""
    video = probe_video(write_video(tmp_path / "a.mp4", plain_frames(2)))
    with pytest.raises(ValueError, match="not resolved"):
        extract_poses(video, Stand([]), PoseSettings())


@pytest.mark.model
def test_the_embedded_model_finds_a_person_in_a_clip(tmp_path: Path) -> None:
    """From file to record with nothing replaced."""
    frames = [person_image(320, 240, centre=0.3 + 0.05 * index) for index in range(5)]
    video = probe_video(write_video(tmp_path / "a.mp4", frames))
    settings = Settings().resolve(resolve_model("movenet-multipose").thresholds).poses
    poses = extract_poses(video, load_model("movenet-multipose"), settings)
    assert poses.frame_count == 5
    assert set(poses.frame_index.tolist()) == set(range(5))
    assert np.all(poses.bbox[:, 2:] > poses.bbox[:, :2])
