"""An output folder of version 0.1, made before the modules moved, is read and passed over as it was then."""

from __future__ import annotations

import pytest

from flows.annotate_dataset import annotate_dataset
from flows.runs.results import Outcome
from tasks.clips.failures import current_failures
from tasks.core.settings import SelectionSettings, Settings
from tasks.mapping.verify import verify_mapping


def test_verify_has_nothing_to_report(earlier):
    """Neither does the deep check."""
    assert verify_mapping(earlier / "out").lines() == []
    assert verify_mapping(earlier / "out", deep=True).lines() == []


@pytest.mark.prefect
def test_a_run_passes_over_what_is_finished(earlier, stand_in, prefect_server):
    """Nothing is extracted or drawn again, and the standing failure stays one."""
    outputs = sorted((earlier / "out/clips").rglob("*_enhanced_*"))
    before = [path.stat().st_mtime_ns for path in outputs]
    # The default was 4 people then; under the new one they are annotated again, from the stored poses.
    settings = Settings(selection=SelectionSettings(max_persons=4))
    summary = annotate_dataset(earlier / "clips", earlier / "out", settings=settings)
    assert {result.clip: result.outcome for result in summary.results} == {
        "Fight/a.mp4": Outcome.UNCHANGED,
        "NonFight/b.avi": Outcome.UNCHANGED,
        "empty.mp4": Outcome.FAILED,
    }
    assert stand_in.frames == 0
    assert [path.stat().st_mtime_ns for path in outputs] == before
    assert [failure.frame_dir for failure in current_failures(earlier / "out")] == ["clips/empty"]
    assert verify_mapping(earlier / "out", deep=True).lines() == []
    again = annotate_dataset(earlier / "clips", earlier / "out")
    assert again.count(Outcome.ANNOTATED) == 2
    assert stand_in.frames == 0
