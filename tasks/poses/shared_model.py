"""One pose model for several clips at once.

Problem: a model on a GPU is fast only in full batches, and a clip of two seconds ends in the middle of one. Solution:
each clip asks from a thread of its own, as if the model were its own, and one thread runs the model on batches that are
filled with whatever images wait, of one clip or of several. What is found in an image does not depend on its
neighbours in the batch, but for the rounding of floating-point sums.

Models that choose their input size per image (MoveNet on a CPU) gain nothing from larger batches: they are shared by
taking turns.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from tasks.poses.detections import Detections
from tasks.poses.models import PoseModel
from tasks.poses.second_look import Zoom
from tasks.video.reading import Image

LINGER_SECONDS = 0.02
"""How long a batch that is not full waits for images of other clips; a full batch takes a GPU about as long."""


def shared(model: PoseModel) -> TakingTurns | SharedBatches:
    """Return a model that several threads may use at the same time."""
    return TakingTurns(model) if isinstance(model, Zoom) else SharedBatches(model)


class TakingTurns:
    """A model with a lock around it; all else is the model's own."""

    def __init__(self, model: Zoom) -> None:
        self._model = model
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        """Pass on what the model offers besides `detect`: sizes, costs, thresholds."""
        return getattr(self._model, name)

    def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
        """Return the people of each image; see `tasks.poses.second_look.Zoom`."""
        with self._lock:
            return self._model.detect(images, long_side)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no thread was started."""


class SharedBatches:
    """A model that is run by a thread of its own, on batches filled across the threads that ask.

    Use it as a context manager: the thread ends with the block.

    Parameters
    ----------
    model
        A loaded model, which from now on is used by the thread alone.

    Attributes
    ----------
    batch_size
        The model's.
    """

    def __init__(self, model: PoseModel) -> None:
        self.batch_size = model.batch_size
        self._model = model
        self._waiting: deque[tuple[Image, Future[Detections]]] = deque()
        self.changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the people of each image, after the images that were given before.

        Raises
        ------
        Exception
            What the model raised for the batch that held one of the images.
        RuntimeError
            If the model was closed.
        """
        answers: list[Future[Detections]] = [Future() for _ in images]
        with self.changed:
            if self._ended:
                raise RuntimeError("the pose model was closed")
            self._waiting.extend(zip(images, answers, strict=True))
            self.changed.notify()
        # Outside the lock, which the model's thread needs to take the images.
        return [answer.result() for answer in answers]

    def _run(self) -> None:
        """Run batch after batch until the end; in the thread."""
        while batch := self._next():
            try:
                found = self._model.detect([image for image, _ in batch])
                for (_, answer), people in zip(batch, found, strict=True):
                    answer.set_result(people)
            except BaseException as error:
                # Every clip of the batch is told; the model itself goes on with the next.
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)

    def _next(self) -> list[tuple[Image, Future[Detections]]]:
        """Wait for a full batch, or for what has come in the meantime; empty at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self._waiting or self._ended)
            # A full batch is worth a short wait: other clips are being decoded.
            self.changed.wait_for(lambda: len(self._waiting) >= self.batch_size or self._ended, LINGER_SECONDS)
            return [self._waiting.popleft() for _ in range(min(self.batch_size, len(self._waiting)))]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread; who still waits gets an error."""
        with self.changed:
            self._ended = True
            left = list(self._waiting)
            self._waiting.clear()
            self.changed.notify()
        # Images that the thread has taken are answered by it; the others would wait for ever.
        for _, answer in left:
            answer.set_exception(RuntimeError("the pose model was closed"))
        self._thread.join()
