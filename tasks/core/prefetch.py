"""Doing the next piece of work in a thread of its own while the last one is still being used."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

POLL_S = 0.1
"""How often a thread that waits for room looks whether anybody still wants its items."""

_unwanted: contextvars.ContextVar[threading.Event] = contextvars.ContextVar("unwanted")
"""Set for the length of the thread: whether the user of its items is gone."""


@contextmanager
def ahead(items: Iterable[T], most: int) -> Iterator[Iterator[T]]:
    """Walk through an iterable in a thread, at most some items ahead of the code that uses them.

    Decoding and encoding let go of the interpreter lock, so that they overlap with the model. What the iterable raises
    is raised where the items are used, after the items that came before it. When the block is left, by an error or by
    Ctrl-C too, the thread has ended and the iterable is closed.

    Parameters
    ----------
    items
        Used by the thread alone.
    most
        Items that wait at most, at least 1: this bounds the memory.
    """
    lane = _Lane(items, most)
    lane.thread.start()
    try:
        yield lane.taken()
    finally:
        lane.stop()


def still_wanted() -> bool:
    """Tell code that makes items and waits long for something whether anybody waits for the items."""
    event = _unwanted.get(None)
    return event is None or not event.is_set()


class _Lane(Generic[T]):
    """The queue between a thread and the user of its items."""

    def __init__(self, items: Iterable[T], most: int) -> None:
        self._items = items
        self._waiting: queue.Queue[tuple[T] | _End] = queue.Queue(most)
        self._unwanted = threading.Event()
        # The thread runs in the caller's context, by which Prefect tells which run a log line belongs to.
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=context.run, args=(self._walk,), name="ahead", daemon=True)

    def _walk(self) -> None:
        """Put item after item into the queue, and the end mark last; runs in the thread."""
        error: BaseException | None = None
        _unwanted.set(self._unwanted)
        try:
            for item in self._items:
                if not self._put((item,)):
                    break
        except BaseException as raised:
            error = raised
        if isinstance(self._items, Generator):
            # Here and not in the caller's thread: what a generator holds open was opened by this one.
            self._items.close()
        self._put(_End(error))

    def _put(self, item: tuple[T] | _End) -> bool:
        """Wait for room in the queue; False where nobody wants the item any more."""
        while not self._unwanted.is_set():
            try:
                # A put with a time limit, as a plain one would wait forever once the reader has gone.
                self._waiting.put(item, timeout=POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def taken(self) -> Iterator[T]:
        """Yield the items in order; fewer where the user is a thread ahead itself, whose own items nobody wants."""
        while True:
            try:
                item = self._waiting.get(timeout=POLL_S)
            except queue.Empty:
                if not still_wanted():
                    return
                continue
            if isinstance(item, _End):
                break
            yield item[0]
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        """End the thread."""
        self._unwanted.set()
        self.thread.join()


class _End:
    """The end mark: with the error that ended the items, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
