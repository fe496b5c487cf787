"""A run over a folder deals shards to the pool `gpu` and collects what becomes of their clips.

Problem: GPUs on any number of machines that must not wait, and a parent that may die. Solution: one
shard waits in the queue at a time, so that there is always one for a GPU that becomes free and hardly any that grows
old there; each is dealt as large as minutes of work, the last ones smaller. What was dealt is written down before the
run is created, under an idempotency key: the next try of the parent finds the same runs. How clips end is read from
the shards' journals, in the output folder that all machines share.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from flows.engine.engines import run_keys
from flows.engine.jobs import ClipJob
from flows.engine.shards import Journal, next_count, read_work_list, shards_folder, size_of, slice_of, write_work_list
from flows.prefect_server.requeue import MAX_RESTARTS, requeue
from flows.runs.results import ClipResult, Outcome
from tasks.clips.failures import Failure, current_failures, log_failure
from tasks.core.errors import ClipError, FailureReason, FightposeError
from tasks.core.storage import key_of
from tasks.mapping.receipts import finished

logger = logging.getLogger(__name__)

SHARD_DEPLOYMENT = "annotate-shard/annotate-shard"

QUEUED = 1
"""Shards that wait for a worker at a time; as many start within seconds as there are GPUs."""

CRASH_PATIENCE_SECONDS = 60.0
"""How long the automation may take to reschedule a crashed shard before the parent does it."""

SHARE_PATIENCE_SECONDS = 60.0
"""How long a network file system may hide a new file from another machine."""


@dataclass(slots=True)
class Shard:
    """A shard's run.

    Attributes
    ----------
    run_id
        The run.
    jobs
        Its clips that have not ended yet, by path in the input.
    sizes
        Bytes of each of its clips.
    journal
        Where its run writes how clips end.
    running
        Whether it has started.
    started, ended
        When it was first seen running, and at its present end; seconds of this process's monotonic clock.
    restarts
        How often in a row it crashed without having finished a clip since.
    crashes
        The run count at the last crash that was counted.
    done_bytes
        Bytes of its clips that have ended.
    """

    run_id: UUID
    jobs: dict[str, ClipJob]
    sizes: dict[str, int]
    journal: Journal
    running: bool = False
    started: float | None = None
    ended: float | None = None
    restarts: int = 0
    crashes: int = 0
    done_bytes: int = 0

    def seconds(self) -> float:
        """Return for how long it has run."""
        return time.monotonic() - self.started if self.started is not None else 0.0


@task(
    name="start-shard",
    task_run_name="start {name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=5,
    retry_delay_seconds=[1, 2, 5, 10, 20],
)
def start_shard(name: str, output_root: Path, clips: Path, first: int, count: int, idempotency_key: str) -> FlowRun:
    """Put a shard's run into the queue, or find the one that an earlier try of this parent put there."""
    run = run_deployment(
        SHARD_DEPLOYMENT,
        parameters={"output_root": str(output_root), "clips": str(clips), "first": first, "count": count},
        timeout=0,
        idempotency_key=idempotency_key,
        flow_run_name=name,
        tags=["fightpose", "shard"],
    )
    # Its type allows for a coroutine, which it returns in async code only.
    return cast(FlowRun, run)


class Dealer:
    """Deals the clips of one run over a folder.

    Parameters
    ----------
    client
        A client of the server.
    jobs
        The clips; all under the same settings and below one input root.
    in_flight
        Most shards queued or running at once.

    Attributes
    ----------
    left
        Clips whose shards ended without them: set aside, or left by a shard that crashed again and again.
    """

    def __init__(self, client: SyncPrefectClient, jobs: Sequence[ClipJob], in_flight: int) -> None:
        self._client, self._in_flight = client, in_flight
        # Absolute, since workers on other machines start in other folders.
        self._root = jobs[0].output_root.absolute()
        self._key = run_keys(jobs[0].settings).settings
        self._parent = str(runtime.flow_run.id)
        self._deals = shards_folder(self._root) / key_of(self._parent) / "deals.jsonl"
        self._done_bytes, self._done_seconds = 0, 0.0
        self.shards: dict[UUID, Shard] = {}
        self.left: list[ClipJob] = []
        # First what an earlier try dealt: only the rest goes into a new list, whose slices start at 0.
        waiting = self._dealt_before({job.clip.relative: job for job in jobs})
        self._list = write_work_list(waiting, self._key) if waiting else None
        self._waiting = waiting
        # As written: sizes on the disk may have changed since, and slices go by the list.
        self._sizes = read_work_list(self._list, self._root).sizes if self._list else []
        self._first = 0

    @property
    def open(self) -> bool:
        """Whether there is a clip to deal or a shard under way."""
        return self._first < len(self._waiting) or bool(self.shards)

    @property
    def under_way(self) -> list[UUID]:
        """The shards that are queued or running."""
        return list(self.shards)

    def deal(self) -> None:
        """Put shards into the queue as long as one is wanted there."""
        while self._list and self._first < len(self._waiting):
            running = sum(shard.running for shard in self.shards.values())
            if len(self.shards) - running >= QUEUED or len(self.shards) >= self._in_flight:
                return
            # As late as possible: by now more is known of the pace and of how many GPUs take part.
            count = next_count(self._sizes, self._first, running, self._pace())
            self._start(self._list, self._first, count, self._waiting[self._first : self._first + count])
            self._first += count

    def look(self, runs: Sequence[FlowRun]) -> Iterator[ClipResult]:
        """Yield the clips that have ended since the last look, given the shards' runs as the server has them."""
        # Read once per look and not once per clip: the log is a file on a share.
        failures = {failure.frame_dir: failure for failure in current_failures(self._root)}
        for run in runs:
            shard = self.shards[run.id]
            # Before the state: a shard that has ended may have clips in its journal that were not seen yet.
            yield from self._collected(shard, failures)
            if run.state is None or not run.state.is_final():
                shard.ended = None
                if run.state is not None and run.state.is_running():
                    # The first start counts, so that the time which a crash costs is part of the pace.
                    shard.running, shard.started = True, shard.started or time.monotonic()
            elif self._over(shard, run):
                yield from self._closed(shard, run, failures)

    def _start(self, clips: Path, first: int, count: int, jobs: Sequence[ClipJob]) -> None:
        """Start one shard, written down first: a parent that dies here finds it again."""
        self._deals.parent.mkdir(parents=True, exist_ok=True)
        # Before the run exists: a note without a run is made good, a run without a note would be dealt twice.
        with self._deals.open("a", encoding="ascii") as stream:
            stream.write(json.dumps({"clips": str(clips), "first": first, "count": count}) + "\n")
        self._follow(clips, first, count, jobs)

    def _follow(self, clips: Path, first: int, count: int, jobs: Sequence[ClipJob]) -> None:
        """Create a shard's run, or find it, and look after its clips."""
        name = f"{jobs[0].input_root.name}: clips {first + 1} to {first + count}"
        # The key is of parent, list and first clip, so that the same slice is never put into the queue twice.
        run = start_shard(name, self._root, clips, first, count, key_of(self._parent, str(clips), first))
        if run.state is not None and run.state.is_final():
            requeue(self._client, run, "the run over the folder was started again")
        # Sizes are kept apart from the clips, which leave the shard as they end.
        sizes, own = {job.clip.relative: size_of(job) for job in jobs}, {job.clip.relative: job for job in jobs}
        self.shards[run.id] = Shard(run.id, own, sizes, Journal(self._root, str(run.id)))

    def _dealt_before(self, jobs: dict[str, ClipJob]) -> list[ClipJob]:
        """Follow the shards of an earlier try of this parent, and return the clips that none of them has."""
        try:
            lines = self._deals.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return list(jobs.values())
        for line in lines:
            try:
                deal = json.loads(line)
                clips, first, count = Path(deal["clips"]), int(deal["first"]), int(deal["count"])
                dealt = slice_of(read_work_list(clips, self._root), first, count)
            except (ValueError, LookupError, TypeError, FightposeError) as error:
                # Cut off by a kill, or its list is gone: its clips are dealt again.
                logger.warning("a shard of an earlier try cannot be found again (%s)", error)
                continue
            # Clips that were finished since are not among the jobs: what is left of the slice is followed.
            own = [jobs.pop(job.clip.relative) for job in dealt if job.clip.relative in jobs]
            if own:
                self._follow(clips, first, count, own)
        return list(jobs.values())

    def _collected(self, shard: Shard, failures: dict[str, Failure]) -> Iterator[ClipResult]:
        """Yield the clips that a shard's journal says have ended, where this machine sees it."""
        for line in shard.journal.lines():
            job = shard.jobs.get(str(line.get("clip")))
            # The journal only says where to look: a receipt that a share still hides is seen at a later look.
            if job is not None and (result := self._result(job, failures, float(line.get("seconds", 0.0)))):
                shard.done_bytes += shard.sizes[job.clip.relative]
                # It gets on: only crashes in a row without a clip between them end a shard.
                shard.restarts = 0
                del shard.jobs[job.clip.relative]
                yield result

    def _result(self, job: ClipJob, failures: dict[str, Failure], seconds: float) -> ClipResult | None:
        """Return how a clip ended by its receipt or the failure log, None where neither says."""
        # The receipt first: a clip may be done although an earlier try of it left a failure.
        if summary := finished(job.clip, job.output_root, self._key):
            return ClipResult(job.clip.relative, Outcome.ANNOTATED, seconds, summary=summary)
        if failure := failures.get(job.clip.frame_dir):
            error = ClipError(failure.reason, job.clip.path, failure.info)
            return ClipResult(job.clip.relative, Outcome.FAILED, seconds, error=error)
        return None

    def _over(self, shard: Shard, run: FlowRun) -> bool:
        """Tell whether a run that has ended stays so; a crashed one is put back as long as it gets on."""
        shard.ended = shard.ended or time.monotonic()
        if run.state is None or not run.state.is_crashed():
            return True
        # Looks come every few seconds, and the same crash must not count twice.
        if run.run_count > shard.crashes:
            shard.crashes, shard.restarts = run.run_count, shard.restarts + 1
        if shard.restarts > MAX_RESTARTS:
            return True
        # Up to its own limit the automation is quicker.
        if run.run_count > MAX_RESTARTS or time.monotonic() - shard.ended > CRASH_PATIENCE_SECONDS:
            shard.ended, shard.running = None, False
            requeue(self._client, run, "rescheduled after a crash: it had finished clips since the last one")
        return False

    def _closed(self, shard: Shard, run: FlowRun, failures: dict[str, Failure]) -> Iterator[ClipResult]:
        """Yield the last clips of a shard that is over, and leave those that it did not do to runs of their own."""
        end = next((line for line in shard.journal.lines() if "end" in line), {})
        # It concerns the whole run, such as a full disk: other shards would end the same way.
        if end.get("end") == "error":
            raise FightposeError(f"a shard ended: {end.get('why')}")
        for relative, job in list(shard.jobs.items()):
            if result := self._result(job, failures, 0.0):
                del shard.jobs[relative]
                yield result
        # Not left to runs of their own: a person did not want them done.
        if run.state is not None and run.state.is_cancelled():
            yield from self._cancelled(shard)
        waited = time.monotonic() - (shard.ended or 0.0)
        if shard.jobs and not end and waited < SHARE_PATIENCE_SECONDS:
            # The last lines may still be on their way through a network file system.
            return
        if shard.jobs and run.state is not None and run.state.is_failed() and not end:
            # Before its first clip: another version, a list that is gone, no GPU. Its clips would fail elsewhere, too.
            raise FightposeError(f"a shard failed: {' '.join(str(run.state.message).split())}")
        if shard.jobs and run.state is not None and run.state.is_completed() and not end:
            raise FightposeError(
                f"a shard is complete, yet its outputs are not in {self._root} on this machine: the output folder is "
                "not shared by all machines of the pool; mount it on each of them under the same path"
            )
        # Its pace stays known after it: the size of the next shard depends on it.
        self._done_bytes += shard.done_bytes
        self._done_seconds += shard.seconds()
        self.left += shard.jobs.values()
        del self.shards[shard.run_id]

    def _cancelled(self, shard: Shard) -> Iterator[ClipResult]:
        """Record the clips that a shard had not done when a person cancelled it."""
        for relative, job in list(shard.jobs.items()):
            # Recorded as failures, since every clip has to have an annotation or a reason.
            info = "its run was cancelled; `fightpose retry-failed` runs it again"
            error = ClipError(FailureReason.PROCESSING_ERROR, job.clip.path, info)
            log_failure(self._root, job.clip.path, job.clip.frame_dir, error.reason, error.info)
            del shard.jobs[relative]
            yield ClipResult(relative, Outcome.FAILED, 0.0, error=error)

    def _pace(self) -> float | None:
        """Return the bytes per second of one shard, None while too little is done to say."""
        done = self._done_bytes + sum(shard.done_bytes for shard in self.shards.values())
        seconds = self._done_seconds + sum(shard.seconds() for shard in self.shards.values())
        # All shards of the run together: one alone may have had long or short clips only.
        return done / seconds if done and seconds else None
