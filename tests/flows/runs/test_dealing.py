"""Dealing shards: one waits at a time, no clip is dealt twice, and what a shard does not do is not lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid5

import pytest
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running

from flows.engine.jobs import ClipJob
from flows.engine.shards import FIRST_CLIPS, Journal
from flows.prefect_server.requeue import MAX_RESTARTS
from flows.runs import dealing
from flows.runs.dealing import Dealer, Shard
from flows.runs.results import Outcome
from tasks.clips.discovery import discover_clips
from tasks.clips.failures import current_failures, log_failure
from tasks.core.errors import FailureReason, FightposeError
from tasks.core.settings import Settings
from tasks.mapping.summary import ClipSummary

NAMESPACE = UUID(int=0)
CLIPS = 60


class Server:
    """Stands in for the Prefect server: knows runs by their idempotency keys, and whose they are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs: dict[UUID, Any] = {}
        self.requeued: list[UUID] = []
        self.done: set[str] = set()

    def start(self, name: str, output_root: Path, clips: Path, first: int, count: int, key: str) -> Any:
        """Create a run, or find it."""
        run_id = uuid5(NAMESPACE, key)
        new = SimpleNamespace(id=run_id, name=name, first=first, count=count, state=Pending(), run_count=0)
        return self.runs.setdefault(run_id, new)

    def requeue(self, client: Any, run: Any, why: str) -> None:
        """Put a run back into the queue."""
        self.requeued.append(run.id)
        run.state = Pending()

    def finishes(self, shard: Shard, count: int | None = None) -> None:
        """Have a shard annotate some of its clips, or all."""
        for relative in list(shard.jobs)[:count]:
            self.done.add(relative)
            Journal(self.root, str(shard.run_id)).note(clip=relative, outcome="annotated", seconds=1.0)

    def ends(self, shard: Shard) -> None:
        """Have a shard end with its list walked."""
        Journal(self.root, str(shard.run_id)).note(end="walked")
        self.runs[shard.run_id].state = Completed()


@pytest.fixture
def server(out: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Put a stand-in in the server's place, and in the receipts'."""
    made = Server(out)
    summary = ClipSummary(1, 1, [], {}, extracted=True)
    monkeypatch.setattr(dealing, "start_shard", made.start)
    monkeypatch.setattr(dealing, "requeue", made.requeue)
    monkeypatch.setattr(dealing, "run_keys", lambda settings: SimpleNamespace(settings="key"))
    monkeypatch.setattr(dealing, "finished", lambda clip, root, key: summary if clip.relative in made.done else None)
    monkeypatch.setattr(dealing, "SHARE_PATIENCE_SECONDS", 0.0)
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "parent")
    return made


@pytest.fixture
def jobs(tmp_path: Path, out: Path) -> list[ClipJob]:
    """Give clips that nobody opens."""
    root = tmp_path / "data"
    root.mkdir()
    for number in range(CLIPS):
        (root / f"{number:02d}.mp4").write_bytes(b"x")
    return [ClipJob(clip, root, out, Settings()) for clip in discover_clips(root, out).clips]


@pytest.fixture
def look(server: Server) -> Callable[[Dealer], list[Any]]:
    """Give the function that has a dealer look at its shards."""
    return lambda dealer: list(dealer.look([server.runs[run_id] for run_id in list(dealer.shards)]))


def test_one_shard_waits_at_a_time_and_the_next_is_dealt_when_it_runs(jobs, server, look):
    """However many GPUs there are; its name says which clips it holds."""
    dealer = Dealer(None, jobs, in_flight=20)
    dealer.deal()
    dealer.deal()
    assert [(run.first, run.count) for run in server.runs.values()] == [(0, FIRST_CLIPS)]
    assert next(iter(server.runs.values())).name == f"data: clips 1 to {FIRST_CLIPS}"
    for run in server.runs.values():
        run.state = Running()
    look(dealer)
    dealer.deal()
    assert len(server.runs) == 2


def test_no_more_shards_than_asked_for_are_in_flight(jobs, server, look):
    """All of them run."""
    dealer = Dealer(None, jobs, in_flight=1)
    dealer.deal()
    for run in server.runs.values():
        run.state = Running()
    look(dealer)
    dealer.deal()
    assert len(server.runs) == 1


def test_every_clip_has_one_result(jobs, server, look):
    """As the journals name them, and at the end of each shard."""
    dealer, results = Dealer(None, jobs, in_flight=20), []
    while dealer.open:
        dealer.deal()
        for shard in list(dealer.shards.values()):
            server.runs[shard.run_id].state = Running()
            server.finishes(shard, 5)
        results += look(dealer)
        for shard in list(dealer.shards.values()):
            server.finishes(shard)
            server.ends(shard)
        results += look(dealer)
    assert sorted(result.clip for result in results) == [job.clip.relative for job in jobs]
    assert {result.outcome for result in results} == {Outcome.ANNOTATED}
    assert dealer.left == []


def test_a_parent_that_is_run_again_finds_its_shards(jobs, server, look):
    """No clip is in two shards, whatever has ended meanwhile."""
    first = Dealer(None, jobs, in_flight=20)
    first.deal()
    (shard,) = first.shards.values()
    server.finishes(shard, 4)
    left = [job for job in jobs if job.clip.relative not in server.done]
    again = Dealer(None, left, in_flight=20)
    assert list(again.shards) == list(first.shards)
    assert len(next(iter(again.shards.values())).jobs) == FIRST_CLIPS - 4
    server.runs[shard.run_id].state = Running()
    look(again)
    again.deal()
    dealt = [relative for one in again.shards.values() for relative in one.jobs]
    assert set(dealt) <= {job.clip.relative for job in left}
    assert len(dealt) == len(set(dealt)) == FIRST_CLIPS - 4 + FIRST_CLIPS


def test_a_shard_that_crashes_goes_on_as_long_as_it_finishes_clips(jobs, server, look):
    """More often than a single clip may; without progress its clips are left to runs of their own."""
    dealer = Dealer(None, jobs[:FIRST_CLIPS], in_flight=1)
    dealer.deal()
    (shard,) = dealer.shards.values()
    run = server.runs[shard.run_id]
    for crash in range(1, 10):
        server.finishes(shard, 2)
        run.state, run.run_count = Crashed(), crash
        look(dealer)
        assert dealer.open
        run.state = Running()
        look(dealer)
    # Up to its own limit the automation puts the run back.
    assert len(server.requeued) == 9 - MAX_RESTARTS
    for crash in range(10, 11 + MAX_RESTARTS):
        run.state, run.run_count = Crashed(), crash
        look(dealer)
    assert not dealer.open
    assert len(dealer.left) == FIRST_CLIPS - 18


def test_what_a_shard_sets_aside_is_left_to_a_run_of_its_own(jobs, server, look):
    """It has neither annotation nor failure."""
    dealer = Dealer(None, jobs[:10], in_flight=1)
    dealer.deal()
    (shard,) = dealer.shards.values()
    poison = list(shard.jobs)[-1]
    server.finishes(shard, 9)
    server.ends(shard)
    assert len(look(dealer)) == 9
    assert [job.clip.relative for job in dealer.left] == [poison]


def test_a_failed_clip_is_told_with_its_reason(jobs, out, server, look):
    """From the failure log, which the shard wrote."""
    dealer = Dealer(None, jobs[:2], in_flight=1)
    dealer.deal()
    (shard,) = dealer.shards.values()
    clip = jobs[0].clip
    log_failure(out, clip.path, clip.frame_dir, FailureReason.NO_TRACKS, "nobody")
    Journal(out, str(shard.run_id)).note(clip=clip.relative, outcome="failed", seconds=1.0)
    (result,) = look(dealer)
    assert (result.outcome, result.error.reason, result.error.info) == (Outcome.FAILED, "NO_TRACKS", "nobody")


def test_cancelling_a_shard_records_what_it_had_not_done(jobs, out, server, look):
    """A person ended it: nothing of it is run elsewhere."""
    dealer = Dealer(None, jobs[:10], in_flight=1)
    dealer.deal()
    (shard,) = dealer.shards.values()
    server.finishes(shard, 4)
    server.runs[shard.run_id].state = Cancelled()
    results = look(dealer)
    assert [result.outcome for result in results].count(Outcome.FAILED) == 6
    assert len(current_failures(out)) == 6
    assert dealer.left == []


@pytest.mark.parametrize(
    ("end", "line"), [({"end": "error", "why": "the disk is full"}, "the disk is full"), (None, "another version")]
)
def test_an_error_of_a_whole_shard_ends_the_run_with_one_line(jobs, out, server, look, end, line):
    """And not with one per clip."""
    dealer = Dealer(None, jobs, in_flight=1)
    dealer.deal()
    (shard,) = dealer.shards.values()
    if end:
        Journal(out, str(shard.run_id)).note(**end)
    server.runs[shard.run_id].state = Failed(message="this worker has another version")
    with pytest.raises(FightposeError, match=line):
        look(dealer)


def test_an_output_folder_that_is_not_shared_is_told(jobs, server, look):
    """The shard is complete and nothing of it is here."""
    dealer = Dealer(None, jobs, in_flight=1)
    dealer.deal()
    for run in server.runs.values():
        run.state = Completed()
    with pytest.raises(FightposeError, match="not shared by all machines"):
        look(dealer)
