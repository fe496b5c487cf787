"""One run per clip on a pool: none started twice, none lost, whatever becomes of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import Completed, Crashed, Pending, Running

from flows.annotate_video import annotate_video
from flows.engine.jobs import ClipJob
from flows.prefect_server.provision import create_pools, deploy
from flows.prefect_server.requeue import MAX_RESTARTS, requeue
from flows.runs import pool as fan_out
from flows.runs.pool import cancel_children, run_on_pool
from flows.runs.results import Outcome
from tasks.clips.discovery import discover_clips
from tasks.clips.failures import current_failures
from tasks.core.errors import FailureReason, FightposeError
from tasks.core.settings import Settings
from tests.video_factory import plain_frames, write_video

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("deployed")]

Execution = Callable[[SyncPrefectClient, FlowRun], None]


@pytest.fixture(scope="module")
def deployed(prefect_server: str) -> None:
    """Give the server its pools and deployments."""
    asyncio.run(create_pools())
    deploy()


@pytest.fixture
def jobs(tmp_path: Path, out: Path) -> list[ClipJob]:
    """Give four clips of different content."""
    root = tmp_path / "data"
    root.mkdir()
    for number in range(4):
        write_video(root / f"{number}.mp4", plain_frames(14 + number, width=128, height=96))
    return [ClipJob(clip, root, out, Settings()) for clip in discover_clips(root, out).clips]


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Make this process look like one parent, however often it asks, and let it ask often."""
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(tmp_path))
    monkeypatch.setattr(fan_out, "POLL_SECONDS", 0.1)
    return str(tmp_path)


def runs_of(client: SyncPrefectClient, jobs: list[ClipJob]) -> list[FlowRun]:
    """Return the runs of the clips of a test."""
    root = str(jobs[0].input_root)
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"tags": {"any_": ["clip"]}}))
    return [run for run in found if run.parameters.get("input_root") == root]


class Executor:
    """Stands in for a worker: takes queued runs of a test one after the other.

    Parameters
    ----------
    jobs
        The clips of the test.
    execute
        What becomes of a run.
    """

    def __init__(self, jobs: list[ClipJob], execute: Execution) -> None:
        self.most_unfinished = 0
        self._jobs, self._execute = jobs, execute
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Executor:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        """Execute what is queued until told to stop."""
        with get_client(sync_client=True) as client:
            while not self._stop.wait(0.1):
                unfinished = [r for r in runs_of(client, self._jobs) if r.state is not None and not r.state.is_final()]
                self.most_unfinished = max(self.most_unfinished, len(unfinished))
                for run in unfinished[:1]:
                    client.set_flow_run_state(run.id, Pending())
                    self._execute(client, run)


def annotates(client: SyncPrefectClient, run: FlowRun) -> None:
    """Run the flow, as a worker's process would."""
    run_flow(annotate_video, flow_run=client.read_flow_run(run.id), return_type="state")


def crashes(client: SyncPrefectClient, run: FlowRun) -> None:
    """Die while running."""
    client.set_flow_run_state(run.id, Running())
    client.set_flow_run_state(run.id, Crashed(message="killed"))


def test_each_clip_is_a_run_and_the_number_in_flight_is_kept(jobs, stand_in, parent):
    """All are annotated; two at most are queued or running at any time."""
    with Executor(jobs, annotates) as executor:
        results = list(run_on_pool(jobs, in_flight=2))
    assert {result.clip: result.outcome for result in results} == {f"{n}.mp4": Outcome.ANNOTATED for n in range(4)}
    assert all(result.summary and result.summary.people == 2 for result in results)
    assert executor.most_unfinished <= 2
    assert stand_in.frames == 14 + 15 + 16 + 17


def test_a_parent_that_is_run_again_starts_no_clip_twice(jobs, stand_in, parent):
    """It dies after the first result; its next try finds the runs that are there."""
    with Executor(jobs, annotates):
        first = next(run_on_pool(jobs, in_flight=3))
        again = list(run_on_pool([job for job in jobs if job.clip.relative != first.clip], in_flight=3))
    with get_client(sync_client=True) as client:
        assert len(runs_of(client, jobs)) == len(jobs)
    assert len(again) == 3
    assert stand_in.frames == 14 + 15 + 16 + 17


def test_a_failed_clip_is_reported_with_its_reason_and_run_again_by_the_parents_next_try(jobs, stand_in, parent):
    """The same run, not a second one."""
    strict = Settings.model_validate({"selection": {"min_track_length": 15}})
    jobs = [ClipJob(job.clip, job.input_root, job.output_root, strict) for job in jobs]
    with Executor(jobs, annotates):
        results = {result.clip: result for result in run_on_pool(jobs, in_flight=4)}
        failed = [result for result in results.values() if result.outcome == Outcome.FAILED]
        assert [result.clip for result in failed] == ["0.mp4"]
        assert failed[0].error.reason == FailureReason.INSUFFICIENT_LENGTH
        assert [result.outcome for result in run_on_pool(jobs[:1], in_flight=4)] == [Outcome.FAILED]
    with get_client(sync_client=True) as client:
        runs = runs_of(client, jobs)
    assert len(runs) == len(jobs)
    assert max(run.run_count for run in runs) == 2


def test_a_clip_that_kills_its_process_every_time_is_recorded_after_three_restarts(jobs, parent, monkeypatch):
    """The parent reschedules where no automation does."""
    monkeypatch.setattr(fan_out, "CRASH_PATIENCE_SECONDS", 0.0)
    with Executor(jobs[:1], crashes):
        (result,) = run_on_pool(jobs[:1], in_flight=1)
    assert result.outcome == Outcome.FAILED
    assert "its process died 4 times" in result.error.info
    assert [failure.frame_dir for failure in current_failures(jobs[0].output_root)] == ["data/0"]
    with get_client(sync_client=True) as client:
        assert [run.run_count for run in runs_of(client, jobs)] == [MAX_RESTARTS + 1]


def test_an_output_folder_that_is_not_shared_is_told_at_the_first_clip(jobs, parent, monkeypatch):
    """A run is complete on its own machine and has left nothing here."""
    monkeypatch.setattr(fan_out, "SHARE_PATIENCE_SECONDS", 0.0)

    def elsewhere(client: SyncPrefectClient, run: FlowRun) -> None:
        """Write the outputs on another machine."""
        client.set_flow_run_state(run.id, Running())
        client.set_flow_run_state(run.id, Completed())

    with (
        Executor(jobs, elsewhere),
        pytest.raises(FightposeError, match="the output folder is not shared by all machines"),
    ):
        list(run_on_pool(jobs, in_flight=1))


def test_cancelling_the_parent_cancels_its_queued_clips(jobs, prefect_server):
    """The hook finds them by their parent."""
    from prefect import flow

    @flow
    def starts() -> None:
        """Start the clips and end."""
        for number, job in enumerate(jobs):
            fan_out.start_clip(job, f"{job.input_root}-{number}")

    state = starts(return_state=True)
    with get_client(sync_client=True) as client:
        parent_run = client.read_flow_run(state.state_details.flow_run_id)
        assert [run.state.type.name for run in runs_of(client, jobs)] == ["SCHEDULED"] * 4
        cancel_children(starts, parent_run, state)
        deadline = time.monotonic() + 10
        while any(run.state.type.name != "CANCELLED" for run in runs_of(client, jobs)):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_cancelling_reaches_the_clips_of_a_flow_that_the_parent_called(jobs, prefect_server):
    """`verify-mapping` mends by calling `retry-failed`, whose clips are the ones to end."""
    from prefect import flow

    called = []

    @flow
    def starts() -> None:
        """Start the clips, and see the flow that called this one cancelled."""
        for number, job in enumerate(jobs):
            fan_out.start_clip(job, f"{job.input_root}-called-{number}")
        with get_client(sync_client=True) as client:
            outer = client.read_flow_run(UUID(runtime.flow_run.parent_flow_run_id))
            cancel_children(calls, outer, outer.state)
            called.append(client.read_flow_run(UUID(runtime.flow_run.id)))

    @flow
    def calls() -> None:
        """Call the flow that starts the clips."""
        starts(return_state=True)

    calls(return_state=True)
    assert called[0].state.is_cancelled()
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + 10
        while any(run.state.type.name != "CANCELLED" for run in runs_of(client, jobs)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert len(runs_of(client, jobs)) == 4


def test_a_server_without_our_deployments_is_told_before_anything_starts(jobs, parent, monkeypatch):
    """One line that says what to do."""
    monkeypatch.setattr(fan_out, "DEPLOYMENT", "annotate-video/of-another-program")
    with pytest.raises(FightposeError, match="start `fightpose up`, or deploy"):
        list(run_on_pool(jobs, in_flight=1))
    assert not jobs[0].output_root.exists()


def test_a_pool_that_is_missing_is_told_before_anything_starts(jobs, parent, monkeypatch):
    """Its deployment stays when a pool is deleted, and its runs would wait for ever."""
    read = SyncPrefectClient.read_deployment_by_name

    def without_pool(client: SyncPrefectClient, name: str):
        """Answer as the server does after the pool was deleted."""
        return read(client, name).model_copy(update={"work_pool_name": None})

    monkeypatch.setattr(SyncPrefectClient, "read_deployment_by_name", without_pool)
    with pytest.raises(FightposeError, match=r"the work pool of the deployment .* was deleted; create it again"):
        list(run_on_pool(jobs, in_flight=1))
    assert not jobs[0].output_root.exists()


def test_a_run_that_is_put_back_is_due_at_once_whatever_this_machines_clock_says(jobs, parent):
    """A clock that is an hour ahead would make it wait for an hour."""
    with get_client(sync_client=True) as client:
        run = fan_out.start_clip(jobs[0], "clock")
        client.set_flow_run_state(run.id, Crashed(), force=True)
        requeue(client, client.read_flow_run(run.id), "again")
        again = client.read_flow_run(run.id)
    assert again.state.is_scheduled()
    assert again.state.state_details.scheduled_time == run.expected_start_time


@pytest.fixture(autouse=True)
def none_left_queued(jobs: list[ClipJob]) -> Iterator[None]:
    """Delete the runs of a test after it: other tests of the session share the server."""
    yield
    with get_client(sync_client=True) as client:
        for run in runs_of(client, jobs):
            client.delete_flow_run(run.id)
