"""SIGTERM ends a run after the step under way, and puts it back into the queue.

Problem: a drained node or a spot instance sends SIGTERM and kills some time later. Prefect ends a run in the middle of
whatever it does, and an extraction of minutes is lost. Solution: the signal only asks for the end. Between two steps
the run sees that it was asked, puts itself back into the queue and ends; what it has finished is found by the next try.
A cancelled run gets the same signal from its worker, so the server is asked: cancelled runs end at once.

While the step goes on the run is already in the queue, for a time at which the grace is over: killed early, it
starts again all the same.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, Protocol

import httpx
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, PrefectHTTPStatusError
from prefect.states import AwaitingRetry
from prefect.utilities import engine

from flows.prefect_server.requeue import requeue

logger = logging.getLogger(__name__)

GRACE_SECONDS = float(os.environ.get("FIGHTPOSE_GRACE_SECONDS", "90"))
"""How long the step under way may go on; Kubernetes, Docker and spot instances kill after 30 s to 2 minutes."""

HOLD_SECONDS = 30.0
"""How long after the grace a run that did not end by itself may be started again; workers look 10 s ahead."""

Handler = Callable[[int, FrameType | None], Any]


class Between(Protocol):
    """What a run calls where it may end; several clips under way need to know beforehand whether to start another."""

    @property
    def asked(self) -> bool:
        """Whether the end was asked for."""
        ...

    def __call__(self) -> None:
        """End the run here if that was asked for; raises Prefect's Abort."""
        ...


class _NeverAsked:
    """For runs that no worker started: people end those by hand."""

    asked = False

    def __call__(self) -> None:
        """Go on."""


@contextmanager
def ends_between_steps() -> Iterator[Between]:
    """Make SIGTERM wait for the end of a step; give the function that is to be called before each step.

    Only in a process that a worker started for this very run: a person who runs flows by hand ends them by hand.
    """
    run_id = runtime.flow_run.id
    if run_id is None or os.environ.get("PREFECT__FLOW_RUN_ID") != str(run_id):
        yield _NeverAsked()
        return
    request = _Request(run_id)
    try:
        with handled(request.receive):
            yield request
    finally:
        request.close()


class _Request:
    """The wish to end, from the signal to the end.

    Parameters
    ----------
    run_id
        The run of this process.
    """

    def __init__(self, run_id: Any) -> None:
        self._run_id = run_id
        self._at_once = False
        self._asked = threading.Event()
        self._known = threading.Event()
        self._over = threading.Event()
        # Its `put` may be called from a signal handler whatever the main thread is doing; starting a thread may not.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Thread(target=self._answer, name="drain", daemon=True).start()

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take the signal; the second one, which is our own, ends the run at once."""
        if self._at_once:
            _PREFECTS_HANDLER(number, frame)
        self._signals.put(number)

    @property
    def asked(self) -> bool:
        """Whether SIGTERM has come."""
        return self._asked.is_set()

    def __call__(self) -> None:
        """End the run here if that was asked for.

        Raises
        ------
        Abort
            Prefect's own way to end a run whose state somebody else has set.
        """
        if not self._asked.is_set():
            return
        # A cancelled run is ended by a signal, which comes as soon as the server has said so.
        self._known.wait(GRACE_SECONDS)
        logger.info("ended by SIGTERM after the step under way; the run goes on elsewhere")
        with get_client(sync_client=True) as client:
            requeue(client, client.read_flow_run(self._run_id), "ended by SIGTERM after the step under way")
        raise Abort("ended by SIGTERM")

    def close(self) -> None:
        """Tell the thread that the run is over."""
        self._over.set()
        self._signals.put(0)

    def _answer(self) -> None:
        """Wait for the signal, then see to it that the run ends in time."""
        if not self._signals.get():
            return
        self._asked.set()
        if not self._cancelled():
            self._known.set()
            if self._over.wait(GRACE_SECONDS):
                return
            logger.warning("the step under way did not end within %.0f s of SIGTERM", GRACE_SECONDS)
        self._at_once = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _cancelled(self) -> bool:
        """Tell whether the run is being cancelled; if not, put it into the queue for when the grace is over."""
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(self._run_id).state
                if state is not None and (state.is_cancelling() or state.is_cancelled()):
                    return True
                until = datetime.now(UTC) + timedelta(seconds=GRACE_SECONDS + HOLD_SECONDS)
                held: State[Any] = AwaitingRetry(
                    scheduled_time=until, message="SIGTERM: the step under way still goes on"
                )
                client.set_flow_run_state(self._run_id, held, force=True)
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            logger.warning("SIGTERM came while the server does not answer (%s)", type(error).__name__)
        logger.info("SIGTERM: the run ends after the step under way, within %.0f s", GRACE_SECONDS)
        return False


# Prefect tells a run of its cancellation, or of a container's end, only while its own handler is in place, and knows
# it by this name. Where a later version has none, such runs are ended without being told, which works as well.
HANDLER_NAME = "_prefect_sigterm_handler"
_PREFECTS_HANDLER: Handler = getattr(engine, HANDLER_NAME, signal.default_int_handler)


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Put a handler of SIGTERM in Prefect's place for the length of the block."""
    earlier = signal.signal(signal.SIGTERM, handler)
    setattr(engine, HANDLER_NAME, handler)
    try:
        yield
    finally:
        setattr(engine, HANDLER_NAME, _PREFECTS_HANDLER)
        signal.signal(signal.SIGTERM, earlier)
