"""Running again what failed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.annotate_dataset import annotate_dataset
from flows.annotate_video import annotate_video
from flows.retry_failed import failed_jobs, retry_failed
from flows.runs.results import Outcome
from tasks.clips.discovery import find_clip
from tasks.clips.failures import current_failures
from tasks.core.choices import FailOn
from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tests.video_factory import plain_frames, write_video

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give three clips of different content."""
    root = tmp_path / "data"
    (root / "Fight").mkdir(parents=True)
    for number in range(3):
        write_video(root / "Fight" / f"{number}.mp4", plain_frames(16 + number, width=128, height=96))
    return root


@pytest.fixture
def one_is_broken(folder):
    """Put text in place of clip 1, until the fixture's answer is called."""
    path = folder / "Fight/1.mp4"
    sound = path.read_bytes()
    path.write_text("no video at all\n" * 50)
    return lambda: path.write_bytes(sound)


def test_only_failed_clips_run_again_and_their_poses_are_not_extracted_again(folder, out, stand_in, one_is_broken):
    """The model has seen every frame once, in both runs together."""
    first = annotate_dataset(folder, out)
    assert first.count(Outcome.FAILED) == 1
    names = find_clip(folder / "Fight/1.mp4", folder, out)
    assert stand_in.frames == 16 + 18
    others = {path: path.stat().st_mtime_ns for path in out.rglob("*_annotation.pkl")}
    one_is_broken()
    again = retry_failed(out)
    assert [result.clip for result in again.results] == ["Fight/1.mp4"]
    assert again.count(Outcome.ANNOTATED) == 1
    assert again.extracted == 1
    assert stand_in.frames == 16 + 17 + 18
    assert {path: path.stat().st_mtime_ns for path in others} == others
    assert names.overlay_path.is_file()
    assert current_failures(out) == []
    assert again.mapping_ok
    assert retry_failed(out).results == []


def test_a_clip_of_the_log_is_to_be_run_again_until_it_is_finished(folder, out, stand_in, one_is_broken):
    """A retry that succeeds takes it off the list."""
    annotate_dataset(folder, out)
    assert [job.clip.relative for job in failed_jobs(out, Settings())] == ["Fight/1.mp4"]
    one_is_broken()
    retry_failed(out)
    assert failed_jobs(out, Settings()) == []


def test_the_settings_of_the_last_run_are_taken_unless_others_are_given(folder, out, stand_in):
    """A clip that no setting of the last run let pass is annotated under another one."""
    strict = Settings.model_validate({"selection": {"min_track_length": 17}})
    assert annotate_dataset(folder, out, settings=strict).count(Outcome.FAILED) == 1
    assert retry_failed(out).count(Outcome.FAILED) == 1
    assert retry_failed(out, settings=Settings()).count(Outcome.ANNOTATED) == 1
    assert stand_in.frames == 16 + 17 + 18


def test_a_clip_that_was_run_by_itself_is_found_without_a_list_of_inputs(folder, out, stand_in, one_is_broken):
    """Runs over one clip write no manifest; the log's path is enough."""
    assert annotate_video(folder / "Fight/1.mp4", out, return_state=True).is_failed()
    one_is_broken()
    assert retry_failed(out).count(Outcome.ANNOTATED) == 1


def test_a_folder_that_is_not_there_is_named(tmp_path):
    """One line, and nothing is created."""
    with pytest.raises(FightposeError, match="there is no output folder"):
        retry_failed(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("fail_on", "share", "failed"),
    [(FailOn.NONE, 0.1, False), (FailOn.ANY, 0.1, True), (FailOn.SHARE, 0.2, True), (FailOn.SHARE, 0.5, False)],
)
def test_failed_clips_fail_the_run_only_if_told_so(folder, out, stand_in, one_is_broken, fail_on, share, failed):
    """One of three fails."""
    state = annotate_dataset(folder, out, fail_on=fail_on, fail_share=share, return_state=True)
    assert state.is_failed() is failed
    if failed:
        assert state.message == "1 of 3 clips failed; see the table of the run"
