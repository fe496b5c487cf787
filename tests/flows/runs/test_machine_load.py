"""The number of workers follows free memory and cores."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from flows.runs import machine_load as resources
from flows.runs.machine_load import WORKER_BYTES, Load, ResourceMonitor, allowed_workers


def _load(cores: int = 8, foreign: float = 0.0, memory: float = 40.0, available: int = 64 * WORKER_BYTES) -> Load:
    """Return a machine with room, except for what is given."""
    return Load(cores, foreign, memory, available)


@pytest.mark.parametrize(
    ("load", "running", "expected"),
    [
        (_load(), 0, 8),
        (_load(cores=32), 0, 16),  # the limit
        (_load(foreign=3.0), 8, 5),  # other programs keep three cores busy
        (_load(available=2 * WORKER_BYTES), 3, 5),  # memory for two more
        (_load(memory=80.0), 4, 4),  # warning: no more than run
        (_load(memory=95.0), 4, 3),  # critical: one fewer
        (_load(memory=99.0), 0, 1),  # one always may
        (_load(foreign=8.0), 2, 1),
    ],
)
def test_allowed_workers_follow_cores_memory_and_the_limit(load, running, expected):
    """Each bound alone decides where it is the tightest."""
    assert allowed_workers(load, running, limit=16) == expected


def test_the_load_of_our_own_workers_is_not_counted_as_foreign():
    """A busy loop in this process leaves the cores ours."""
    monitor = ResourceMonitor()
    monitor.read()
    total = sum(range(3_000_000))
    load = monitor.read()
    assert total > 0
    assert load.cores >= 1
    assert 0 <= load.memory_percent <= 100
    assert load.available_bytes > 0


def test_memory_warnings_come_once_per_crossing(monkeypatch, caplog):
    """A run of days does not fill its log with one sentence."""
    percents = iter([50.0, 85.0, 86.0, 96.0, 97.0, 50.0, 81.0])
    monkeypatch.setattr(
        resources.psutil, "virtual_memory", lambda: SimpleNamespace(percent=next(percents), available=1 << 30)
    )
    monitor = ResourceMonitor()
    with caplog.at_level(logging.WARNING, logger="flows.runs.machine_load"):
        for _ in range(7):
            monitor.read()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "memory 85 % in use: no more workers",
        "memory 96 % in use: fewer workers",
        "memory 81 % in use: no more workers",
    ]
