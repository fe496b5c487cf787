"""Annotate a folder of clips.

Problem: thousands of clips, some of them broken, on a machine that may be stopped at any time. Solution: clips
whose outputs are complete are passed over, the others are annotated one by one, each its own run; what fails is
recorded and the rest goes on. The run ends with one merged data set, a verified mapping and an analysis.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from flows.analyze_dataset import analyze
from flows.engine.jobs import ClipJob
from flows.runs import conclusion
from flows.runs.artifacts import ProgressBar, show_table
from flows.runs.conclusion import begin
from flows.runs.local import overlapped, parallel, run_here
from flows.runs.merging import merge_if_wanted
from flows.runs.plan import Plan, plan_run
from flows.runs.pool import cancel_children, run_on_pool
from flows.runs.results import ClipResult, DatasetSummary, Outcome
from tasks import steps
from tasks.clips.discovery import Clip
from tasks.clips.failures import log_failure
from tasks.clips.still_copying import still_growing
from tasks.core.choices import FailOn, Mode
from tasks.core.errors import ClipError, FailureReason
from tasks.core.settings import DatasetSettings, Settings
from tasks.core.storage import sweep_partials
from tasks.core.text import field_text
from tasks.mapping.run_lock import sole_run
from tasks.poses import model_of

logger = logging.getLogger(__name__)


# The bounds are part of the type: those of a default written as `= Field(...)` do not reach the form of Prefect's UI.
Count = Annotated[int, Field(ge=1, le=100_000)]
# The server gives the states of at most 200 runs in one answer.
InFlight = Annotated[int, Field(ge=1, le=200)]
FailShare = Annotated[float, Field(ge=0.0, le=1.0)]

OnResult = Callable[[ClipResult, int], None]
"""Called with each result and the number of clips of the run."""

OnLine = Callable[[str], None]
"""Called with what a person should know of how the clips are run."""

_listeners: list[tuple[OnResult, OnLine]] = []


def on_results(listener: OnResult | None, on_line: OnLine = lambda line: None) -> None:
    """Send the results of runs in this process to a listener as they come, and lines to another; None stops both.

    Not parameters of the flow: Prefect stores parameters, and a function cannot be stored.
    """
    _listeners[:] = [(listener, on_line)] if listener else []


@flow(name="annotate-dataset", flow_run_name="annotate {input.name!r}", on_cancellation=[cancel_children])
def annotate_dataset(
    input: Path,
    output_root: Path,
    mode: Mode = Mode.SINGLE,
    settings: Settings | None = None,
    num_workers: Count | None = None,
    demo_count: Count = 10,
    in_flight: InFlight = 20,
    fail_on: FailOn = FailOn.NONE,
    fail_share: FailShare = 0.1,
    settle_seconds: Annotated[float, Field(ge=0.0, le=86_400.0)] = 0.0,
) -> DatasetSummary | State[DatasetSummary]:
    """Annotate every clip below a folder, merge the annotations, verify and analyse the outputs.

    Args:
        input: Folder of clips, or one clip.
        output_root: Folder below which the input's tree is mirrored.
        mode: single loads the model once and overlaps the steps of several clips, parallel runs whole clips in worker
            processes, demo only a few clips of each folder, pool deals shards of clips to the work pool.
        settings: Settings of the run; what is left empty follows the model.
        num_workers: Most worker processes in mode parallel; empty means as many as cores and memory carry.
        demo_count: Number of clips in mode demo.
        in_flight: Most runs (shards, or clips of their own) queued or running at once in mode pool; one waits in the
            queue at a time.
        fail_on: When failed clips make this run a failed one: never, with any, or above a share of them.
        fail_share: The share for fail_on.
        settle_seconds: Look at new clips for this long and leave those that grow for the next run; 0 takes all.
    """
    # Two runs over one folder would annotate the same clips twice and merge each other's half.
    with sole_run(output_root):
        if swept := sweep_partials(output_root):
            logger.info("%d unfinished files of runs that were killed removed", swept)
        settings = settings or Settings()
        if mode != Mode.POOL:
            # A model that is unknown, absent or broken is reported before any clip is touched.
            model_of(settings.poses)
        # Before anything is recorded: a clip that is only half copied would go into the failure log as a broken one.
        plan = _settled(plan_run(input, output_root, settings, mode, demo_count), settle_seconds)
        results = begin(plan, output_root, settings)
        for result in results:
            _tell(result, len(plan.clips))
        jobs = [ClipJob(clip, plan.root, output_root, settings) for clip in plan.waiting]
        results += run_jobs(jobs, mode, num_workers, in_flight, total=len(plan.clips))
        summary = conclude(results, output_root, settings.dataset)
        summary.problems = plan.problems
        summary.warnings = plan.warnings + summary.warnings
    # With the lock released: a clip that was retried meanwhile found it held, and left its mark to this run.
    merge_if_wanted(output_root)
    return judged(summary, fail_on, fail_share)


def run_jobs(
    jobs: Sequence[ClipJob], mode: Mode, num_workers: int | None, in_flight: int, total: int
) -> list[ClipResult]:
    """Run clips in the way that the mode asks for, telling the listener of each.

    Parameters
    ----------
    jobs
        The clips.
    mode, num_workers, in_flight
        As in `annotate_dataset`.
    total
        Number of clips of the whole run, those that need no work included.
    """
    results = []
    # Clips that are finished already count as done, so that the bar is over the whole run.
    bar = ProgressBar(total, done=total - len(jobs)) if jobs else None
    # Prefect could not create a task for a name that is not UTF-8: such clips fail here, with a line that says why.
    named = [job for job in jobs if _has_utf8_name(job.clip)]
    for result in chain(_unnamed(jobs), _run(named, mode, num_workers, in_flight)):
        results.append(result)
        _tell(result, total)
        if bar:
            bar.advance()
    return results


def conclude(results: Sequence[ClipResult], output_root: Path, splitting: DatasetSettings) -> DatasetSummary:
    """Merge, verify and analyse what an output root holds, as tasks, and publish the results of a run."""
    summary = conclusion.conclude(results, output_root, splitting, steps.verify, analyze)
    show_table(summary)
    return summary


def judged(summary: DatasetSummary, fail_on: FailOn, fail_share: float) -> DatasetSummary | State[DatasetSummary]:
    """Return a run's summary, as a failed state if that is what its failed clips should make of it."""
    if not summary.too_many_failed(fail_on, fail_share):
        return summary
    failed, total = summary.count(Outcome.FAILED), len(summary.results)
    return Failed(message=f"{failed} of {total} clips failed; see the table of the run", data=summary)


def _has_utf8_name(clip: Clip) -> bool:
    """Tell whether a clip's path can be sent to Prefect, whose server takes UTF-8 only."""
    try:
        str(clip.path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unnamed(jobs: Sequence[ClipJob]) -> Iterator[ClipResult]:
    """Record the clips whose names are in no encoding that a run's parameters could hold."""
    for job in jobs:
        if not _has_utf8_name(job.clip):
            info = "its path is not UTF-8 (CP949, perhaps); rename it, for instance with convmv"
            error = ClipError(FailureReason.PROCESSING_ERROR, job.clip.path, info)
            log_failure(job.output_root, job.clip.path, job.clip.frame_dir, error.reason, error.info)
            # Escaped, since tables and logs take UTF-8 only.
            yield ClipResult(field_text(job.clip.relative), Outcome.FAILED, 0.0, error=error)


def _settled(plan: Plan, seconds: float) -> Plan:
    """Return a plan without the clips that are still being copied into the input."""
    growing = still_growing((clip.path for clip in plan.clips), seconds) if seconds else set()
    for path in sorted(growing):
        logger.info("%s is still growing: left for the next run", path)
    return plan.without(growing)


def _run(jobs: Sequence[ClipJob], mode: Mode, num_workers: int | None, in_flight: int) -> Iterator[ClipResult]:
    """Choose what runs the clips."""
    if not jobs:
        return
    settings = jobs[0].settings
    if mode == Mode.POOL:
        yield from run_on_pool(jobs, in_flight)
    elif mode == Mode.PARALLEL:
        # `room` follows the machine's load: fewer clips are started while memory is short.
        workers, room, line = parallel(settings, num_workers)
        logger.info("%s", line)
        for _, on_line in _listeners:
            on_line(line)
        with workers:
            yield from run_here(jobs, workers, room)
    else:
        # Demo differs from single in the choice of clips alone, which the plan has made.
        with overlapped(settings, model_of(settings.poses)) as engine:
            yield from run_here(jobs, engine)


def _tell(result: ClipResult, total: int) -> None:
    """Pass a result on to the listener, if there is one."""
    for listener, _ in _listeners:
        listener(result, total)
