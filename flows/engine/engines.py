"""Walking many clips through the stages at once, so that no stage waits for another: without Prefect.

Two engines do the same work, one clip per call, from as many threads as `at_once` says:

- `OverlappedEngine`: the model in this process. Helper processes decode the next clips, the model works on batches that
  are filled across clips, and worker processes track, rank, annotate and draw. For one GPU, or one CPU model.
- `ParallelEngine`: whole clips in worker processes, each with a model of its own. For many cores.

A crash, a hang or a passed limit in a stage is raised for that clip alone. Memory is bounded by the number of clips at
once: per clip a decoder (some 60 MB) and its frames (`tasks.video.kept_frames`: 512 MB for all clips together), per
worker process some 150 MB.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self

from flows.engine.jobs import ClipJob, RunKeys
from flows.engine.stages import find_poses
from flows.engine.workers import OutOfTimeError, StoppedError, WorkerHangsError, WorkerPool
from tasks.core.errors import ClipError, FailureReason
from tasks.core.settings import Settings
from tasks.mapping.receipts import settings_key
from tasks.mapping.summary import ClipSummary
from tasks.poses.models import PoseModel, entry_of, model_key
from tasks.poses.shared_model import shared
from tasks.poses.usage import UsageMeter
from tasks.video.kept_frames import KeptBudget

logger = logging.getLogger(__name__)

CLIPS_AHEAD = 3
"""Clips that are decoded or before the model while the worker processes finish others."""

# Every worker has one clip: several threads in each of its libraries would only get into each other's way.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class Engine(Protocol):
    """What walks clips through the stages."""

    at_once: int

    def annotate(self, job: ClipJob) -> ClipSummary:
        """Annotate one clip; called from several threads."""
        ...

    def stop(self) -> None:
        """End everything under way at once; its calls raise a StoppedError."""
        ...


def resolved(settings: Settings) -> Settings:
    """Return settings in which the model's own thresholds fill what is left open."""
    return settings.resolve(entry_of(settings.poses).thresholds)


def run_keys(settings: Settings) -> RunKeys:
    """Return what names the results of a run; hashes the model's files."""
    entry, made_by = entry_of(settings.poses), model_key(settings.poses)
    return RunKeys(entry.name, entry.sha256, made_by, settings_key(resolved(settings), made_by))


class _Held:
    """A context manager that stops its engine at the end and then gives back what the engine holds."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def stop(self) -> None:
        """End everything under way at once."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._held.close()


class OverlappedEngine(_Held):
    """Clips with the model in this process and everything else in others; use it as a context manager.

    Parameters
    ----------
    settings
        Of all clips, as the run was given them.
    model
        The loaded model.
    finishers
        Most worker processes that finish clips.

    Attributes
    ----------
    at_once
        Clips to have under way: so many callers of `annotate`.
    """

    def __init__(self, settings: Settings, model: PoseModel, finishers: int) -> None:
        super().__init__()
        self._settings, self._keys = resolved(settings), run_keys(settings)
        self._model = shared(model)
        self._budget = KeptBudget()
        self.finishers = WorkerPool("flows.engine.stages:finish", finishers, ONE_THREAD)
        # Looked at after every batch: a thread cannot be ended from outside as a process can.
        self._stopped = threading.Event()
        self.at_once = finishers + CLIPS_AHEAD
        # One meter for all clips: what each takes of a shared machine cannot be told apart.
        self._meter = UsageMeter(settings.poses.device.startswith("cuda"))

    def annotate(self, job: ClipJob) -> ClipSummary:
        """Annotate one clip.

        Raises
        ------
        ClipError
            What makes the clip fail.
        OSError
            What may pass at another try; `WorkerDiedError` if a worker process died of it.
        StoppedError
            If the engine was stopped.
        """
        job = replace(job, settings=self._settings)
        # It keeps the frames until the overlay is drawn from them, and then gives their memory back.
        with ExitStack() as held:
            found, descriptor = find_poses(job, self._keys, self._model, self._budget, held, self._check)
            # Poses that were in the store were not extracted: there is no usage to report.
            if found.extracted:
                found = replace(found, usage=self._meter.read())
            # A descriptor is only a number of this process: it goes beside the pickle, as a duplicate for the worker.
            descriptors = [descriptor] if descriptor is not None else []
            return _finished(self.finishers, found, job, lambda: found.limits.seconds_left, descriptors)

    def stop(self) -> None:
        """End everything under way at once."""
        self._stopped.set()
        self.finishers.close()

    def _check(self) -> None:
        """Raise if the engine was stopped."""
        if self._stopped.is_set():
            raise StoppedError("the run was stopped")

    def __enter__(self) -> Self:
        # Closed in the opposite order: the meter first, then the thread of the model.
        self._held.enter_context(self._model)
        self._meter.start()
        self._held.callback(self._meter.end)
        return self


class ParallelEngine(_Held):
    """Whole clips in worker processes, each with a model of its own; use it as a context manager.

    Parameters
    ----------
    settings
        Of all clips, as the run was given them.
    workers
        Most worker processes.
    target
        What they call per clip, with `(job, keys)`.

    Attributes
    ----------
    at_once
        Clips to have under way: one per worker.
    """

    def __init__(self, settings: Settings, workers: int, target: str = "flows.engine.stages:annotate_alone") -> None:
        super().__init__()
        self._settings, self._keys = resolved(settings), run_keys(settings)
        self._workers = WorkerPool(target, workers)
        self.at_once = workers

    def annotate(self, job: ClipJob) -> ClipSummary:
        """Annotate one clip; see `OverlappedEngine.annotate`."""
        job = replace(job, settings=self._settings)
        # The worker keeps the time limit itself: its first clip waits for the model to load.
        return _finished(self._workers, (job, self._keys), job, lambda: float("inf"), [])

    def stop(self) -> None:
        """End everything under way at once."""
        self._workers.close()


def _finished(pool: WorkerPool, work: Any, job: ClipJob, seconds_left: Any, descriptors: list[int]) -> ClipSummary:
    """Have a worker finish a clip; a limit or a hang becomes the clip's own error."""
    try:
        summary: ClipSummary = pool.call(work, seconds_left, descriptors)
        return summary
    except OutOfTimeError as error:
        limit = job.settings.limits.time_limit
        info = f"took longer than {limit:g} s; raise --time-limit, or cut the clip into parts"
        raise ClipError(FailureReason.PROCESSING_ERROR, job.clip.path, info) from error
    except WorkerHangsError as error:
        info = f"{error}, and was ended; convert the clip to H.264 mp4"
        raise ClipError(FailureReason.PROCESSING_ERROR, job.clip.path, info) from error
