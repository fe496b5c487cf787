"""Put a run back into the queue, at once, whatever the clocks of the machines say."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry

MAX_RESTARTS = 3
"""A clip that takes its process down this often and once more is a failure."""


def requeue(client: SyncPrefectClient, run: FlowRun, why: str) -> None:
    """Put a run that ended, or is about to, back into the queue.

    Parameters
    ----------
    client
        A client of the run's server.
    run
        The run.
    why
        Shown as the message of its state.
    """
    # For the time at which it was first due, which the server set: the queue is in order of times, and a machine whose
    # clock is an hour ahead would otherwise make it wait for an hour.
    client.set_flow_run_state(run.id, AwaitingRetry(scheduled_time=run.expected_start_time, message=why), force=True)
