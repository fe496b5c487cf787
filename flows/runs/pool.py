"""Clips on a work pool: as shards (`flows.runs.dealing`), or one `annotate-video` run per clip.

Problem: clips on many machines that may die, and a parent that may die as well. Solution for a few clips and
for those that take their shard down: each is a run of its own that Prefect can retry alone. The parent keeps a bounded
number of them in flight and asks the server for their states, all in one request. Which run belongs to a clip is kept
by the server, under an idempotency key of parent and clip: a parent that is run again finds the runs of its first try
and starts none twice. What a clip amounts to is read from its receipt in the output folder, which all machines share.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import UUID

import httpx
from prefect import Flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled, Cancelling

from flows.engine.jobs import ClipJob
from flows.prefect_server.requeue import MAX_RESTARTS, requeue
from flows.runs.dealing import SHARD_DEPLOYMENT, Dealer
from flows.runs.results import ClipResult, Outcome
from tasks.clips.failures import current_failures, log_failure
from tasks.core.errors import ClipError, FailureReason, FightposeError
from tasks.core.storage import key_of
from tasks.mapping.receipts import finished, settings_key
from tasks.poses import entry_of, model_key

logger = logging.getLogger(__name__)

DEPLOYMENT = "annotate-video/annotate-video"

MOST_SINGLE_RUNS = 8
"""More clips than these are dealt as shards."""

POLL_SECONDS = 3.0
CRASH_PATIENCE_SECONDS = 60.0
"""How long the automation may take to reschedule a crashed run before the parent does it."""

SHARE_PATIENCE_SECONDS = 60.0
"""How long a network file system may hide a new file from another machine (NFS: attributes are cached for 60 s)."""

SERVER_PATIENCE_SECONDS = 600.0
"""How long the server may be away."""

WORKER_PATIENCE_SECONDS = 120.0
"""How long no run may start before the parent says that no worker seems to be there."""


@dataclass(slots=True)
class Child:
    """A clip's run.

    Attributes
    ----------
    job
        The clip.
    run_id
        The run.
    restarts
        How often the parent rescheduled it after a crash.
    ended
        When its present end (crashed, completed) was first seen, seconds of this process's monotonic clock (the
        server's may differ); None while it runs.
    """

    job: ClipJob
    run_id: UUID
    restarts: int = 0
    ended: float | None = None

    def ended_for(self) -> float:
        """Return for how long the run's present end has been known, seconds."""
        self.ended = self.ended if self.ended is not None else time.monotonic()
        return time.monotonic() - self.ended


@task(
    name="start-clip",
    task_run_name="start {job.clip.relative!r}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=5,
    retry_delay_seconds=[1, 2, 5, 10, 20],
)
def start_clip(job: ClipJob, idempotency_key: str) -> FlowRun:
    """Put a clip's run into the queue, or find the one that an earlier try of this parent put there."""
    # The key and not a persisted result: it also holds when the parent dies between the request and its answer.
    run = run_deployment(
        DEPLOYMENT,
        parameters={
            "video": str(job.clip.path),
            "output_root": str(job.output_root.absolute()),
            "input_root": str(job.input_root),
            "settings": job.settings.model_dump(mode="json"),
            "label": job.clip.label,
        },
        timeout=0,
        idempotency_key=idempotency_key,
        tags=["fightpose", "clip"],
    )
    # Its type allows for a coroutine, which it returns in async code only.
    return cast(FlowRun, run)


def run_on_pool(jobs: Sequence[ClipJob], in_flight: int) -> Iterator[ClipResult]:
    """Annotate clips on the work pool, and yield results as they come.

    A handful of clips are runs of their own, in which a person can follow every step. More are dealt as shards; what
    those set aside is done in runs of its own at the end.

    Parameters
    ----------
    jobs
        The clips; all under the same settings.
    in_flight
        Most runs that may be queued or running at once.

    Raises
    ------
    FightposeError
        If a deployment is not there, the server stays away, or the output folder turns out not to be shared.
    """
    left: list[ClipJob] = list(jobs)
    if len(jobs) > MOST_SINGLE_RUNS:
        # Filled again with what the shards set aside: those clips are done as runs of their own.
        left.clear()
        # Clips of one work list share an input root; failed clips of an output folder may be of several.
        for group in _by_root(jobs):
            yield from _in_shards(group, in_flight, left)
    yield from run_alone(left, in_flight)


def _by_root(jobs: Sequence[ClipJob]) -> list[list[ClipJob]]:
    """Return the clips grouped by their input root."""
    groups: dict[Path, list[ClipJob]] = {}
    for job in jobs:
        groups.setdefault(job.input_root, []).append(job)
    return list(groups.values())


def _in_shards(jobs: Sequence[ClipJob], in_flight: int, left: list[ClipJob]) -> Iterator[ClipResult]:
    """Deal clips as shards and yield how they ended; those that no shard did go into `left`."""
    with get_client(sync_client=True) as client:
        _require_deployment(client, SHARD_DEPLOYMENT)
        dealer = Dealer(client, jobs, in_flight)
        yield from _watched(client, dealer)
    left += dealer.left


def run_alone(jobs: Sequence[ClipJob], in_flight: int) -> Iterator[ClipResult]:
    """Annotate clips as runs of the deployment `annotate-video`, and yield results as they come; see `run_on_pool`."""
    if not jobs:
        return
    with get_client(sync_client=True) as client:
        _require_deployment(client, DEPLOYMENT)
        yield from _watched(client, _SingleRuns(client, jobs, in_flight))


class _Dealt(Protocol):
    """Work in runs of its own: a `Dealer` of shards, or `_SingleRuns`."""

    @property
    def open(self) -> bool:
        """Whether there is anything to start or under way."""
        ...

    @property
    def under_way(self) -> list[UUID]:
        """The runs that are queued or running."""
        ...

    def deal(self) -> None:
        """Start what may be started now."""
        ...

    def look(self, runs: Sequence[FlowRun]) -> Iterator[ClipResult]:
        """Yield the clips that have ended since the last look."""
        ...


def _watched(client: SyncPrefectClient, dealt: _Dealt) -> Iterator[ClipResult]:
    """Keep runs in flight until all is done, and yield how their clips ended."""
    watch = _Watch()
    # Deal before looking: a GPU that is free gets its next run before results are written.
    while dealt.open:
        dealt.deal()
        # One request for all of them: one each would be dozens every few seconds.
        runs = _read(client, dealt.under_way)
        watch.look(runs)
        yield from dealt.look(runs)
        time.sleep(POLL_SECONDS if dealt.under_way else 0)


class _SingleRuns:
    """Clips as one run each, a bounded number in flight: a large folder does not become thousands of queued runs."""

    def __init__(self, client: SyncPrefectClient, jobs: Sequence[ClipJob], in_flight: int) -> None:
        self._client, self._in_flight = client, in_flight
        self._waiting, self._children = deque(jobs), dict[UUID, Child]()

    @property
    def open(self) -> bool:
        """Whether there is a clip to start or under way."""
        return bool(self._waiting or self._children)

    @property
    def under_way(self) -> list[UUID]:
        """The runs that are queued or running."""
        return list(self._children)

    def deal(self) -> None:
        """Start runs as long as more are wanted."""
        while self._waiting and len(self._children) < self._in_flight:
            child = _start(self._client, self._waiting.popleft())
            self._children[child.run_id] = child

    def look(self, runs: Sequence[FlowRun]) -> Iterator[ClipResult]:
        """Yield the clips that have ended since the last look."""
        for run in runs:
            if result := _result(self._client, self._children[run.id], run):
                del self._children[run.id]
                yield result


def cancel_children(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancel the runs that a cancelled parent started; a hook of the dataset flows."""
    with get_client(sync_client=True) as client:
        _cancel_children_of(client, flow_run.id)


def _cancel_children_of(client: SyncPrefectClient, parent: UUID) -> None:
    """Cancel the unfinished runs below a run, those of flows that it called included."""
    # A page holds 200; runs that are cancelled leave the filter.
    while runs := client.read_flow_runs(flow_run_filter=_unfinished_children_of(parent)):
        for run in runs:
            if run.deployment_id is None:
                # It ran in its parent's process, which has ended: no worker would take it from Cancelling to Cancelled.
                _cancel_children_of(client, run.id)
            why = "the run that started it was cancelled"
            client.set_flow_run_state(run.id, Cancelling(message=why) if run.deployment_id else Cancelled(message=why))


def _unfinished_children_of(parent: UUID) -> FlowRunFilter:
    """Return the filter of a parent's runs that a cancellation concerns."""
    return FlowRunFilter.model_validate(
        {
            "parent_flow_run_id": {"any_": [parent]},
            "state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}},
        }
    )


def _require_deployment(client: SyncPrefectClient, name: str) -> None:
    """Refuse to start where nothing would ever run."""
    try:
        deployment = client.read_deployment_by_name(name)
    except ObjectNotFound:
        raise FightposeError(
            f"the Prefect server at {client.api_url} has no deployment {name}; start `fightpose up`, or deploy "
            "with `prefect --no-prompt deploy --all --prefect-file deployments/prefect.yaml`"
        ) from None
    if not deployment.work_pool_name:
        raise FightposeError(
            f"the work pool of the deployment {name} was deleted; create it again and deploy, or start `fightpose up`"
        )


def _start(client: SyncPrefectClient, job: ClipJob) -> Child:
    """Start a clip's run; one that ended in an earlier try of this parent is run again."""
    run = start_clip(job, key_of(runtime.flow_run.id, job.clip.frame_dir))
    # Under its key the server gives back the run of an earlier try, and that one will not start again.
    if run.state is not None and run.state.is_final():
        requeue(client, run, "the run over the folder was started again")
    return Child(job, run.id)


def _read(client: SyncPrefectClient, ids: list[UUID]) -> list[FlowRun]:
    """Read runs in one request, and wait for a server that is away for a while."""
    start = time.monotonic()
    while True:
        try:
            return client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": ids}}))
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            # A restart of the server takes a while, and the clips under way must not be given up for it.
            if time.monotonic() - start > SERVER_PATIENCE_SECONDS:
                raise FightposeError(
                    f"the Prefect server at {client.api_url} has been away for {SERVER_PATIENCE_SECONDS / 60:.0f} "
                    "minutes; start it and retry this run: nothing that is finished is repeated"
                ) from error
            logger.warning("the Prefect server does not answer (%s); trying again", type(error).__name__)
            time.sleep(POLL_SECONDS)


def _result(client: SyncPrefectClient, child: Child, run: FlowRun) -> ClipResult | None:
    """Return what became of a clip, None while that is open."""
    if run.state is None or not run.state.is_final():
        # It was put back after a crash: the time of its next end counts from then.
        child.ended = None
        return None
    if run.state.is_completed():
        return _completed(child, run)
    if run.state.is_crashed() and not _given_up(client, child, run):
        return None
    error = _failure(child.job, run.state)
    return ClipResult(child.job.clip.relative, Outcome.FAILED, _seconds(run), error=error)


def _completed(child: Child, run: FlowRun) -> ClipResult | None:
    """Return the result of a completed run from its receipt, None while that may still be on its way."""
    job = child.job
    # The state alone proves nothing: outputs count where this machine can see them, under this key.
    entry = entry_of(job.settings.poses)
    key = settings_key(job.settings.resolve(entry.thresholds), model_key(job.settings.poses))
    summary = finished(job.clip, job.output_root, key)
    if summary is not None:
        return ClipResult(job.clip.relative, Outcome.ANNOTATED, _seconds(run), summary=summary)
    if child.ended_for() < SHARE_PATIENCE_SECONDS:
        return None
    raise FightposeError(
        f"the run of {job.clip.relative} is complete, yet its outputs are not in {job.output_root} on this machine: "
        "the output folder is not shared by all machines of the pool; mount it on each of them under the same path"
    )


def _given_up(client: SyncPrefectClient, child: Child, run: FlowRun) -> bool:
    """Tell whether a crashed run has had all its chances; give it the next one where the automation did not."""
    if run.run_count > MAX_RESTARTS or child.restarts >= MAX_RESTARTS:
        return True
    # The automation comes first: only where it did nothing for a while does the parent act.
    if child.ended_for() >= CRASH_PATIENCE_SECONDS:
        child.restarts, child.ended = child.restarts + 1, None
        requeue(client, run, f"rescheduled after a crash, {child.restarts} of {MAX_RESTARTS}")
    return False


def _failure(job: ClipJob, state: State[Any]) -> ClipError:
    """Return why a clip failed; what its own run could not write to the failure log is written now."""
    # What the run itself wrote says more than the state of its process.
    for failure in current_failures(job.output_root):
        if failure.frame_dir == job.clip.frame_dir:
            return ClipError(failure.reason, job.clip.path, failure.info)
    info = {
        "CRASHED": f"its process died {MAX_RESTARTS + 1} times (out of memory, or a crash in a decoder); "
        "convert it to H.264 mp4",
        "CANCELLED": "its run was cancelled; `fightpose retry-failed` runs it again",
    }.get(state.type.name, " ".join(str(state.message or state.name).split()))
    log_failure(job.output_root, job.clip.path, job.clip.frame_dir, FailureReason.PROCESSING_ERROR, info)
    return ClipError(FailureReason.PROCESSING_ERROR, job.clip.path, info)


def _seconds(run: FlowRun) -> float:
    """Return how long a run took in all its tries."""
    return run.total_run_time.total_seconds() if run.total_run_time else 0.0


class _Watch:
    """Tells when nothing moves."""

    def __init__(self) -> None:
        self._moved = time.monotonic()

    def look(self, runs: Sequence[FlowRun]) -> None:
        """Warn once if no worker takes the runs."""
        if any(run.state is not None and not run.state.is_scheduled() for run in runs):
            self._moved = time.monotonic()
        elif runs and time.monotonic() - self._moved > WORKER_PATIENCE_SECONDS:
            # The difference is then minus infinity: no second warning until some run has moved.
            self._moved = float("inf")
            logger.warning(
                "no run has started for %.0f s: start a worker with `prefect worker start --pool %s`, or see whether "
                "the pool is paused",
                WORKER_PATIENCE_SECONDS,
                runs[0].work_pool_name,
            )
