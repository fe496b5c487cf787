"""What a Prefect server has to know before it can run fightpose: pools, deployments, automations.

Everything here may be done again at any time: what is there is brought up to date or, where a person may have changed
it (the pools and their limits), left alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.prefect_server.leases import CORES_PER_RUN, core_limit, visible_gpus
from flows.prefect_server.requeue import MAX_RESTARTS, requeue
from tasks.core.errors import FightposeError

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
"""The folder that holds the packages: the top of a checkout, or site-packages."""

DEPLOYMENTS = ROOT / "deployments"

POOLS = {"gpu": "Runs of single clips: everything that runs the model.", "cpu": "Runs over folders, and checks."}

FOLDER_RUNS = 4
"""Runs over folders and checks at once on a pool: they mostly wait."""

HEARTBEAT_WINDOW = timedelta(seconds=90)
"""A run that was silent for this long is dead: three of the heartbeats that the deployments ask for."""

START_WINDOW = {"process": timedelta(minutes=5)}
"""How long a run may be about to start before it is taken for lost, by the type of its pool. A start takes seconds; on
a machine with ten times more work than cores one took 4 minutes, was put back into the queue and ran twice."""

SLOW_START_WINDOW = timedelta(minutes=20)
"""The same for all other types: a cluster may have to start a node first, and the Kubernetes worker waits 15 minutes
for its pod."""

DEPLOY_SECONDS = 300


def clip_runs() -> int:
    """Return how many runs of clips this machine carries at once: one per GPU, or as many as its cores lease."""
    return len(visible_gpus()) or max(1, core_limit()[1] // CORES_PER_RUN)


async def create_pools() -> list[str]:
    """Create the work pools that are not there yet as process pools, and return the names of those created.

    A pool that is there is left alone, whatever its type: it may be a cluster's. Only the template that earlier
    versions gave to process pools is replaced, because it let a run name the command that its worker executes.
    """
    template = json.loads((DEPLOYMENTS / "pool-process.json").read_text(encoding="utf-8"))
    limits = {"gpu": clip_runs(), "cpu": FOLDER_RUNS}
    created = []
    async with get_client() as client:
        for name, description in POOLS.items():
            try:
                pool = await client.read_work_pool(name)
                if _lets_runs_name_the_command(pool.base_job_template):
                    await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
                continue
            except ObjectNotFound:
                pass
            wanted = WorkPoolCreate(
                name=name,
                description=description,
                type="process",
                base_job_template=template,
                concurrency_limit=limits[name],
            )
            try:
                await client.create_work_pool(wanted)
            except ObjectAlreadyExists:
                # Another machine's `up` was quicker.
                continue
            created.append(name)
    return created


def _lets_runs_name_the_command(template: dict[str, Any]) -> bool:
    """Tell whether a pool has the template for process pools of an earlier version of this program."""
    command = template.get("variables", {}).get("properties", {}).get("command", {})
    return bool(command.get("default") == "python -m prefect.engine")


def deploy() -> None:
    """Deploy everything in deployments/prefect.yaml with Prefect's own command.

    Raises
    ------
    FightposeError
        If that fails.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    command += ["--prefect-file", str(DEPLOYMENTS / "prefect.yaml")]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            # The flows are named as modules: they are found from here, installed or not.
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            capture_output=True,
            text=True,
            timeout=DEPLOY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FightposeError(
            f"deploying took longer than {DEPLOY_SECONDS} s; see whether the server is busy"
        ) from error
    if done.returncode:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
        raise FightposeError(f"the flows could not be deployed: {' '.join(last)}; run `{' '.join(command)}` to see why")


def automations(start_window: timedelta) -> list[AutomationCore]:
    """Return the automations that keep runs alive through crashes.

    The zombie's: a run that started or sent a heartbeat, and then nothing at all, has died together with its worker.
    The start counts, too: a run that was killed before its first heartbeat stayed "Running" for good. The lost run's:
    one that a worker took and that then never started has died with it; such runs hold slots of their pool, and four
    of them once stopped a pool for good. The crashed run's: it is put back into the queue, as long as it has been
    started no more often than the guard on the run count says; Prefect itself has no such limit, and a clip that kills
    its process would do so for ever.

    Parameters
    ----------
    start_window
        How long a run may be about to start.
    """
    any_run: dict[str, Any] = {"prefect.resource.id": "prefect.flow-run.*"}
    return [
        AutomationCore(
            name="fightpose: zombie runs crash",
            description=f"A run that was silent for {HEARTBEAT_WINDOW.seconds} s died together with its worker.",
            trigger=EventTrigger(
                match=any_run,
                match_related=_OURS,
                after={"prefect.flow-run.Running", "prefect.flow-run.heartbeat"},
                # Any sign of life will do, the end included.
                expect={"prefect.flow-run.*"},
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=HEARTBEAT_WINDOW,
            ),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, message="No heartbeat: the worker is gone.")],
        ),
        AutomationCore(
            name="fightpose: lost runs go back into the queue",
            description=f"A run that has not started after {start_window.seconds} s lost its worker before.",
            trigger=EventTrigger(
                match=any_run,
                match_related=_OURS,
                after={f"prefect.flow-run.{state}" for state in ("Pending", "Submitting", "InfrastructurePending")},
                expect={"prefect.flow-run.*"},
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=start_window,
            ),
            # Back into the queue at once: the guard below does not count a run that never started as one.
            actions=[_rescheduled("Its worker was gone before it started.")],
        ),
        AutomationCore(
            name="fightpose: crashed runs start again",
            description=f"A run that crashed is rescheduled, {MAX_RESTARTS} times at most.",
            trigger=EventTrigger(
                match={**any_run, "prefect.run-count": [str(count) for count in range(1, MAX_RESTARTS + 1)]},
                match_related=_OURS,
                expect={"prefect.flow-run.Crashed"},
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
                threshold=1,
                within=timedelta(0),
            ),
            actions=[_rescheduled("Rescheduled after a crash.")],
        ),
    ]


def _rescheduled(message: str) -> ChangeFlowRunState:
    """Return the action that puts a run back into the queue."""
    return ChangeFlowRunState(name="AwaitingRetry", state=StateType.SCHEDULED, message=message, force=True)


# Only runs of our deployments carry the tag: what else is on the server is left alone.
_OURS: dict[str, Any] = {"prefect.resource.id": "prefect.tag.fightpose", "prefect.resource.role": "tag"}


def put_back(moment: datetime) -> int:
    """Put the runs back into the queue that ended with their workers at a moment, and return their number.

    For a server that is about to end: the automation that does so needs one that lives on. All workers must have ended.

    Parameters
    ----------
    moment
        When the workers got the signal to end.
    """
    broken_off: dict[str, Any] = {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}
    crashed: dict[str, Any] = {"state": {"type": {"any_": ["CRASHED"]}}, "end_time": {"after_": moment}}
    count = 0
    with get_client(sync_client=True) as client:
        for condition in (broken_off, crashed):
            chosen = FlowRunFilter.model_validate({**condition, "tags": {"any_": ["fightpose"]}})
            for run in client.read_flow_runs(flow_run_filter=chosen):
                requeue(client, run, "Its worker was ended.")
                count += 1
    return count


async def pool_type() -> str:
    """Return the type of the pool that runs the clips."""
    async with get_client() as client:
        return (await client.read_work_pool("gpu")).type


def create_automations() -> list[str]:
    """Create the automations, or bring those of their names up to date, and return the names."""
    names = []
    with get_client(sync_client=True) as client:
        for automation in automations(START_WINDOW.get(asyncio.run(pool_type()), SLOW_START_WINDOW)):
            for earlier in client.read_automations_by_name(automation.name):
                client.delete_automation(earlier.id)
            client.create_automation(automation)
            names.append(automation.name)
    return names
