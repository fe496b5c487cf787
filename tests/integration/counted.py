"""The flow of one clip with a stand-in for the model, for worker processes: the deployments of these tests name it.

Each start of an extraction is a line in a file, so that a test can tell whether one was done that had been done before.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows import annotate_dataset as dataset
from flows import annotate_shard as shard
from flows.annotate_shard import annotate_shard
from flows.annotate_video import annotate_video
from flows.engine import stages
from tasks import steps
from tasks.core.settings import PoseSettings
from tasks.poses.detections import Detections
from tasks.video.reading import Image
from tests.conftest import StandInModel

__all__ = ["annotate_shard", "annotate_video"]

COUNT_FILE = "FIGHTPOSE_TEST_COUNT"
"""Environment variable: the file of the lines."""

SECONDS_PER_FRAME = "FIGHTPOSE_TEST_SECONDS"
"""Environment variable: how slow the stand-in is."""

POISON = "FIGHTPOSE_TEST_POISON"
"""Environment variable: file name of the clip that kills every process which extracts it."""


class Slow(StandInModel):
    """The stand-in, as slow as a real model: kills have to hit extractions, too."""

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Take the time of a model and return what the stand-in sees."""
        time.sleep(len(images) * float(os.environ.get(SECONDS_PER_FRAME, "0")))
        return super().detect(images)


_extract = steps.extract_poses


def _counted(video: Any, *rest: Any) -> Any:
    """Note the start of an extraction, then do it."""
    line = f"{time.time():.3f} {video.path}\n".encode()
    descriptor = os.open(Path(os.environ[COUNT_FILE]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
    if Path(video.path).name == os.environ.get(POISON):
        # As the kernel ends a process that has used up the memory: no handler runs.
        os.kill(os.getpid(), signal.SIGKILL)
    return _extract(video, *rest)


def _model(settings: PoseSettings) -> Slow:
    """Return a stand-in in place of any model."""
    return Slow()


# Only in the processes that a cluster starts: pytest imports this module too while it collects, and there the other
# tests need the steps as they are.
if COUNT_FILE in os.environ:
    for room in (steps, stages):
        setattr(room, "extract_poses", _counted)  # noqa: B010 - the type checker need not know
    for room in (steps, dataset, shard):
        setattr(room, "model_of", _model)  # noqa: B010
