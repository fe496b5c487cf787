"""A cluster per test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Give a server on SQLite with pools, deployments and automations, and a worker for each pool."""
    with Cluster(tmp_path) as made:
        made.provision(gpu=2, cpu=4)
        made.worker("gpu", "gpu-1")
        made.worker("cpu", "cpu-1")
        yield made
