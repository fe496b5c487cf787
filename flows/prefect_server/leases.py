"""Leases: two runs of a pool never share a GPU, nor crowd the cores of a machine.

Problem: a machine takes several runs at once, from one worker or from several, and nothing tells them apart. Solution:
each GPU is a global concurrency limit of Prefect named by its UUID, which is the same in every container and for every
worker that sees the GPU. A run tries the limits of the GPUs that it sees until one is free, and shows only that GPU to
the model. On a machine without GPUs one limit per machine counts its cores.

The limits are created at first use, with 1 slot per GPU. Raise a limit in the UI to let runs share that GPU.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from tasks.core.errors import FightposeError
from tasks.core.gpus import allowed_devices, query_gpus

logger = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
"""Renewed while a run lives; a run that is killed gives its lease up after this time."""

ROUND_SECONDS = 3.0
"""The pause after every GPU of the machine was found taken, before all are tried again."""

PATIENCE_SECONDS, AGAIN_SECONDS = 600.0, 5.0
"""How long a server may answer requests for a lease with errors, and the pause between two requests."""

CORES_PER_RUN = 2
"""Cores that one run keeps busy: one decodes and tracks, the others of a machine are shared by the models."""


def visible_gpus() -> list[str]:
    """Return the UUIDs of the GPUs that this process may use, as `nvidia-smi` names them.

    An administrator's CUDA_VISIBLE_DEVICES is kept to.
    """
    allowed = allowed_devices()
    if allowed == []:
        return []
    try:
        rows = query_gpus("index", "uuid")
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("nvidia-smi failed (%s): no GPU is used", error)
        return []
    if allowed is None:
        return [uuid for _, uuid in rows]
    return [uuid for index, uuid in rows if index in allowed or any(uuid.startswith(name) for name in allowed)]


_leased: list[str] = []
"""The devices that this process holds a lease of."""


@contextmanager
def device_lease(device: str) -> Iterator[None]:
    """Hold what a run needs of this machine for the length of the block.

    Runs that no worker started hold nothing: a person who starts one by hand knows the machine. Inside of a lease of
    the same process another one holds nothing more, and does not wait: a clip would wait for the shard that it is in.

    Parameters
    ----------
    device
        Where the model runs: cpu, or cuda:0 for one of the machine's GPUs.

    Raises
    ------
    FightposeError
        If a GPU is wanted and none is visible.
    """
    # Of the process and not of the thread: a shard's clips run in threads of their own.
    if not runtime.deployment.id or _leased:
        yield
        return
    with _machine_lease(device):
        _leased.append(device)
        try:
            yield
        finally:
            _leased.remove(device)


@contextmanager
def _machine_lease(device: str) -> Iterator[None]:
    """Hold a GPU of this machine, or some of its cores."""
    if device.startswith("cuda"):
        with held_gpu() as uuid:
            logger.info("leased GPU %s", uuid)
            # Read when the runtime starts CUDA, which no step has done yet.
            os.environ["CUDA_VISIBLE_DEVICES"] = uuid
            yield
    else:
        name, cores = core_limit()
        _require_limit(name, cores)
        with _lease(name, min(CORES_PER_RUN, cores)):
            yield


class SlotsTakenError(Exception):
    """Others hold the slots of a limit."""


def _is_taken(error: ConcurrencySlotAcquisitionError) -> bool:
    """Tell whether the server refused a lease because the slots are held, and for no other reason."""
    cause = error.__cause__
    return isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code == httpx.codes.LOCKED


@contextmanager
def _lease(name: str, slots: int = 1, wait: bool = True) -> Iterator[None]:
    """Hold some slots of a limit for the length of the block; a server that is away for a while costs the run nothing.

    Raises
    ------
    SlotsTakenError
        If the slots are not free, and it is not to wait for them.
    ConcurrencySlotAcquisitionError
        If the server answers with errors for `PATIENCE_SECONDS`.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    with ExitStack() as held:
        while True:
            try:
                lease = concurrency(
                    name,
                    slots,
                    # Not a short timeout: it would end the request in the client alone. A server that answers later
                    # gives the lease all the same, to nobody, and each try would take a GPU for `LEASE_SECONDS`.
                    max_retries=None if wait else 0,
                    lease_duration=LEASE_SECONDS,
                    strict=True,
                    raise_on_lease_renewal_failure=False,
                )
                held.enter_context(lease)
                break
            except ConcurrencySlotAcquisitionError as error:
                if _is_taken(error):
                    raise SlotsTakenError(name) from error
                # SQLite answers "database is locked", as HTTP 503, when many runs write at once.
                if time.monotonic() >= until:
                    raise
                logger.warning("the Prefect server gave no lease of %s (%s); trying again", name, error)
                time.sleep(AGAIN_SECONDS)
        yield


def core_limit() -> tuple[str, int]:
    """Return the name of the limit that counts this machine's cores, and how many there are."""
    return f"fightpose-cores-{socket.gethostname()}", len(os.sched_getaffinity(0))


@contextmanager
def held_gpu() -> Iterator[str]:
    """Hold the first GPU that is free, waiting as long as it takes."""
    gpus = visible_gpus()
    if not gpus:
        raise FightposeError(
            f"no GPU is visible on {socket.gethostname()}: check nvidia-smi and CUDA_VISIBLE_DEVICES there, "
            "or choose the device cpu"
        )
    for uuid in gpus:
        # By the UUID of the card: indices differ between containers that share it.
        _require_limit(f"fightpose-gpu-{uuid}", 1)
    waited = time.monotonic()
    while True:
        for uuid in gpus:
            # Each card in turn without waiting for it: a wait for one would miss another that becomes free.
            lease = _lease(f"fightpose-gpu-{uuid}", wait=False)
            try:
                # By hand and not by `with`: an error of the caller's own block must not read as a busy GPU.
                lease.__enter__()
            except SlotsTakenError:
                continue
            logger.debug("waited %.1f s for a GPU", time.monotonic() - waited)
            try:
                yield uuid
            finally:
                lease.__exit__(None, None, None)
            return
        time.sleep(ROUND_SECONDS)


def _require_limit(name: str, slots: int) -> None:
    """Create a limit unless it is there; what a person has set stays."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
            return
        except ObjectNotFound:
            pass
        from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

        try:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))
        except ObjectAlreadyExists:
            # Another run was quicker.
            return
