"""The flow's own way through a clip without Prefect's bookkeeping, which would take most of the time of a fuzz run.

What `flows.annotate_video` does is called as it is; only the tasks are replaced by the functions that they wrap.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest import mock

from flows import annotate_video as flow
from flows.engine import stages
from flows.engine.engines import resolved, run_keys
from flows.engine.jobs import ClipJob, RunKeys
from flows.runs.local import recorded_failure
from flows.runs.results import ClipResult, Outcome
from tasks import steps
from tasks.core.errors import ClipError
from tasks.poses.models import entry_of
from tasks.video import decoder
from tests.conftest import StandInModel

REAL_MODEL = "FIGHTPOSE_FUZZ_REAL_MODEL"
"""Environment variable: the embedded model runs, and not a stand-in that sees people everywhere."""

PEAKS = "peaks"
"""Folder below the output root where each process notes its peak memory, MB."""


STEPS = ("probe", "extract", "track", "regions", "region_weights", "rank", "select", "annotate", "overlay")
"""The tasks of `tasks.steps` that a clip walks through."""


@cache
def _without_prefect() -> None:
    """Replace the tasks of this process by their functions, and the model by the stand-in unless the real one runs."""
    for name in STEPS:
        setattr(steps, name, getattr(steps, name).fn)
    flow.show_card = lambda card: None
    if not os.environ.get(REAL_MODEL):
        model = StandInModel()
        steps.model_of = lambda settings: model


def annotate_plain(job: ClipJob) -> ClipResult:
    """Annotate one clip and return what became of it, as `flows.runs.local.run_here` does."""
    _without_prefect()
    start = time.perf_counter()
    entry = entry_of(job.settings.poses)
    settings = job.settings.resolve(entry.thresholds)
    try:
        summary = flow.annotate_clip(job.clip, job.output_root, settings, entry, lambda: None)
        return ClipResult(job.clip.relative, Outcome.ANNOTATED, time.perf_counter() - start, summary=summary)
    except Exception as error:
        state = flow.recorded(error, job.clip, job.output_root)
        recorded = state.result(raise_on_failure=False)
        assert isinstance(recorded, ClipError)
        return ClipResult(job.clip.relative, Outcome.FAILED, time.perf_counter() - start, error=recorded)


def annotate_measured(work: tuple[ClipJob, RunKeys]) -> ClipResult:
    """Do the same in a worker process of `flows.engine.engines.ParallelEngine`, and note what memory it took."""
    job, _ = work
    result = annotate_plain(job)
    _note_peak(job.output_root)
    return result


def _in_turn(jobs: Sequence[ClipJob], *_: object) -> Iterator[ClipResult]:
    """Annotate clips one after the other through the stages of a run, and record what fails, as a run does."""
    for job in jobs:
        start = time.perf_counter()
        work = replace(job, settings=resolved(job.settings))
        try:
            summary = stages.annotate_alone((work, run_keys(job.settings)))
            yield ClipResult(job.clip.relative, Outcome.ANNOTATED, time.perf_counter() - start, summary=summary)
        except Exception as error:
            failure = recorded_failure(error, job.clip, job.output_root)
            yield ClipResult(job.clip.relative, Outcome.FAILED, time.perf_counter() - start, error=failure)


@contextmanager
def flows_without_prefect() -> Iterator[None]:
    """Let the flows of this process run without Prefect for the length of the block: `flow.fn(...)` then does the job.

    Clips run one after the other in this process; artifacts, progress and the analysis, which would take most of the
    time, are left out.
    """
    from flows import annotate_dataset, retry_failed, verify_mapping

    model = StandInModel()

    class NoBar:
        """Stands in for the progress artifact."""

        def __init__(self, total: int, done: int) -> None:
            """Take what the real one takes."""

        def advance(self) -> None:
            """Show nothing."""

    with ExitStack() as stack:
        swap = lambda target, name, value: stack.enter_context(mock.patch.object(target, name, value))  # noqa: E731
        swap(steps, "verify", steps.verify.fn)
        swap(stages, "model_of", lambda settings: model)
        swap(annotate_dataset, "model_of", lambda settings: model)
        swap(annotate_dataset, "show_table", lambda summary: None)
        swap(annotate_dataset, "ProgressBar", NoBar)
        swap(annotate_dataset, "analyze", lambda output_root: "")
        swap(annotate_dataset, "_run", _in_turn)
        swap(verify_mapping, "show_findings", lambda report: None)
        swap(verify_mapping, "retry_failed", retry_failed.retry_failed.fn)
        yield


def _note_peak(output_root: Path) -> None:
    """Note the peak memory of this process and of its decoders, MB."""
    peaks = {}
    # Not by `getrusage`: a process that is started begins with the peak of the one that starts it.
    for pid in (os.getpid(), *(helper.process.pid for helper in decoder.idle)):
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        peaks[pid] = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    folder = output_root / PEAKS
    folder.mkdir(exist_ok=True)
    for pid, peak in peaks.items():
        (folder / str(pid)).write_text(str(peak), encoding="ascii")
