"""The clips of the orchestration benchmark through Ray Data, which a team might pick in place of Prefect.

One data set of jobs, mapped by as many actors as there are cores; each runs the plain functions of one clip, as a
worker process of mode parallel does. Needs the extra "benchmark".
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def is_installed() -> bool:
    """Tell whether Ray can be had."""
    return importlib.util.find_spec("ray") is not None


class Annotator:
    """An actor: annotates the clips whose numbers it is given.

    Parameters
    ----------
    jobs
        All clips of the round.
    """

    def __init__(self, jobs: list[Any]) -> None:
        from flows.engine.engines import resolved, run_keys

        settings = jobs[0].settings
        self._jobs, self._settings, self._keys = jobs, resolved(settings), run_keys(settings)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Annotate one clip and return how many frames it has."""
        from dataclasses import replace

        from tests.benchmarks.orchestration import annotate_stand_in

        job = replace(self._jobs[int(row["id"])], settings=self._settings)
        return {"frames": annotate_stand_in((job, self._keys)).frames}


def annotated(jobs: list[Any]) -> Iterator[int]:
    """Yield the frames of each clip that ends."""
    import ray
    import ray.data

    from flows.engine.engines import ONE_THREAD

    cores = len(os.sched_getaffinity(0))
    # The actors import our modules from here, as worker processes of a run do.
    environment = {"env_vars": {"PYTHONPATH": str(ROOT), **ONE_THREAD}}
    ray.init(
        num_cpus=cores + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env=environment,
    )
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        # A block per clip: rows of a block come out together.
        rows = ray.data.range(len(jobs), override_num_blocks=len(jobs))
        done = rows.map(Annotator, fn_constructor_args=(jobs,), compute=ray.data.ActorPoolStrategy(size=cores))
        for row in done.iter_rows():
            yield int(row["frames"])
    finally:
        ray.shutdown()
