"""Where a step says how far it is; who listens is not its business.

One sink per process: the command line's progress display, or the queue that leads to it from a worker process.
"""

from collections.abc import Callable
from dataclasses import dataclass

POSES, OVERLAY = "poses", "overlay"
"""The steps that go through all frames of a clip."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the current step of a clip is.

    Attributes
    ----------
    clip
        The clip's path relative to the input root.
    step
        What is being done, in words for the display.
    done
        Frames done.
    total
        Frames to do as far as the header knows, 0 if it does not say.
    """

    clip: str
    step: str
    done: int
    total: int


_sinks: list[Callable[[Progress], None]] = []


def listen(sink: Callable[[Progress], None] | None) -> None:
    """Send this process's progress to a sink from now on; None stops it."""
    _sinks[:] = [sink] if sink is not None else []


def report(progress: Progress) -> None:
    """Tell the sink, if anybody listens."""
    for sink in _sinks:
        sink(progress)
