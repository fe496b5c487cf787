"""The automations act on a server that guards itself: the server asks itself, and must not be refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed, Running

from flows.prefect_server import provision
from tests.integration.cluster import Cluster, client

PATIENCE_SECONDS = 120


@flow
def stand_in() -> None:
    """Stand in for a flow of ours."""


@pytest.mark.integration
def test_a_run_that_crashed_goes_back_into_the_queue(tmp_path):
    """By the server alone: no run over a folder looks after a clip or a shard that a person started."""
    with Cluster(tmp_path) as cluster:
        cluster.provision()
        assert provision.create_automations()
        # The service reads new automations every few seconds.
        time.sleep(5)
        with client() as api:
            run = api.create_flow_run(stand_in, tags=["fightpose"])
            api.set_flow_run_state(run.id, Running(), force=True)
            api.set_flow_run_state(run.id, Crashed(message="killed"), force=True)
            wait_until_put_back(api, run)


@pytest.mark.integration
@pytest.mark.parametrize("heartbeat", [False, True])
def test_a_run_that_falls_silent_goes_back_into_the_queue(tmp_path, monkeypatch, heartbeat):
    """Also one that was killed before its first heartbeat: only its start is known of it."""
    # The shortest that Prefect takes.
    monkeypatch.setattr(provision, "HEARTBEAT_WINDOW", timedelta(seconds=10))
    with Cluster(tmp_path) as cluster:
        cluster.provision()
        time.sleep(5)
        with client() as api:
            run = api.create_flow_run(stand_in, tags=["fightpose"])
            api.set_flow_run_state(run.id, Running(), force=True)
            if heartbeat:
                tag = {"prefect.resource.id": "prefect.tag.fightpose", "prefect.resource.role": "tag"}
                sent = {
                    "id": str(uuid4()),
                    "occurred": datetime.now(UTC).isoformat(),
                    "event": "prefect.flow-run.heartbeat",
                    "resource": {"prefect.resource.id": f"prefect.flow-run.{run.id}"},
                    "related": [tag],
                }
                with cluster.http() as http:
                    http.post("events", json=[sent]).raise_for_status()
            wait_until_put_back(api, run)


def wait_until_put_back(api: SyncPrefectClient, run: FlowRun) -> None:
    """Wait until a run is in the queue again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (state := api.read_flow_run(run.id).state) is not None and not state.is_scheduled():
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    assert state is not None
    assert state.name == "AwaitingRetry"
