"""Leases of GPUs and cores."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

from flows.prefect_server import leases as gpu
from tasks.core.errors import FightposeError


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put an `nvidia-smi` that lists two GPUs in front of any other."""
    program = tmp_path / "nvidia-smi"
    uuids = [f"GPU-{tmp_path.name}-{index}" for index in range(2)]
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{i}, {uuid}'\n" for i, uuid in enumerate(uuids)))
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    # Set first, so that what the lease sets is taken back after the test.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "none yet")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    return uuids


@pytest.mark.parametrize(("allowed", "seen"), [(None, [0, 1]), ("1", [1]), ("0,1", [0, 1]), ("", []), ("-1", [])])
def test_an_administrators_choice_of_gpus_is_kept_to(two_gpus, monkeypatch, allowed, seen):
    """By index; an empty choice is none."""
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert gpu.visible_gpus() == [two_gpus[index] for index in seen]


def test_gpus_are_chosen_by_uuid_too(two_gpus, monkeypatch):
    """As a container's runtime sets it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", two_gpus[1])
    assert gpu.visible_gpus() == [two_gpus[1]]


def test_a_machine_without_nvidia_smi_has_no_gpu(monkeypatch):
    """No program, no GPU."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.visible_gpus() == []


def test_a_run_that_no_worker_started_leases_nothing(two_gpus):
    """The local modes need no server for it."""
    with gpu.device_lease("cuda:0"):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.fixture
def in_a_deployment(monkeypatch, prefect_server):
    """Make this process look like one that a worker started."""
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "11111111-1111-1111-1111-111111111111")
    monkeypatch.setattr(gpu, "ROUND_SECONDS", 0.3)


@pytest.mark.prefect
def test_two_runs_never_share_a_gpu_and_a_third_waits_for_one(two_gpus, in_a_deployment):
    """Each sees its own GPU only; the third gets the first that is free."""
    # Threads stand for the processes of runs; those have environments of their own, which is why none is set here.
    taken: list[tuple[str, float]] = []
    release = threading.Event()

    def run() -> None:
        """Hold a GPU until told."""
        with gpu.held_gpu() as uuid:
            taken.append((uuid, time.monotonic()))
            release.wait(60)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(taken) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(3)
    assert sorted(uuid for uuid, _ in taken) == two_gpus
    freed = time.monotonic()
    release.set()
    for thread in threads:
        thread.join(60)
    assert len(taken) == 3
    assert taken[2][1] > freed


@pytest.mark.prefect
def test_the_leased_gpu_is_the_only_one_that_the_model_sees(two_gpus, in_a_deployment):
    """The runtime of the model reads CUDA_VISIBLE_DEVICES."""
    with gpu.device_lease("cuda:0"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] in two_gpus


@pytest.mark.prefect
def test_a_lease_inside_of_a_lease_does_not_wait(two_gpus, in_a_deployment, monkeypatch):
    """A clip in a shard waited for the shard's own lease, for ever; a thread of the clip, too."""
    reached: list[str] = []

    def inside() -> None:
        """Lease once more, where no GPU is free."""
        with gpu.device_lease("cuda:0"):
            reached.append(os.environ["CUDA_VISIBLE_DEVICES"])

    def run() -> None:
        """Lease both GPUs and then two times more."""
        with gpu.held_gpu(), gpu.device_lease("cuda:0"), gpu.device_lease("cuda:0"):
            clip = threading.Thread(target=inside, daemon=True)
            clip.start()
            clip.join(60)

    # A daemon: were it to wait for ever, the test would end all the same.
    shard = threading.Thread(target=run, daemon=True)
    shard.start()
    shard.join(120)
    assert len(reached) == 1
    assert reached[0] in two_gpus
    # Given back at the end: two runs get a GPU each. This process looks for GPUs among those that it may see.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with gpu.held_gpu() as first, gpu.held_gpu() as second:
        assert {first, second} == set(two_gpus)


@pytest.mark.prefect
def test_an_answer_that_comes_late_costs_no_lease(two_gpus, in_a_deployment, monkeypatch):
    """A request that was given up too early left a GPU leased to nobody, and the next one the other GPU."""
    ask = PrefectClient.increment_concurrency_slots_with_lease

    async def late(*arguments, **options):
        """Let the server grant the lease, and hold its answer back for longer than the pause between two rounds."""
        answer = await ask(*arguments, **options)
        await asyncio.sleep(1)
        return answer

    monkeypatch.setattr(PrefectClient, "increment_concurrency_slots_with_lease", late)
    with gpu.held_gpu() as first, gpu.held_gpu() as second:
        assert {first, second} == set(two_gpus)


@pytest.mark.prefect
def test_a_limit_that_a_person_raised_lets_runs_share_a_gpu(two_gpus, in_a_deployment):
    """Creating the limits again does not set them back."""
    with gpu.held_gpu():
        pass
    with get_client(sync_client=True) as client:
        from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

        client.update_global_concurrency_limit(f"fightpose-gpu-{two_gpus[0]}", GlobalConcurrencyLimitUpdate(limit=2))
    with gpu.held_gpu() as first, gpu.held_gpu() as second:
        assert first == second == two_gpus[0]


@pytest.mark.prefect
def test_a_gpu_that_is_not_there_is_one_clear_line(in_a_deployment, monkeypatch):
    """The line names the machine and what to do."""
    monkeypatch.setattr(gpu, "visible_gpus", list)
    with pytest.raises(FightposeError, match=r"no GPU is visible on .*or choose the device cpu"), _gpu_lease():
        pass


def _gpu_lease() -> AbstractContextManager[None]:
    """Return the lease that a run on a GPU asks for."""
    return gpu.device_lease("cuda:0")


@pytest.mark.prefect
def test_cores_are_leased_on_machines_without_gpus(in_a_deployment, monkeypatch):
    """The slots are taken while the run lives, and free afterwards."""
    monkeypatch.setattr(gpu, "core_limit", lambda: ("fightpose-cores-test", 4))

    def active() -> int:
        """Ask the server how many slots are taken."""
        with get_client(sync_client=True) as client:
            return client.read_global_concurrency_limit_by_name("fightpose-cores-test").active_slots

    with gpu.device_lease("cpu"):
        assert active() == gpu.CORES_PER_RUN
    assert active() == 0


@pytest.mark.prefect
def test_a_server_that_is_too_busy_for_a_moment_costs_no_clip(in_a_deployment, monkeypatch, caplog):
    """Under many runs SQLite is locked at times: the request for a lease is made again, not taken for a failure."""
    answers = iter([ConcurrencySlotAcquisitionError("503 Service Unavailable"), None])
    ask = gpu.concurrency

    def busy_once(*arguments, **options):
        """Refuse the first request."""
        if error := next(answers):
            raise error
        return ask(*arguments, **options)

    monkeypatch.setattr(gpu, "core_limit", lambda: ("fightpose-cores-busy", 4))
    monkeypatch.setattr(gpu, "AGAIN_SECONDS", 0)
    monkeypatch.setattr(gpu, "concurrency", busy_once)
    with gpu.device_lease("cpu"):
        assert next(answers, "all asked") == "all asked"
    assert "503 Service Unavailable); trying again" in caplog.text


@pytest.mark.prefect
def test_a_server_that_stays_too_busy_is_an_error(in_a_deployment, monkeypatch):
    """In the end the run fails, and what the server said is what is recorded."""

    def busy(*arguments, **options):
        """Refuse every request."""
        raise ConcurrencySlotAcquisitionError("503 Service Unavailable")

    monkeypatch.setattr(gpu, "core_limit", lambda: ("fightpose-cores-busy", 4))
    monkeypatch.setattr(gpu, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(gpu, "concurrency", busy)
    with pytest.raises(ConcurrencySlotAcquisitionError, match="503"), gpu.device_lease("cpu"):
        pass
