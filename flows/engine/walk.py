"""Clips through an engine, with a bounded number under way; the order of results is that in which they end."""

from __future__ import annotations

import contextvars
import errno
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from flows.engine.engines import Engine
from flows.engine.jobs import ClipJob
from flows.engine.workers import WorkerDiedError
from tasks.core.errors import ClipError, FailureReason, FightposeError
from tasks.mapping.summary import ClipSummary

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often the number of clips under way is reconsidered."""

STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the output folder that would fail every clip after the first."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one clip ended.

    Attributes
    ----------
    job
        The clip.
    seconds
        Wall time.
    summary, error
        What was found, or why it failed; one of the two.
    """

    job: ClipJob
    seconds: float
    summary: ClipSummary | None = None
    error: Exception | None = None


Annotate = Callable[[ClipJob], ClipSummary]


def walk(
    jobs: Iterable[ClipJob],
    engine: Engine,
    annotate: Annotate | None = None,
    room: Callable[[int], int] | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[Ended]:
    """Annotate clips through an engine and yield how each ended.

    A worker process that dies may have been killed for want of memory, which the clips beside it took: its clip is done
    again at the end, alone, and failed only if that kills a worker as well.

    Parameters
    ----------
    jobs
        The clips; taken from the iterable when there is room for them.
    engine
        Does the work, and is stopped if the walk is left early.
    annotate
        What is called per clip, from a thread in this thread's context; by default the engine's own method.
    room
        Given the number of clips under way, how many there may be; the engine's number by default.
    wanted
        Whether more clips are to be started. Those under way end in any case.

    Raises
    ------
    FightposeError
        If the output folder is full or not writable any more: one line for all clips that are left.
    """
    call = annotate or engine.annotate
    room = room or (lambda running: engine.at_once)
    died: list[ClipJob] = []
    yield from _round(iter(jobs), engine, call, room, wanted, died)
    # One at a time, so that each has the memory of the machine to itself.
    for job in died if wanted() else ():
        again: list[ClipJob] = []
        yield from _round(iter([job]), engine, call, lambda running: 1, wanted, again)
        # It died alone as well: then the clips beside it are not to blame.
        if again:
            yield Ended(job, 0.0, error=_killed(job))


def _round(
    waiting: Iterator[ClipJob],
    engine: Engine,
    call: Annotate,
    room: Callable[[int], int],
    wanted: Callable[[], bool],
    died: list[ClipJob],
) -> Iterator[Ended]:
    """Run clips until none is left; those whose worker died go into `died`."""
    running: dict[Future[Ended], ClipJob] = {}
    # Not the limit, which is `room`: threads are started as clips need them.
    threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix="clip")
    try:
        while True:
            # Room first, then the next clip: one taken from the iterator without room would be lost.
            while wanted() and len(running) < room(len(running)) and (job := next(waiting, None)) is not None:
                # In a copy of this context: by it Prefect tells which run a task and its log lines belong to.
                running[threads.submit(contextvars.copy_context().run, _timed, job, call)] = job
            if not running:
                return
            for future in wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED).done:
                # `_timed` returns a clip's error as a value: what is raised here ends the whole walk.
                ended, job = future.result(), running.pop(future)
                if isinstance(ended.error, WorkerDiedError):
                    logger.warning("%s: %s; the clip is done again at the end", job.clip.relative, ended.error)
                    died.append(job)
                else:
                    # Before the result is passed on: thousands of clips would fail with the same line.
                    _refuse_full_storage(ended)
                    yield ended
    except BaseException:
        # Ctrl-C, a cancelled run, or a caller that wants no more results: threads end when their processes do.
        engine.stop()
        raise
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


def _timed(job: ClipJob, call: Annotate) -> Ended:
    """Annotate one clip; runs in a thread."""
    start = time.perf_counter()
    try:
        summary = call(job)
    # Not BaseException: what is about the run and not about the clip ends the walk.
    except Exception as error:
        return Ended(job, time.perf_counter() - start, error=error)
    return Ended(job, time.perf_counter() - start, summary=summary)


def _refuse_full_storage(ended: Ended) -> None:
    """Raise if a clip failed for a reason that all others would fail for."""
    error = ended.error
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        raise FightposeError(
            f"cannot write below {ended.job.output_root} ({error.strerror}); free space or fix the mount, and run this "
            "again: what is finished is not repeated"
        ) from error


def _killed(job: ClipJob) -> ClipError:
    """Return the error of a clip that killed its worker process twice, the second time alone."""
    return ClipError(
        FailureReason.PROCESSING_ERROR,
        job.clip.path,
        "the worker process died while annotating it (out of memory, or a crash in a decoder); convert it to H.264 mp4",
    )
