"""What a run has to do, and how it ends where there is nothing."""

from __future__ import annotations

import pytest

from flows.runs import conclusion
from flows.runs.conclusion import begin, conclude, end_without_work
from flows.runs.plan import Plan, plan_run, work_words
from flows.runs.results import Outcome
from tasks.clips.failures import current_failures, log_failure
from tasks.core.errors import FailureReason, FightposeError
from tasks.core.settings import DatasetSettings, Settings
from tests.review_outputs import KEY, Outputs, make_outputs


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Outputs:
    """Give an output root whose clips are finished under the settings of the tests."""
    monkeypatch.setattr("flows.runs.plan.settings_key", lambda settings, key: KEY)
    return make_outputs(tmp_path, 3, overlays=True)


def planned(outputs: Outputs, **settings: object) -> Plan:
    """Return the plan of a run over the inputs."""
    root = outputs.clips[0].path.parents[1]
    return plan_run(root, outputs.root, Settings(dataset=DatasetSettings(**settings)))


def test_finished_clips_are_told_from_those_that_wait(outputs):
    """And how long the others may take follows from what the finished took."""
    assert planned(outputs).waiting == []
    outputs.clips[1].annotation_path.unlink()
    plan = planned(outputs)
    assert [clip.relative for clip in plan.waiting] == [outputs.clips[1].relative]
    assert len(plan.finished) == 2
    assert [result.outcome for result in plan.results()] == [Outcome.UNCHANGED] * 2


def test_patterns_leave_clips_out_of_the_plan(outputs):
    """The others are neither finished nor waiting."""
    name = outputs.clips[0].relative
    assert [clip.relative for clip in planned(outputs, include=(name,)).clips] == [name]


def test_an_empty_folder_is_refused(tmp_path):
    """Before anything is written."""
    (tmp_path / "in").mkdir()
    with pytest.raises(FightposeError, match="no clips in"):
        plan_run(tmp_path / "in", tmp_path / "out", Settings())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("total", "waiting", "seconds", "line"),
    [
        (300, 20, 700.0, "300 clips: 280 finished, 20 to do, about 12 min"),
        (300, 300, None, "300 clips: 300 to do"),
        (1, 1, 5.0, "1 clip: 1 to do, about 5 s"),
        (2, 0, None, "2 clips: finished, nothing to do"),
    ],
)
def test_the_plan_is_one_line(total, waiting, seconds, line):
    """In the singular and the plural."""
    assert work_words(total, waiting, seconds) == line


def test_nothing_to_do_repeats_nothing_until_an_output_changes(outputs, monkeypatch):
    """The first time all is merged and checked; then only sizes and times are looked at."""
    analysed: list[object] = []
    monkeypatch.setattr(conclusion, "_analyse", analysed.append)
    first = end_without_work(planned(outputs), outputs.root, Settings())
    assert first.mapping_ok
    assert len(analysed) == 1
    again = end_without_work(planned(outputs), outputs.root, Settings())
    assert (again.ok, again.count(Outcome.UNCHANGED), again.warnings) == (True, 3, first.warnings)
    assert len(analysed) == 1
    (outputs.root / "dataset.pkl").unlink()
    assert end_without_work(planned(outputs), outputs.root, Settings()).ok
    assert (outputs.root / "dataset.pkl").is_file()
    assert len(analysed) == 2


def test_a_finished_clip_takes_its_recorded_failure_back(outputs):
    """It may have failed last under other settings; without this it would be left out of the data set."""
    clip = outputs.clips[0]
    log_failure(outputs.root, clip.path, clip.frame_dir, FailureReason.LOW_QUALITY, "under other settings")
    begin(planned(outputs), outputs.root, Settings())
    assert current_failures(outputs.root) == []


def test_what_is_not_in_order_is_looked_at_every_time(outputs, monkeypatch):
    """A finding stays until it is mended."""
    monkeypatch.setattr(conclusion, "_analyse", lambda root: None)
    outputs.clips[2].overlay_path.write_bytes(b"")
    assert not conclude([], outputs.root, DatasetSettings()).mapping_ok
    assert not (outputs.root / ".fightpose" / "concluded.json").exists()
