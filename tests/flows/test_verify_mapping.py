"""Verification as a flow and a command: what it finds wrong is moved and mended on request."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.annotate_dataset import annotate_dataset
from flows.cli import main as cli
from flows.runs.mending import verify_and_mend
from flows.runs.results import DatasetSummary
from flows.verify_mapping import verify_mapping_flow
from tasks.clips.discovery import discover_clips
from tasks.core.settings import SelectionSettings, Settings
from tasks.mapping.findings import FindingKind
from tasks.mapping.receipts import finished, recorded_settings, settings_key
from tasks.mapping.verify import verify_mapping
from tests.tasks.video.test_frame_times import SQUEEZED, write_timed
from tests.video_factory import plain_frames, write_video

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]

FRAMES = 16 + 17 + 18 + 19


@pytest.fixture
def damaged(tmp_path: Path, out: Path, stand_in) -> dict[str, Path]:
    """Annotate four clips; lose the annotation of one, the overlay of one, and spoil the files of the others."""
    root = tmp_path / "data"
    (root / "Fight").mkdir(parents=True)
    for number, name in enumerate(("lost.mp4", "bare.mov", "spoilt.avi", "short.mp4")):
        write_video(root / "Fight" / name, plain_frames(16 + number, width=128, height=96))
    assert annotate_dataset(root, out).ok
    assert stand_in.frames == FRAMES
    clips = {clip.stem: clip for clip in discover_clips(root, out).clips}
    clips["lost"].annotation_path.unlink()
    clips["bare"].overlay_path.unlink()
    clips["spoilt"].annotation_path.write_bytes(b"broken")
    write_video(clips["short"].overlay_path, plain_frames(5))
    return {stem: clip.path for stem, clip in clips.items()}


def test_the_flow_moves_what_is_corrupt_and_mends_what_is_missing(damaged, out, stand_in):
    """Nothing is extracted again; what was moved is kept."""
    before = verify_mapping_flow(out)
    assert {finding.kind for finding in before.findings} == {
        FindingKind.MISSING_ANNOTATION,
        FindingKind.MISSING_OVERLAY,
        FindingKind.UNREADABLE_ANNOTATION,
        FindingKind.FRAME_COUNT,
    }
    report = verify_mapping_flow(out, deep=True, quarantine=True, fix=True)
    assert report.lines() == []
    assert report.matched == 4
    assert stand_in.frames == FRAMES
    assert sorted(path.name for path in (out / "quarantine").rglob("*.quarantined")) == [
        "short_enhanced_rtmo_overlay.mp4.quarantined",
        "short_enhanced_stgcn_annotation.pkl.quarantined",
        "spoilt_enhanced_stgcn_annotation.pkl.quarantined",
    ]


def test_the_command_tells_moves_mends_and_ends_with_zero(damaged, out, stand_in):
    """As lines, and as JSON when nothing is left to find."""
    runner = CliRunner()
    found = runner.invoke(cli.app, ["verify", str(out)])
    assert found.exit_code == 1
    assert "overlay missing: data/Fight/bare\n" in found.output
    assert found.output.endswith("4 inputs: 0 with annotation and overlay, 0 recorded failures, 4 findings\n")
    mended = runner.invoke(cli.app, ["verify", str(out), "--quarantine", "--fix"])
    assert mended.exit_code == 0, mended.output
    assert mended.output.count("moved ") == 3
    assert "clips to be annotated again: 4" in mended.output
    assert mended.output.endswith("4 inputs: 4 with annotation and overlay, 0 recorded failures, 0 findings\n")
    assert stand_in.frames == FRAMES
    again = runner.invoke(cli.app, ["verify", str(out), "--fix", "--deep", "--json"])
    assert again.exit_code == 0
    assert json.loads(again.output)["findings"] == []


def test_what_cannot_be_mended_does_not_end_with_zero(damaged, out):
    """The clip is a recorded failure then, which a check takes for accounted for."""
    damaged["lost"].write_bytes(b"broken")
    runner = CliRunner()
    mended = runner.invoke(cli.app, ["verify", str(out), "--quarantine", "--fix", "--quiet"])
    assert mended.exit_code == 1, mended.output
    assert "Fight/lost.mp4: failed: not a video" in mended.output
    assert runner.invoke(cli.app, ["verify", str(out)]).exit_code == 0


def test_outputs_made_before_the_settings_changed_are_found_and_mended(tmp_path, out, stand_in):
    """A run under other settings was broken off after its first clip."""
    root = tmp_path / "data"
    for number in range(2):
        (root / "Fight").mkdir(parents=True, exist_ok=True)
        write_video(root / f"Fight/{number}.mp4", plain_frames(16 + number, width=128, height=96))
    first = annotate_dataset(root, out)
    receipts = {path: path.read_bytes() for path in (out / ".fightpose/receipts").rglob("*.json")}
    other = Settings(selection=SelectionSettings(max_persons=1))
    assert first.ok
    assert annotate_dataset(root, out, settings=other).ok
    late = next(path for path in receipts if path.name == "1.json")
    late.write_bytes(receipts[late])
    assert [finding.kind for finding in verify_mapping(out).findings] == [FindingKind.STALE]
    assert verify_mapping_flow(out, fix=True).ok
    assert recorded_settings(out) == other
    assert stand_in.frames == 16 + 17


def test_an_overlay_that_rotted_unseen_is_drawn_anew(damaged, out, stand_in):
    """Its size and time are as the receipt has them; nothing is moved away."""
    assert verify_mapping_flow(out, quarantine=True, fix=True).ok
    overlay = next(out.rglob("spoilt*overlay.avi"))
    status = overlay.stat()
    overlay.write_bytes(bytes(status.st_size))
    os.utime(overlay, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [finding.kind for finding in verify_mapping(out, deep=True).findings] == [FindingKind.UNREADABLE_OVERLAY]
    assert verify_mapping_flow(out, deep=True, fix=True).ok
    assert stand_in.frames == FRAMES


def test_a_clip_whose_input_is_newer_is_mended(damaged, tmp_path, out, stand_in):
    """New content is new work; a merged data set that is wrong is made again on the way."""
    write_video(damaged["bare"], plain_frames(25, width=128, height=96))
    os.utime(damaged["bare"])
    (out / "dataset.pkl").write_bytes(b"broken")
    assert verify_mapping_flow(out, deep=True, fix=True).ok
    assert stand_in.frames == FRAMES + 25


def test_a_finished_clip_stays_as_it_is(damaged, out, stand_in):
    """Only what is wrong is run again."""
    annotate_dataset(next(iter(damaged.values())).parents[1], out)
    sound = discover_clips(next(iter(damaged.values())).parents[1], out).clips
    times = {clip.stem: clip.annotation_path.stat().st_mtime_ns for clip in sound}
    sound[0].overlay_path.unlink()
    assert verify_mapping_flow(out, fix=True).ok
    changed = {clip.stem for clip in sound if clip.annotation_path.stat().st_mtime_ns != times[clip.stem]}
    assert changed == {sound[0].stem}
    from tasks.poses import entry_of

    entry = entry_of(Settings().poses)
    key = settings_key(Settings().resolve(entry.thresholds), entry.sha256)
    assert all(finished(clip, out, key) for clip in sound)


@pytest.mark.parametrize("name", SQUEEZED)
def test_clips_of_squeezed_frame_times_are_in_order_and_stay_where_they_are(tmp_path, out, stand_in, name):
    """Each round of mending moved their overlays away and drew the same again."""
    (tmp_path / "data").mkdir()
    write_timed(tmp_path / "data/a.mp4", SQUEEZED[name])
    assert annotate_dataset(tmp_path / "data", out).ok
    overlay = next(out.rglob("*_overlay.mp4"))
    before = overlay.stat()
    for _ in range(2):
        report = verify_mapping_flow(out, deep=True, quarantine=True, fix=True)
        assert (report.lines(), report.matched) == ([], 1)
    assert overlay.stat().st_mtime_ns == before.st_mtime_ns
    assert not (out / "quarantine").exists()
    assert stand_in.frames == 60


def test_a_mend_that_changes_nothing_is_tried_once_and_not_ok(damaged, out):
    """Whatever brings the same finding about: one round, and the command ends with 1."""
    asked: list[list[str]] = []

    def rerun(clips: list[str]) -> DatasetSummary:
        """Leave everything as it is."""
        asked.append(clips)
        return DatasetSummary([])

    report = verify_and_mend(out, deep=True, quarantine=False, rerun=rerun)
    assert len(asked) == 1
    assert not report.ok
    assert {finding.kind for finding in report.findings} == {
        finding.kind for finding in verify_mapping(out, deep=True).findings
    }
