"""The flow's own way through a clip without Prefect's bookkeeping, which would take most of the time of a fuzz run.

What `flows.annotate_video` does is called as it is; only the tasks are replaced by the functions that they wrap.
"""

from __future__ import annotations

import os
import resource
import time
from functools import cache
from pathlib import Path

from flows import annotate_video as flow
from flows.runs.local import ClipJob
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


@cache
def _without_prefect() -> None:
    """Replace the tasks of this process by their functions, and the model by the stand-in unless the real one runs."""
    for name in ("probe", "extract", "track", "regions", "region_weights", "rank", "select", "annotate", "overlay"):
        setattr(steps, name, getattr(steps, name).fn)
    flow.show_card = lambda card: None
    if not os.environ.get(REAL_MODEL):
        model = StandInModel()
        steps.model_of = lambda settings: model


def annotate_plain(job: ClipJob) -> ClipResult:
    """Annotate one clip and return what became of it, as `flows.runs.local.run_clip` does."""
    _without_prefect()
    start = time.perf_counter()
    entry = entry_of(job.settings.poses)
    settings = job.settings.resolve(entry.thresholds)
    try:
        summary = flow._annotate(job.clip, job.output_root, settings, entry, lambda: None)
        return ClipResult(job.clip.relative, Outcome.ANNOTATED, time.perf_counter() - start, summary=summary)
    except Exception as error:
        state = flow._recorded(error, job.clip, job.output_root)
        recorded = state.result(raise_on_failure=False)
        assert isinstance(recorded, ClipError)
        return ClipResult(job.clip.relative, Outcome.FAILED, time.perf_counter() - start, error=recorded)


def annotate_measured(job: ClipJob) -> ClipResult:
    """Do the same in a worker process of `flows.runs.local.run_in_workers`, and note what memory it took."""
    result = annotate_plain(job)
    _note_peak(job.output_root)
    return result


def _note_peak(output_root: Path) -> None:
    """Note the peak memory of this process and of its decoders, MB."""
    peaks = {os.getpid(): resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    for helper in decoder._idle:
        status = Path(f"/proc/{helper._process.pid}/status").read_text(encoding="ascii")
        peaks[helper._process.pid] = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    folder = output_root / PEAKS
    folder.mkdir(exist_ok=True)
    for pid, peak in peaks.items():
        (folder / str(pid)).write_text(str(peak), encoding="ascii")
