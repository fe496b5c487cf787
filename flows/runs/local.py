"""Running many clips on this machine: one after the other, or in worker processes.

Workers are processes because a crash in a decoder or a runtime must cost one clip and not the run. Each loads the model
once and runs whole clips. How many run follows free memory and cores while the run goes on.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from flows.annotate_video import annotate_video
from flows.runs.machine_load import ResourceMonitor, allowed_workers
from flows.runs.results import ClipResult, Outcome
from tasks.clips.discovery import Clip
from tasks.clips.failures import log_failure
from tasks.core.errors import ClipError, FailureReason
from tasks.core.progress import Progress, listen, report
from tasks.core.settings import Settings
from tasks.mapping.receipts import ClipSummary

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often the number of workers is reconsidered."""


@dataclass(frozen=True, slots=True)
class ClipJob:
    """One clip to annotate; everything that a worker process needs."""

    clip: Clip
    input_root: Path
    output_root: Path
    settings: Settings


def run_clip(job: ClipJob) -> ClipResult:
    """Annotate one clip in this process and return what became of it; never raises for the clip's sake."""
    start = time.perf_counter()
    clip = job.clip
    state = annotate_video(clip.path, job.output_root, job.input_root, job.settings, clip.label, return_state=True)
    seconds = time.perf_counter() - start
    if state.is_completed():
        return ClipResult(job.clip.relative, Outcome.ANNOTATED, seconds, summary=cast(ClipSummary, state.result()))
    error = state.result(raise_on_failure=False)
    if not isinstance(error, ClipError):
        # The run ended before the flow's own code could record why (a bad parameter, the server gone).
        error = ClipError(FailureReason.PROCESSING_ERROR, job.clip.path, " ".join(f"{state.message or error}".split()))
        log_failure(job.output_root, job.clip.path, job.clip.frame_dir, error.reason, error.info)
    return ClipResult(job.clip.relative, Outcome.FAILED, seconds, error=error)


Runner = Callable[[ClipJob], ClipResult]


def run_in_order(jobs: Sequence[ClipJob]) -> Iterator[ClipResult]:
    """Annotate clips one after the other in this process."""
    yield from map(run_clip, jobs)


def run_in_workers(jobs: Sequence[ClipJob], limit: int, run: Runner = run_clip) -> Iterator[ClipResult]:
    """Annotate clips in up to `limit` worker processes, and yield results as they come.

    `run` is a function of a module: local ones cannot be sent to another process.

    A worker that dies takes the pool with it. The clips that were under way are then done again one at a time: the one
    that kills its worker alone is recorded as failed, the others lose only time.
    """
    waiting = deque(jobs)
    while waiting:
        suspects: list[ClipJob] = []
        yield from _drain(waiting, limit, run, suspects)
        for job in suspects:
            alone: list[ClipJob] = []
            yield from _drain(deque([job]), 1, run, alone)
            if alone:
                yield _killed(job)


def _drain(waiting: deque[ClipJob], limit: int, run: Runner, suspects: list[ClipJob]) -> Iterator[ClipResult]:
    """Run waiting clips in one pool until none is left or the pool breaks; then put those under way into `suspects`."""
    monitor = ResourceMonitor()
    running: dict[Future[ClipResult], ClipJob] = {}
    with _pool(limit) as pool:
        try:
            while waiting or running:
                room = allowed_workers(monitor.read(), len(running), limit)
                while waiting and len(running) < room:
                    running[pool.submit(run, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED).done:
                    yield future.result()
                    del running[future]
        except BrokenProcessPool:
            logger.warning("a worker process died; its clips are done again one at a time")
            suspects.extend(running.values())


@contextmanager
def _pool(limit: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of worker processes whose progress reaches this process's listener."""
    # Spawned, not forked: a fork of a process with threads (Prefect, OpenVINO) can deadlock.
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()

    def pass_on() -> None:
        """Hand the workers' progress to the listener until the end mark comes."""
        while (progress := messages.get()) is not None:
            report(progress)

    listener = threading.Thread(target=pass_on, name="progress", daemon=True)
    listener.start()
    pool = ProcessPoolExecutor(limit, mp_context=context, initializer=_start_worker, initargs=(messages,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        messages.put(None)
        listener.join()


def _start_worker(messages: Any) -> None:
    """Prepare a worker process: progress goes to the parent, and Prefect runs without heartbeats there, too."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    last = [0.0]

    def send(progress: Progress) -> None:
        """Send progress at most five times a second; the display shows no more."""
        if time.monotonic() - last[0] >= 0.2:
            last[0] = time.monotonic()
            messages.put(progress)

    listen(send)
    # Entered for the life of the process.
    temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}).__enter__()


def _killed(job: ClipJob) -> ClipResult:
    """Record a clip whose worker process died."""
    error = ClipError(
        FailureReason.PROCESSING_ERROR,
        job.clip.path,
        "the worker process died while annotating it (out of memory, or a crash in a decoder); convert it to H.264 mp4",
    )
    log_failure(job.output_root, job.clip.path, job.clip.frame_dir, error.reason, error.info)
    return ClipResult(job.clip.relative, Outcome.FAILED, 0.0, error=error)
