"""One clip through the whole flow, with a stand-in for the model."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter

from flows.annotate_video import annotate_video
from tasks import steps
from tasks.annotations.format import read_annotation
from tasks.clips.discovery import find_clip
from tasks.clips.failures import JSON_LOG, TEXT_LOG, current_failures
from tasks.core.errors import ClipError, FailureReason
from tasks.core.settings import LimitSettings, SelectionSettings, Settings
from tasks.core.storage import PARTIAL_MARK
from tasks.video.reading import decode_frames, probe_video
from tests.conftest import StandInModel
from tests.flows.cli.test_hostile_names import HOSTILE
from tests.video_factory import plain_frames, write_video

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Give a clip of 24 frames below a folder of fights."""
    path = tmp_path / "clips" / "Fight" / "싸움 1.mp4"
    path.parent.mkdir(parents=True)
    return write_video(path, plain_frames(24, width=160, height=96))


def _annotate(clip: Path, out: Path, settings: Settings | None = None):
    """Run the flow over a clip of the fixture's folder and return its state."""
    return annotate_video(clip, out, clip.parents[1], settings, return_state=True)


def test_a_clip_becomes_an_annotation_in_rank_order_and_an_overlay_of_the_same_length(clip, out, stand_in):
    """The contract of the annotation holds, and the overlay has as many frames as the clip."""
    state = _annotate(clip, out)
    assert state.is_completed()
    names = find_clip(clip, clip.parents[1], out)
    annotation = read_annotation(names.annotation_path)["annotations"][0]
    assert annotation["frame_dir"] == "clips/Fight/싸움 1"
    assert annotation["label"] == 1
    assert annotation["total_frames"] == annotation["keypoint"].shape[1] == 24
    assert annotation["keypoint"].dtype == np.float32
    assert np.all(np.diff(annotation["composite_scores"]) <= 0)
    overlay = probe_video(names.overlay_path)
    assert sum(1 for _ in decode_frames(overlay)) == 24
    assert (overlay.width, overlay.height) == (160, 96)


def test_a_second_run_of_a_clip_does_not_run_the_model_again(clip, out, stand_in):
    """Poses are found by content: also under another name and after the outputs were deleted."""
    assert _annotate(clip, out).result().extracted
    names = find_clip(clip, clip.parents[1], out)
    names.annotation_path.unlink()
    copy = clip.with_name("copy.mp4")
    copy.write_bytes(clip.read_bytes())
    assert not _annotate(clip, out).result().extracted
    assert not _annotate(copy, out).result().extracted
    assert names.annotation_path.is_file()
    assert stand_in.frames == 24


def test_other_pose_settings_run_the_model_again_and_others_do_not(clip, out, stand_in):
    """Only what alters the poses is part of their key."""
    _annotate(clip, out)
    _annotate(clip, out, Settings(selection=SelectionSettings(max_persons=1)))
    assert stand_in.frames == 24
    _annotate(clip, out, Settings.model_validate({"poses": {"score_thr": 0.2}}))
    assert stand_in.frames == 48


def test_an_overlay_that_fails_for_the_moment_is_tried_again_without_a_second_extraction(
    clip, out, stand_in, monkeypatch
):
    """An OSError may pass; the model has run once all the same."""
    attempts = []
    write = steps.write_overlay

    def fails_once(*args):
        """Fail as a share does that is away, then work."""
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("share is away")
        return write(*args)

    monkeypatch.setattr(steps, "write_overlay", fails_once)
    monkeypatch.setattr(steps, "overlay", steps.overlay.with_options(retry_delay_seconds=0))
    assert _annotate(clip, out).is_completed()
    assert len(attempts) == 2
    assert stand_in.frames == 24


def test_a_retry_after_a_failed_overlay_repeats_no_extraction(clip, out, stand_in, monkeypatch):
    """What was finished before the failure is found again."""
    monkeypatch.setattr(steps, "write_overlay", lambda *args: (_ for _ in ()).throw(ValueError("broken")))
    state = _annotate(clip, out)
    assert state.is_failed()
    assert current_failures(out)[0].reason == FailureReason.PROCESSING_ERROR
    monkeypatch.undo()
    monkeypatch.setattr("tasks.steps.model_of", lambda settings: pytest.fail("the model was loaded again"))
    assert _annotate(clip, out).is_completed()
    assert current_failures(out) == []


@pytest.mark.parametrize(("ending", "extractions"), [(".npz", 2), (".pkl", 1), (".mp4", 1), (".json", 1)])
def test_a_disk_that_is_full_in_the_middle_of_a_write_leaves_no_half_file(
    clip, out, stand_in, monkeypatch, ending, extractions
):
    """Poses, annotation, overlay, receipt: the run fails with the reason; with room again only the rest is done."""

    def full(descriptor: int) -> None:
        """Find no room for a file of one kind, when its bytes are to reach the disk."""
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ending:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    sync = os.fsync
    monkeypatch.setattr("tasks.core.storage.os.fsync", full)
    for step in ("extract", "annotate", "overlay"):
        monkeypatch.setattr(steps, step, getattr(steps, step).with_options(retries=0))
    state = _annotate(clip, out)
    assert state.is_failed()
    assert "No space left on device" in state.message
    assert [failure.reason for failure in current_failures(out)] == [FailureReason.PROCESSING_ERROR]
    assert [path for path in out.rglob("*") if PARTIAL_MARK in path.name] == []
    assert not [path for path in out.rglob(f"*{ending}") if path.parent.name != "out"]
    monkeypatch.setattr("tasks.core.storage.os.fsync", sync)
    assert _annotate(clip, out).is_completed()
    assert current_failures(out) == []
    assert stand_in.frames == extractions * 24


def test_the_run_shows_a_card_of_its_clip(clip, out, stand_in):
    """With a picture, the people, and what the extraction took; a failed one says why."""
    assert card_of(_annotate(clip, out)).startswith("![frame ")
    card = card_of(_annotate(clip, out, Settings(selection=SelectionSettings(min_track_length=25))))
    assert "reason: INSUFFICIENT" in card
    assert "data:" not in card


def card_of(state) -> str:
    """Return the markdown that a run shows."""
    chosen = ArtifactFilter.model_validate({"flow_run_id": {"any_": [state.state_details.flow_run_id]}})
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=chosen)
    assert artifact.type == "markdown"
    return artifact.data


def test_a_server_that_takes_no_card_costs_a_warning_and_no_clip(clip, out, stand_in, monkeypatch, caplog):
    """The artifacts are for whoever looks on."""

    def refuses(*args, **kwargs):
        """Answer as a server does that is restarted."""
        raise ConnectionError("server is away")

    monkeypatch.setattr("flows.runs.artifacts.create_markdown_artifact", refuses)
    assert _annotate(clip, out).is_completed()
    assert "the card of the clip could not be shown in the UI (ConnectionError: server is away)" in caplog.text


@pytest.mark.parametrize(
    ("people", "settings", "reason"),
    [
        (0, Settings(), FailureReason.NO_TRACKS),
        (2, Settings(selection=SelectionSettings(min_track_length=25)), FailureReason.INSUFFICIENT_LENGTH),
        (2, Settings(selection=SelectionSettings(quality_threshold=0.9)), FailureReason.LOW_QUALITY),
    ],
)
def test_a_clip_without_usable_people_is_a_recorded_failure_and_leaves_nothing_half_written(
    clip, out, stand_in, people, settings, reason
):
    """Both logs name the clip and the reason; no annotation and no overlay is there."""
    stand_in.people = people
    state = _annotate(clip, out, settings)
    assert state.is_failed()
    error = state.result(raise_on_failure=False)
    assert isinstance(error, ClipError)
    assert error.reason == reason
    assert f"{clip} | {reason} | " in (out / TEXT_LOG).read_text(encoding="utf-8")
    assert str(reason) in (out / JSON_LOG).read_text(encoding="utf-8")
    assert [failure.reason for failure in current_failures(out)] == [reason]
    written = [path.name for path in out.rglob("*") if path.suffix in (".pkl", ".mp4")]
    assert written == []


def test_frames_before_anybody_appears_stay_as_zeros(clip, out, stand_in):
    """Nobody is invented where there is nobody (the earlier scripts extrapolated)."""
    stand_in.from_frame = 8
    assert _annotate(clip, out).is_completed()
    annotation = read_annotation(find_clip(clip, clip.parents[1], out).annotation_path)["annotations"][0]
    assert annotation["total_frames"] == 24
    assert not annotation["keypoint_score"][:, :8].any()
    assert not annotation["keypoint"][:, :8].any()
    assert annotation["keypoint_score"][:, 8:].any()


def test_a_clip_over_its_time_limit_is_a_recorded_failure_and_a_rerun_without_it_completes(clip, out, stand_in):
    """The line says which limit it was and what to do."""
    state = _annotate(clip, out, Settings(limits=LimitSettings(time_limit=0.001)))
    assert state.is_failed()
    (failure,) = current_failures(out)
    assert failure.reason == FailureReason.PROCESSING_ERROR
    assert failure.info.startswith("took longer than 0.001 s; raise --time-limit")
    assert _annotate(clip, out).is_completed()
    assert current_failures(out) == []


def test_poses_in_the_store_that_are_damaged_are_extracted_again(clip, out, stand_in):
    """A disk error, or somebody's hand, must not fail the clip for ever."""
    _annotate(clip, out)
    (stored,) = (out / ".fightpose" / "poses").rglob("*.npz")
    stored.write_bytes(stored.read_bytes()[:-200])
    find_clip(clip, clip.parents[1], out).annotation_path.unlink()
    assert _annotate(clip, out).result().extracted
    assert stand_in.frames == 48


def test_the_runs_log_names_clip_step_and_seconds(clip, out, stand_in, caplog):
    """What a person sees in the Prefect UI says where the time went."""
    _annotate(clip, out)
    lines = [record.getMessage() for record in caplog.records if record.name == "tasks.steps"]
    for step in ("probe", "poses", "tracking", "ranking", "annotation", "overlay"):
        assert any(re.fullmatch(rf"Fight/싸움 1\.mp4: {step} took \d+\.\d\d s", line) for line in lines), step


def test_a_hostile_name_reaches_neither_the_log_nor_the_name_of_the_run_as_it_is(clip, out, stand_in, caplog):
    """Workers print both: of a clip that is annotated, one that is broken, and one that fails in an unforeseen way."""
    hostile = clip.with_name(f"a{HOSTILE}\n.mp4")
    clip.rename(hostile)
    states = [_annotate(hostile, out)]
    hostile.write_bytes(b"broken")
    states.append(_annotate(hostile, out))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "probe", lambda *_: 1 / 0 * len(HOSTILE))
        states.append(_annotate(hostile, out))
    assert [state.type.value for state in states] == ["COMPLETED", "FAILED", "FAILED"]
    with get_client(sync_client=True) as client:
        runs = [client.read_flow_run(state.state_details.flow_run_id) for state in states]
    shown = [caplog.text, *(run.name for run in runs), *(str(state.message) for state in states)]
    assert "\\u202e" in caplog.text
    assert [text for text in shown if not text.replace("\n", "").replace("\t", "").isprintable()] == []
    # A line of the log for each line of the steps: none begins where the name says so.
    lines = [record.getMessage() for record in caplog.records if record.name.startswith(("flows", "tasks"))]
    assert not [line for line in lines if "\n.mp4" in line]


def test_stand_in_counts_frames():
    """The counting that the other tests rely on counts."""
    model = StandInModel()
    model.detect(plain_frames(3))
    assert model.frames == 3
