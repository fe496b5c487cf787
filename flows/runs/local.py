"""Running many clips on this machine, each as one Prefect task: overlapped, or whole in worker processes.

The task is the record of a clip that people look at and that says how often it was tried; the work is done by an engine
that knows nothing of Prefect and never waits for its server (`flows.engine.engines`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from flows.engine.engines import Engine, OverlappedEngine, ParallelEngine
from flows.engine.jobs import ClipJob
from flows.engine.walk import Ended, walk
from flows.engine.workers import WorkerDiedError
from flows.runs.artifacts import show_card
from flows.runs.machine_load import Load, ResourceMonitor, allowed_workers
from flows.runs.results import ClipResult, Outcome, recorded_failure
from tasks import steps
from tasks.core.errors import ClipError
from tasks.core.settings import Settings
from tasks.core.storage import key_of
from tasks.core.text import printable
from tasks.mapping.receipts import finished
from tasks.mapping.summary import ClipSummary, summary_of
from tasks.poses import PoseModel
from tasks.report.clip_card import failure_card

FINISHER_BYTES = 512 << 20
"""Memory that one more clip under way is assumed to need: its decoder, its frames, and the process that draws it."""


class ClipWork:
    """A clip and the engine that does it, for `annotate_clip`.

    A plain class: Prefect looks into dataclasses that are parameters of a task, field by field, for results of others.

    Parameters
    ----------
    job, engine
        The clip and the engine.
    cache_key
        Under which Prefect keeps the result for another try of the run, None for not at all.
    done
        What was found in the clip, where its outputs are complete already.
    """

    def __init__(
        self, job: ClipJob, engine: Engine, cache_key: str | None = None, done: ClipSummary | None = None
    ) -> None:
        self.job, self.engine, self.cache_key, self.done = job, engine, cache_key, done
        # Names of runs reach the logs of workers, whose terminals obey what a file's name may hold.
        self.name = printable(job.clip.relative)


def may_pass(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect whether a clip is to be tried again at once."""
    # One whose worker died is tried again later, when no other clip takes memory beside it.
    died = isinstance(state.result(raise_on_failure=False), WorkerDiedError)
    return not died and steps.may_pass(task, run, state)


_options: dict[str, Any] = {
    "name": "annotate-clip",
    "task_run_name": "{work.name}",
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": may_pass,
}


@task(**_options, cache_policy=NO_CACHE, persist_result=False)
def annotate_clip(work: ClipWork) -> dict[str, Any]:
    """Annotate one clip and return its summary as plain values."""
    # Prefect lost the result, the folder has it: the task is run for the record and costs nothing.
    if work.done is not None:
        return asdict(work.done)
    try:
        return asdict(work.engine.annotate(work.job))
    except ClipError as error:
        # Shown by the task itself, since an artifact belongs to the task that makes it.
        show_card(failure_card(work.job.clip, error))
        raise


def as_tasks(engine: Engine) -> Callable[[ClipJob], ClipSummary]:
    """Return what `walk` calls per clip to have the engine's work recorded as a Prefect task."""
    return lambda job: summary_of(annotate_clip(ClipWork(job, engine)))


# The same with a result that outlives the process: another try of the run finds it and does not start the task.
_kept_clip: Task[[ClipWork], dict[str, Any]] = task(
    **_options,
    cache_key_fn=lambda context, parameters: parameters["work"].cache_key,
    persist_result=True,
    result_serializer="json",
)(annotate_clip.fn)


class ShardTasks:
    """The clips of a shard's run as Prefect tasks, each once for all tries of the run.

    Parameters
    ----------
    engine
        Does the work.
    key
        `tasks.mapping.receipts.settings_key` of the run.
    run_id
        The shard's run.
    """

    def __init__(self, engine: Engine, key: str, run_id: str) -> None:
        self._engine, self._key, self._run_id = engine, key, run_id
        # For results whose outputs were deleted or changed since: Prefect would not know.
        self._again = _kept_clip.with_options(refresh_cache=True)

    def annotate(self, job: ClipJob) -> ClipSummary:
        """Run the task of one clip; Prefect's kept result counts only where the receipt says the same."""
        done = finished(job.clip, job.output_root, self._key)
        # The run is part of the key: another run of the same clip has to have a task of its own.
        work = ClipWork(job, self._engine, key_of("clip", self._run_id, job.clip.frame_dir), done)
        return summary_of(_kept_clip(work) if done is not None else self._again(work))


def run_here(jobs: Iterable[ClipJob], engine: Engine, room: Callable[[int], int] | None = None) -> Iterator[ClipResult]:
    """Annotate clips on this machine, one Prefect task each, and yield results as they come.

    Parameters
    ----------
    jobs
        The clips.
    engine
        Does the work; see `overlapped` and `parallel`.
    room
        As for `flows.engine.walk.walk`.
    """
    for ended in walk(jobs, engine, as_tasks(engine), room):
        yield result_of(ended)


def overlapped(settings: Settings, model: PoseModel) -> OverlappedEngine:
    """Return the engine of the modes single and demo, sized for this machine."""
    load = ResourceMonitor().read()
    # Read once, at the start: it is the most that may run, and workers are started as clips need them.
    by_memory = load.available_bytes // FINISHER_BYTES
    return OverlappedEngine(settings, model, max(1, min(load.cores, by_memory)))


def parallel(settings: Settings, limit: int | None) -> tuple[ParallelEngine, Callable[[int], int], str]:
    """Return the engine of mode parallel, what says how many clips may be under way now, and the line that says why."""
    monitor = ResourceMonitor()
    load = monitor.read()
    # An upper bound for the pool; how many of them have a clip is decided again as the run goes.
    workers = limit or allowed_workers(load, 0, load.cores)
    engine = ParallelEngine(settings, workers)
    line = workers_line(workers, load, limit)
    return engine, lambda running: allowed_workers(monitor.read(), running, workers), line


def workers_line(workers: int, load: Load, limit: int | None) -> str:
    """Return the line that says how many workers a run starts, and why."""
    if limit:
        return f"Up to {workers} worker processes, as --num-workers says"
    # GB of 10^9 bytes; the 1 GB in the line is `WORKER_BYTES`, 2^30 bytes.
    free = load.available_bytes / 1e9
    return (
        f"Up to {workers} worker processes: {load.cores} cores, {free:.0f} GB of free memory at 1 GB each; "
        "--num-workers sets another number"
    )


def result_of(ended: Ended) -> ClipResult:
    """Return what became of a clip, its failure recorded."""
    if ended.summary is not None:
        return ClipResult(ended.job.clip.relative, Outcome.ANNOTATED, ended.seconds, summary=ended.summary)
    error = recorded_failure(
        ended.error or RuntimeError("it ended without a result"), ended.job.clip, ended.job.output_root
    )
    return ClipResult(ended.job.clip.relative, Outcome.FAILED, ended.seconds, error=error)
