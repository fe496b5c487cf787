"""A folder of good and bad clips through the dataset flow."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter

from flows.annotate_dataset import annotate_dataset, on_results
from flows.runs.results import ClipResult, Outcome
from tasks.annotations.format import read_annotation
from tasks.clips.failures import current_failures
from tasks.core.choices import Mode
from tasks.core.errors import FailureReason, FightposeError
from tasks.mapping.merged import DATASET_NAME
from tasks.mapping.run_lock import sole_run
from tests.video_factory import plain_frames, write_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with sound clips, and one of each kind that people's folders hold besides."""
    root = tmp_path / "data"
    for name in ("Fight/a.mp4", "Fight/a.avi", "NonFight/a.mp4", "NonFight/한글 이름.mov"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / name, plain_frames(16, width=128, height=96))
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mp4").write_text("no video at all\n" * 50)
    whole = (root / "Fight/a.avi").read_bytes()
    (root / "truncated.avi").write_bytes(whole[: len(whole) * 2 // 3])
    return root


@pytest.mark.prefect
def test_bad_clips_cost_only_themselves_and_a_second_run_does_nothing(folder, out, stand_in, prefect_server):
    """Each clip ends as annotation and overlay, or as a recorded failure, and verification agrees."""
    seen: list[ClipResult] = []
    on_results(lambda result, total: seen.append(result))
    try:
        summary = annotate_dataset(folder, out)
    finally:
        on_results(None)
    assert [result.clip for result in summary.results] == sorted(result.clip for result in seen)
    failed = {result.clip: result.error.reason for result in summary.results if result.error}
    assert failed == {
        "empty.mp4": FailureReason.EMPTY_VIDEO,
        "text.mp4": FailureReason.PROCESSING_ERROR,
        "truncated.avi": FailureReason.PROCESSING_ERROR,
    }, [str(result.error) for result in summary.results]
    assert summary.count(Outcome.ANNOTATED) == 4
    assert summary.mapping_ok
    assert summary.mapping_lines == []
    assert {failure.frame_dir for failure in current_failures(out)} == {"data/empty", "data/text", "data/truncated"}
    # Fight/a.mp4 and NonFight/a.mp4 hold the same bytes: the second one's poses are there already.
    assert stand_in.frames == 3 * 16

    merged = read_annotation(out / DATASET_NAME)
    names = [annotation["frame_dir"] for annotation in merged["annotations"]]
    assert len(names) == len(set(names)) == 4
    assert sorted(name for members in merged["split"].values() for name in members) == sorted(names)
    assert {annotation["frame_dir"]: annotation["label"] for annotation in merged["annotations"]} == {
        name: int(name.startswith("data/Fight/")) for name in names
    }

    again = annotate_dataset(folder, out)
    assert again.count(Outcome.UNCHANGED) == 4
    assert again.extracted == 0
    assert stand_in.frames == 3 * 16
    assert again.mapping_ok


@pytest.mark.prefect
def test_mode_demo_takes_clips_in_turn_from_each_folder(folder, out, stand_in, prefect_server):
    """As many as asked for, and not all of one class."""
    summary = annotate_dataset(folder, out, mode=Mode.DEMO, demo_count=2)
    assert [result.clip for result in summary.results] == ["Fight/a.avi", "NonFight/a.mp4"]


@pytest.mark.prefect
def test_a_second_run_on_one_output_folder_is_refused_and_changes_nothing(folder, out, stand_in, prefect_server):
    """It names who holds the folder; the same run works once that one has ended."""
    with sole_run(out):
        before = sorted(out.rglob("*"))
        with pytest.raises(FightposeError, match=f"another run is writing to .*process {os.getpid()} on "):
            annotate_dataset(folder, out)
        assert sorted(out.rglob("*")) == before
    assert stand_in.frames == 0
    assert annotate_dataset(folder, out, Mode.DEMO, demo_count=1).count(Outcome.ANNOTATED) == 1


@pytest.mark.prefect
def test_the_run_shows_progress_and_a_table_of_its_clips(folder, out, stand_in, prefect_server):
    """In local modes, too; failures first, with what their extraction took."""
    state = annotate_dataset(folder, out, return_state=True)
    chosen = ArtifactFilter.model_validate({"flow_run_id": {"any_": [state.state_details.flow_run_id]}})
    with get_client(sync_client=True) as client:
        shown = {artifact.type: artifact for artifact in client.read_artifacts(artifact_filter=chosen)}
    assert shown["progress"].data == 100.0
    rows = json.loads(shown["table"].data)
    assert [row["outcome"] for row in rows] == ["failed"] * 3 + ["annotated"] * 4
    assert rows[0]["reason"].startswith("EMPTY")
    assert rows[-1]["clip"] == "NonFight/한글 이름.mov"
    assert (rows[-1]["frames"], rows[-1]["people"]) == (16, 2)
    assert rows[-1]["cores"] >= 0
    assert rows[-1]["memory MB"] > 50


@pytest.mark.prefect
def test_a_clip_whose_name_is_no_utf8_is_a_recorded_failure_and_the_rest_goes_on(folder, out, stand_in, prefect_server):
    """Old recorders write CP949, which the server's parameters cannot hold."""
    (folder / "NonFight/a.mp4").rename(folder / "NonFight" / os.fsdecode(b"\xbd\xce\xc0\xfc.mp4"))
    summary = annotate_dataset(folder / "NonFight", out)
    assert [(result.clip, result.outcome) for result in summary.results] == [
        ("\\udcbd\\udcce\\udcc0\\udcfc.mp4", Outcome.FAILED),
        ("한글 이름.mov", Outcome.ANNOTATED),
    ]
    (failure,) = current_failures(out)
    assert "its path is not UTF-8" in failure.info
    assert summary.mapping_ok


@pytest.mark.prefect
def test_a_changed_clip_is_annotated_again(folder, out, stand_in, prefect_server):
    """New content under an old name is new work; the neighbours stay as they are."""
    annotate_dataset(folder / "NonFight", out)
    write_video(folder / "NonFight/a.mp4", plain_frames(20, width=128, height=96))
    outcomes = {result.clip: result.outcome for result in annotate_dataset(folder / "NonFight", out).results}
    assert outcomes == {"a.mp4": Outcome.ANNOTATED, "한글 이름.mov": Outcome.UNCHANGED}


@pytest.mark.prefect
def test_a_clip_that_fails_under_new_settings_leaves_the_merged_data_set(folder, out, stand_in, prefect_server):
    """Its earlier annotation is kept beside the failure, but not mixed with the others."""
    annotate_dataset(folder / "NonFight", out)
    write_video(folder / "NonFight/a.mp4", plain_frames(6, width=128, height=96))
    summary = annotate_dataset(folder / "NonFight", out)
    assert [result.clip for result in summary.results if result.error] == ["a.mp4"]
    assert (out / "NonFight/a_enhanced_stgcn_annotation.pkl").is_file()
    merged = read_annotation(out / DATASET_NAME)["annotations"]
    assert [annotation["frame_dir"] for annotation in merged] == ["NonFight/한글 이름"]


@pytest.mark.prefect
def test_an_output_folder_that_cannot_be_written_is_refused_before_any_work(folder, tmp_path, stand_in, prefect_server):
    """A file where the folder should be stops the run with one line."""
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    with pytest.raises(FightposeError, match="cannot write to the output folder"):
        annotate_dataset(folder, blocked / "out")
    assert stand_in.frames == 0


@pytest.mark.prefect
@pytest.mark.parametrize("how", ["moved over it, older", "written in place", "removed", "touched only"])
def test_an_input_that_is_replaced_during_its_extraction_is_never_vouched_for(
    folder, out, stand_in, monkeypatch, prefect_server, how
):
    """The clip fails, and the next run annotates what is there now; a new time alone changes nothing."""
    clip, other = folder / "NonFight/a.mp4", folder / "other.mp4"
    write_video(other, plain_frames(24, width=128, height=96))
    # Older than what it replaces: the time of change alone would not tell.
    os.utime(other, (1_000_000_000, 1_000_000_000))
    changes = {
        "moved over it, older": lambda: other.replace(clip),
        "written in place": lambda: clip.write_bytes(other.read_bytes()),
        "removed": clip.unlink,
        "touched only": lambda: os.utime(clip, (2_000_000_000, 2_000_000_000)),
    }
    detect, pending = stand_in.detect, [changes[how]]

    def changed_meanwhile(images):
        """Change the file while the model has its first frames."""
        if pending:
            pending.pop()()
        return detect(images)

    monkeypatch.setattr(stand_in, "detect", changed_meanwhile)
    (result,) = annotate_dataset(clip, out).results
    annotation = out / "NonFight/a_enhanced_stgcn_annotation.pkl"
    if how == "touched only":
        assert result.outcome == Outcome.ANNOTATED
        return
    assert result.error is not None
    assert "replaced, changed or removed while it was annotated" in result.error.info
    if how == "removed":
        return
    # Without any further hint: neither a receipt nor stored poses stand for the content of before.
    assert [one.outcome for one in annotate_dataset(clip, out).results] == [Outcome.ANNOTATED]
    assert read_annotation(annotation)["annotations"][0]["total_frames"] == 24
