"""A run in a process of its own that is killed in the middle: `kill -9`, with nothing tidied up.

An exception in this process would not do: it runs every `finally` on its way, and those are what a kill leaves out.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from flows.annotate_dataset import annotate_dataset
from tasks.core.settings import Settings
from tasks.video.decoder import helper_processes
from tests.fuzz.plain import flows_without_prefect

END_SECONDS = 60.0
"""How long the decoders of a killed run are waited for; they take half a second on an idle machine."""

CALLS = ("fsync", "write", "replace", "rename", "unlink", "ftruncate")
"""Functions of `os` by which something reaches a disk, or goes from it."""


@cache
def _processes() -> ForkServerContext:
    """Return a maker of processes that have everything imported, and no threads whose locks a fork would keep."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def start_fork_server() -> None:
    """Start the process that later ones are forked from, if it is not there."""
    from multiprocessing.forkserver import ensure_running

    _processes()
    ensure_running()


def run_until_killed(
    clips: Path, output_root: Path, settings: Settings, *, writes: int | None = None, seconds: float | None = None
) -> bool:
    """Annotate a folder, and be killed on the way; return whether that came before the run's own end.

    Parameters
    ----------
    clips, output_root, settings
        Of the run.
    writes
        Killed before the call with this number of one that changes the disk.
    seconds
        Or killed after so many seconds.

    Raises
    ------
    AssertionError
        If a process of the run lives on, or the run fails by itself.
    """
    context = _processes()
    ours, theirs = context.Pipe()
    process = context.Process(target=_annotate, args=(clips, output_root, settings, writes, theirs))
    process.start()
    theirs.close()
    with ours:
        if seconds is not None:
            # From the start of the work: that of the process is not what is tested.
            ours.recv()
            time.sleep(seconds)
            helpers = _children(process.pid)
            process.kill()
        else:
            helpers = _last(ours)
        process.join()
    assert process.exitcode in (0, -signal.SIGKILL), f"the run ended with {process.exitcode}"
    left = psutil.wait_procs(helpers, timeout=END_SECONDS)[1]
    assert not left, f"processes of a killed run live on: {left}"
    killed = process.exitcode != 0
    process.close()
    return killed


def _children(pid: int | None) -> list[psutil.Process]:
    """Return the processes that a process has started; none if it has just ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _last(connection: Connection) -> list[psutil.Process]:
    """Wait for the end of a process and return the helpers that it named last, as far as they live."""
    named: list[int] = []
    try:
        while True:
            named = connection.recv()
    except (EOFError, ConnectionError):
        return [psutil.Process(pid) for pid in named if psutil.pid_exists(pid)]


def _annotate(clips: Path, output_root: Path, settings: Settings, writes: int | None, connection: Connection) -> None:
    """Do the run, in the process that is killed."""
    # Before anything is patched: the message is a write, too.
    connection.send([])
    with flows_without_prefect():
        if writes is None:
            annotate_dataset.fn(clips, output_root, settings=settings)
            return
        left = [writes]

        def dies_at(call: Callable[..., Any]) -> Callable[..., Any]:
            """Count the calls of a function, and die before one of them."""

            def counted(*arguments: Any, **named: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    connection.send(helper_processes())
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **named)

            return counted

        for name in CALLS:
            # For good: this process does nothing else.
            mock.patch.object(os, name, dies_at(getattr(os, name))).start()
        annotate_dataset.fn(clips, output_root, settings=settings)
        connection.send(helper_processes())
