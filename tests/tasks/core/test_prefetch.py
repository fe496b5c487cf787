"""A thread that works ahead: order, bounds, errors, and a clean end."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator

import pytest

from tasks.core.prefetch import ahead, still_wanted


def running() -> int:
    """Return how many of these threads are alive."""
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_items_come_in_order_and_all() -> None:
    """Nothing is lost between the threads."""
    with ahead(range(1000), 3) as items:
        assert list(items) == list(range(1000))
    assert running() == 0


def test_the_thread_works_ahead_but_not_beyond_its_bound() -> None:
    """Memory is bounded: with the item in hand and the one that waits for room, two more than the queue holds."""
    made: list[int] = []

    def make() -> Iterator[int]:
        """Note what is made."""
        for number in range(100):
            made.append(number)
            yield number

    with ahead(make(), 4) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 10
        while len(made) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(made) == 6
    assert running() == 0


def test_an_error_comes_after_the_items_before_it() -> None:
    """A clip that breaks off is reported as if nothing ran in a thread."""

    def broken() -> Iterator[int]:
        """Give one item, then fail."""
        yield 1
        raise ValueError("tail is missing")

    with ahead(broken(), 2) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="tail"):
            next(items)
    assert running() == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_leaving_early_closes_what_is_open(error: type[BaseException]) -> None:
    """Ctrl-C while the model runs: the thread ends and the container is closed, though the queue is full."""
    closed = threading.Event()

    def frames() -> Iterator[int]:
        """Hold something open."""
        try:
            while True:
                yield 0
        finally:
            closed.set()

    def use() -> None:
        """Take one item and stop."""
        with ahead(frames(), 1) as items:
            next(items)
            raise error

    with pytest.raises(error):
        use()
    assert closed.is_set()
    assert running() == 0


def test_the_thread_runs_in_the_callers_context() -> None:
    """Prefect finds the run of a log line there."""
    run = contextvars.ContextVar("run", default="none")
    run.set("this run")
    with ahead((run.get() for _ in range(1)), 1) as items:
        assert list(items) == ["this run"]


def test_a_thread_that_waits_for_another_thread_ends_when_nobody_wants_its_items() -> None:
    """Decoder, drawing and encoder: the encoder stops while the decoder hangs."""
    hangs, began = threading.Event(), threading.Event()

    def decoded() -> Iterator[int]:
        """Give one frame, and then none for as long as anybody waits."""
        yield 1
        began.set()
        while still_wanted():
            hangs.wait(0.01)

    def drawn() -> Iterator[int]:
        """Draw what is decoded."""
        with ahead(decoded(), 1) as frames:
            yield from frames

    before = running()
    with ahead(drawn(), 1) as frames:
        assert next(frames) == 1
        assert began.wait(30)
    # Leaving the block waits for both threads: it would not have ended.
    assert running() == before
