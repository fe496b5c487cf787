"""A worker's second report of one death does not end the attempt that was started in between."""

from __future__ import annotations

import inspect

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort
from prefect.runner import _flow_run_executor
from prefect.states import AwaitingRetry, Crashed, Pending, Running
from prefect.utilities.engine import propose_state_sync
from prefect.workers import base

from flows.prefect_server.late_reports import FIRST, SECOND


@flow
def killed():
    """Stand for a run that a worker's process executes."""


@pytest.mark.prefect
@pytest.mark.parametrize("under_way", [AwaitingRetry(), Pending(), Running()])
@pytest.mark.usefixtures("prefect_server")
def test_the_second_report_of_one_death_is_turned_away(under_way):
    """Whatever the next attempt has come to; the first report of its own death is believed."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(killed, state=Running())
        assert propose_state_sync(client, Crashed(message=f"{FIRST}: -9."), flow_run_id=run.id).is_crashed()
        client.set_flow_run_state(run.id, under_way, force=True)
        with pytest.raises(Abort, match="reported before"):
            propose_state_sync(client, Crashed(message=f"{SECOND} -9."), flow_run_id=run.id)
        state = client.read_flow_run(run.id).state
        assert state is not None
        assert state.type == under_way.type
        assert propose_state_sync(client, Crashed(message=f"{FIRST}: -9."), flow_run_id=run.id).is_crashed()


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect_server")
def test_the_only_report_of_a_container_is_believed():
    """Workers that start containers send one report, time and again."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(killed, state=Running())
        for _ in range(2):
            assert propose_state_sync(client, Crashed(message=f"{SECOND} 137."), flow_run_id=run.id).is_crashed()
            client.set_flow_run_state(run.id, Running(), force=True)


def test_prefect_still_words_its_reports_so():
    """They are told apart by their words alone."""
    assert f"{FIRST}: {{" in inspect.getsource(_flow_run_executor)
    assert f'"{SECOND}"' in inspect.getsource(base)
