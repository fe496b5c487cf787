"""What a step takes of the machine: cores, memory, and the GPU where there is one.

The helper processes that decode foreign videos count, too; other children do not: in a local run the temporary Prefect
server is one. Memory and GPU are looked at twice a second and so may miss a peak that is shorter.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from tasks.core.gpus import allowed_devices, query_gpus
from tasks.video.decoder import helper_processes

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Pause between two looks."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a step took.

    Attributes
    ----------
    cores
        Mean number of cores that this process and its helpers kept busy.
    memory_bytes
        Most memory that this process and its helpers held (resident).
    gpu_percent
        Mean utilisation of the GPU, None without one.
    gpu_bytes
        Most memory in use on the GPU by all programs, None without one.
    """

    cores: float
    memory_bytes: int
    gpu_percent: float | None = None
    gpu_bytes: int | None = None

    def words(self) -> str:
        """Return the figures in one line."""
        gpu = "" if self.gpu_percent is None else f", GPU {self.gpu_percent:.0f} %"
        if self.gpu_bytes is not None:
            gpu += f" and {self.gpu_bytes / 1e9:.1f} GB"
        return f"{self.cores:.1f} cores, {self.memory_bytes / 1e6:.0f} MB{gpu}"


class UsageMeter:
    """Watches this process from a thread of its own.

    Parameters
    ----------
    gpu
        Whether to look at the GPU, too: the one that CUDA_VISIBLE_DEVICES names first.
    """

    def __init__(self, gpu: bool) -> None:
        self._process = psutil.Process()
        self._has_gpu = gpu
        # Both from now on: what the process used before the step does not count.
        self._start = time.perf_counter(), self._work()
        self._memory: list[int] = []
        self._gpu: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="usage", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Stop looking; a last look makes sure that there is one."""
        self._stop.set()
        self._thread.join()
        self._look()

    def read(self) -> Usage:
        """Return what has been seen so far."""
        # The first clip of a run may end before the first look.
        if not self._memory:
            self._look()
        wall, work = time.perf_counter() - self._start[0], self._work() - self._start[1]
        # zip(*[]) gives nothing to unpack, and a machine without a GPU has no readings.
        percents, sizes = zip(*self._gpu, strict=True) if self._gpu else ((), ())
        return Usage(
            work / wall if wall else 0.0,
            max(self._memory, default=0),
            sum(percents) / len(percents) if percents else None,
            max(sizes, default=None),
        )

    def _work(self) -> float:
        """Return the processor seconds of this process, of its helpers, and of children that have ended."""
        times = self._process.cpu_times()
        # A helper that ends in the meantime is among the children then, so that nothing is lost.
        work = times.user + times.system + times.children_user + times.children_system
        for helper in _helpers():
            # A helper may end between being listed and being looked at.
            with suppress(psutil.Error):
                own = helper.cpu_times()
                work += own.user + own.system
        return float(work)

    def _watch(self) -> None:
        """Look until told to stop."""
        while not self._stop.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        """Take one look."""
        held = self._process.memory_info().rss
        for helper in _helpers():
            with suppress(psutil.Error):
                held += helper.memory_info().rss
        self._memory.append(held)
        if self._has_gpu and (reading := gpu_reading()):
            self._gpu.append(reading)


def _helpers() -> Iterator[psutil.Process]:
    """Yield the helper processes that are there."""
    for number in helper_processes():
        with suppress(psutil.Error):
            yield psutil.Process(number)


@contextmanager
def measured(device: str) -> Iterator[UsageMeter]:
    """Measure what the block takes; `read` is complete after it.

    Parameters
    ----------
    device
        Where the model runs: cpu, or cuda:0.
    """
    meter = UsageMeter(device.startswith("cuda"))
    meter.start()
    try:
        yield meter
    finally:
        meter.end()


def gpu_reading() -> tuple[float, int] | None:
    """Return utilisation (percent) and memory in use (bytes) of cuda:0, None where nvidia-smi does not say."""
    allowed = allowed_devices()
    try:
        percent, mebibytes = query_gpus("utilization.gpu", "memory.used", only=allowed[0] if allowed else None)[0]
        # nvidia-smi gives the memory in MiB.
        return float(percent), int(mebibytes) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        # Some GPUs (MIG slices) have no utilisation: "[N/A]".
        logger.debug("nvidia-smi gives no reading (%s)", error)
        return None
