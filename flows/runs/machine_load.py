"""What the machine has to spare, and how many workers that carries.

Memory above 80 % stops the number of workers from growing, above 95 % shrinks it. Cores that other programs keep busy
for minutes are not counted on; a short burst of theirs changes nothing. The load of our own workers is what the cores
are for.
"""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass

import psutil

logger = logging.getLogger(__name__)

WARNING_PERCENT = 80.0
CRITICAL_PERCENT = 95.0

WORKER_BYTES = 1 << 30
"""Memory that one worker is assumed to need before any has been measured: Python, a model and a clip."""

STEADY_SECONDS = 120.0
"""Time constant of the mean of other programs' load: a burst of a second counts for less than a hundredth of a core."""


@dataclass(frozen=True, slots=True)
class Load:
    """A reading of the machine.

    Attributes
    ----------
    cores
        Cores that this process may use.
    foreign_cores
        Cores' worth of work that other programs do, as a mean over minutes.
    memory_percent
        Share of the memory in use.
    available_bytes
        Memory that can be taken without swapping.
    """

    cores: int
    foreign_cores: float
    memory_percent: float
    available_bytes: int


def allowed_workers(load: Load, running: int, limit: int) -> int:
    """Return how many workers may run now.

    Parameters
    ----------
    load
        The machine.
    running
        Workers that run at the moment.
    limit
        The most that may ever run.

    Returns
    -------
    At least 1: a machine in need still makes progress, one clip at a time.
    """
    # Our own load is left out: counted, it would make the run throttle itself.
    free_cores = round(load.cores - load.foreign_cores)
    if load.memory_percent >= CRITICAL_PERCENT:
        # One at a time: the memory that a worker gives back shows only at the next reading.
        by_memory = running - 1
    elif load.memory_percent >= WARNING_PERCENT:
        by_memory = running
    else:
        # Workers that run have their memory already: only new ones are counted against what is free.
        by_memory = running + load.available_bytes // WORKER_BYTES
    return max(1, min(limit, free_cores, by_memory))


class ResourceMonitor:
    """Reads the machine's load, and warns once when memory crosses a threshold."""

    def __init__(self) -> None:
        self._warned = 0.0
        # No load of others at the start: what the first second shows says nothing about the next hour.
        self._foreign = 0.0
        self._read_at = time.monotonic()
        self._own: dict[int, psutil.Process] = {}
        psutil.cpu_percent()  # the first reading only sets the reference point

    def read(self) -> Load:
        """Return the load since the last reading."""
        # Not os.cpu_count(): a container or taskset may leave this process fewer cores than there are.
        cores = len(os.sched_getaffinity(0))
        memory = psutil.virtual_memory()
        # In cores: psutil gives percent of all cores here, and percent of one core for a process.
        all_busy = psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1)
        load = Load(cores, self._steady(max(0.0, all_busy - self._own_cores())), memory.percent, memory.available)
        self._warn(load.memory_percent)
        return load

    def _steady(self, foreign: float) -> float:
        """Return the mean of other programs' load, given a sample of it."""
        now = time.monotonic()
        # Exponential mean for readings at uneven times: weight of a sample = 1 - exp(-dt / time constant).
        share = 1 - math.exp(-(now - self._read_at) / STEADY_SECONDS)
        self._read_at = now
        self._foreign += share * (foreign - self._foreign)
        return self._foreign

    def _own_cores(self) -> float:
        """Return the cores' worth of work of this process and its children since the last reading."""
        me = psutil.Process()
        # Process objects are kept: the share of a process is measured between two calls on the same object.
        family = {process.pid: process for process in [me, *me.children(recursive=True)]}
        # Processes that have ended drop out, so that a long run does not gather them.
        self._own = {pid: self._own.get(pid, process) for pid, process in family.items()}
        total = 0.0
        for process in self._own.values():
            try:
                total += process.cpu_percent() / 100
            except psutil.NoSuchProcess:  # ended since the list was made
                continue
        return total

    def _warn(self, percent: float) -> None:
        """Log the crossing of a threshold upwards, once per crossing."""
        level = next((limit for limit in (CRITICAL_PERCENT, WARNING_PERCENT) if percent >= limit), 0.0)
        # Falling below a threshold lowers the level without a word, so that the next crossing is told again.
        if level > self._warned:
            logger.warning(
                "memory %.0f %% in use: %s",
                percent,
                "fewer workers" if level == CRITICAL_PERCENT else "no more workers",
            )
        self._warned = level
