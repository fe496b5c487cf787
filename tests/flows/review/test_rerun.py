"""Corrections and runs after one another: neither undoes the other."""

from __future__ import annotations

import pytest

from flows.annotate_dataset import annotate_dataset
from flows.runs.results import Outcome
from tasks.annotations.format import read_annotation
from tasks.clips.manifest import read_manifests
from tasks.core.settings import SelectionSettings, Settings
from tasks.review.apply import apply_review, waiting_corrections
from tasks.review.index import open_index, unread
from tasks.review.log import SetExcluded, SetOrder, append_change
from tests.video_factory import plain_frames, write_video


@pytest.mark.prefect
def test_a_rerun_keeps_corrections_and_other_settings_wait_for_them(tmp_path, out, stand_in, prefect_server):
    """What was corrected counts as finished; a run with other settings makes it automatic again, and says so."""
    for name in ("Fight/a.mp4", "Walk/b.mp4", "Walk/c.mp4"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Clips of one content would share their poses; each of ours has a length of its own.
        write_video(path, plain_frames(16 + ord(name[-5]) % 7, width=128, height=96))
    assert annotate_dataset(tmp_path / "data", out).ok
    assert unread(open_index(out)[0]) == []

    first, second = read_manifests(out)[:2]
    ids = read_annotation(first.annotation_path)["annotations"][0]["track_ids"].tolist()
    append_change(out, first.frame_dir, "tester", SetOrder(track_ids=tuple(reversed(ids))))
    append_change(out, second.frame_dir, "tester", SetExcluded(excluded=True))
    assert apply_review(out).problems == []

    again = annotate_dataset(tmp_path / "data", out)
    assert again.count(Outcome.UNCHANGED) == 3
    assert again.mapping_lines == []
    merged = {one["frame_dir"]: one for one in read_annotation(out / "dataset.pkl")["annotations"]}
    assert second.frame_dir not in merged
    assert merged[first.frame_dir]["track_ids"].tolist() == ids[::-1]
    assert waiting_corrections(out) == []

    other = Settings(selection=SelectionSettings(max_persons=3))
    assert annotate_dataset(tmp_path / "data", out, settings=other).count(Outcome.ANNOTATED) == 3
    assert waiting_corrections(out) == [first.frame_dir, second.frame_dir]
    apply_review(out)
    assert read_annotation(first.annotation_path)["annotations"][0]["track_ids"].tolist() == ids[::-1]
