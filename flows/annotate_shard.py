"""Annotate a slice of a list of clips in one process.

Problem: a run per clip spends most of its time starting. Solution: one run takes some hundred clips, holds one lease
and loads the model once; its clips walk through the stages side by side, each recorded as a Prefect task. A run that is
retried does only the clips that failed, one whose process was killed only those that were under way. A clip that was
under way at two crashes is set aside, and done in a run of its own.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from flows.engine.engines import Engine, run_keys
from flows.engine.jobs import ClipJob, RunKeys
from flows.engine.shards import CRASHES, Journal, UnderWay, WorkList, read_work_list, slice_of
from flows.engine.walk import Ended, walk
from flows.prefect_server.leases import device_lease
from flows.prefect_server.shutdown import ends_between_steps
from flows.runs.local import ShardTasks, overlapped, result_of
from flows.runs.merging import merge_soon
from flows.runs.pool import start_clip
from flows.runs.results import Outcome
from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tasks.core.storage import key_of
from tasks.poses import model_of

logger = logging.getLogger(__name__)

First = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


# No name of its own: the run over a folder names its shards when it creates them.
@flow(name="annotate-shard")
def annotate_shard(
    output_root: Path,
    clips: Path,
    first: First = 0,
    count: Count | None = None,
    settings: Settings | None = None,
) -> dict[str, int] | State[dict[str, int]]:
    """Annotate a slice of a list of clips, with the model loaded once.

    Args:
        output_root: Folder below which the outputs are written.
        clips: List of clips that fightpose wrote; a run over a folder makes one, and fightpose_inputs.json is one.
        first: Place of the first clip in the list, from 0.
        count: Number of clips; empty takes all that follow.
        settings: Settings of the run; empty takes those that the list names.
    """
    work = read_work_list(clips, output_root, settings)
    jobs = slice_of(work, first, count)
    keys = run_keys(jobs[0].settings)
    # Before any work: results under another key would be made again by the next run over the folder.
    _refuse_other_version(work, keys)
    # By the run and not the process: the next try finds what this one leaves.
    run_id = str(runtime.flow_run.id)
    journal, under_way = Journal(output_root, run_id), UnderWay(output_root, run_id)
    try:
        outcomes = _annotate(jobs, keys, journal, under_way)
    except FightposeError as error:
        # Of the shard and not of a clip: no GPU, a full disk. The run that dealt it stops for the same reason.
        journal.note(end="error", why=str(error))
        under_way.clear()
        raise
    journal.note(end="walked")
    merge_soon(output_root)
    if failed := outcomes[Outcome.FAILED]:
        return Failed(message=f"{failed} of {len(jobs)} clips failed; Retry runs them again", data=dict(outcomes))
    return dict(outcomes)


def _annotate(jobs: Sequence[ClipJob], keys: RunKeys, journal: Journal, under_way: UnderWay) -> Counter[str]:
    """Walk the clips of a shard that are not done, and return how many ended in which way."""
    # A try that crashed left its journal: what it has finished is not done twice.
    done = journal.start()
    todo = [job for job in jobs if job.clip.relative not in done]
    aside = [job for job in todo if under_way.crashes(job) >= CRASHES]
    # One at a time: if one of them takes the process down again, it is known which.
    suspects = [job for job in todo if 0 < under_way.crashes(job) < CRASHES]
    others = [job for job in todo if not under_way.crashes(job)]
    outcomes: Counter[str] = Counter()
    poses = jobs[0].settings.poses
    # One lease for all clips: the model stays on the device from the first clip to the last.
    with device_lease(poses.device), ends_between_steps() as between:
        with overlapped(jobs[0].settings, model_of(poses)) as engine:
            for ended in _walked(others, suspects, engine, keys, under_way, between):
                result = result_of(ended)
                under_way.end(ended.job)
                outcomes[result.outcome] += 1
                # As each clip ends: the run that dealt the shard follows it, and a try after a crash skips it.
                journal.note(clip=result.clip, outcome=str(result.outcome), seconds=round(result.seconds, 3))
        # Only now, with nothing under way: a run that is put back may start on another machine at once.
        between()
    for job in aside:
        outcomes["set aside"] += 1
        _set_aside(job, under_way)
    return outcomes


def _walked(
    others: Sequence[ClipJob],
    suspects: Sequence[ClipJob],
    engine: Engine,
    keys: RunKeys,
    under_way: UnderWay,
    between: Any,
) -> Iterator[Ended]:
    """Yield how each clip ended: those under suspicion first and alone."""
    tasks = ShardTasks(engine, keys.settings, str(runtime.flow_run.id))

    def marked(group: Sequence[ClipJob]) -> Iterator[ClipJob]:
        """Mark each clip as it is taken."""
        for job in group:
            under_way.begin(job)
            yield job

    def wanted() -> bool:
        """Tell whether SIGTERM has not come."""
        return not between.asked

    # Alone: if the process dies of one of them, the mark that is left says which.
    yield from walk(marked(suspects), engine, tasks.annotate, lambda running: 1, wanted)
    if wanted():
        yield from walk(marked(others), engine, tasks.annotate, None, wanted)


def _refuse_other_version(work: WorkList, keys: RunKeys) -> None:
    """Refuse clips whose results would be named otherwise here than by the run that dealt them."""
    if work.key and work.key != keys.settings:
        raise FightposeError(
            "this worker has another version of fightpose, or another file of the model, than the run that dealt the "
            "shard; install the same version and model on every machine of the pool"
        )


def _set_aside(job: ClipJob, under_way: UnderWay) -> None:
    """Leave a clip to a run of its own."""
    # A mark that stayed would be counted as another crash of this clip by the next try.
    under_way.end(job)
    logger.warning(
        "%s was under way at %d crashes: it is set aside and done in a run of its own", job.clip.relative, CRASHES
    )
    if runtime.flow_run.parent_flow_run_id is None and runtime.deployment.id is not None:
        # A shard that a person started: no run over the folder looks after what it leaves.
        start_clip(job, key_of("alone", runtime.flow_run.id, job.clip.frame_dir))
