"""SIGTERM waits for the end of a step only where a worker started the run; the rest is shown by tests/integration."""

from __future__ import annotations

import signal

from prefect.utilities import engine

from flows.prefect_server import shutdown as drain


def test_whoever_runs_a_flow_by_hand_keeps_the_signals():
    """No run of a worker, no handler of ours; the function that is called between steps does nothing."""
    before = signal.getsignal(signal.SIGTERM)
    with drain.ends_between_steps() as between:
        assert signal.getsignal(signal.SIGTERM) is before
        between()


def test_prefect_takes_our_handler_for_its_own():
    """Or it would not tell a run that it is cancelled, and would kill the run of a container without a grace."""
    assert hasattr(engine, drain.HANDLER_NAME)
    before = signal.getsignal(signal.SIGTERM)
    received = []
    assert not engine.is_prefect_sigterm_handler_installed()
    with drain.handled(lambda number, frame: received.append(number)):
        assert engine.can_ack_control_intent()
        signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]
    assert not engine.is_prefect_sigterm_handler_installed()
    assert signal.getsignal(signal.SIGTERM) is before
