"""One model for several clips at once: fuller batches, the same people."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tasks.poses.detections import Detections
from tasks.poses.shared_model import SharedBatches, TakingTurns, shared
from tasks.video.reading import Image


class Brightness:
    """A model that finds one person per image, whose score is the image's first value, and notes its batches."""

    batch_size = 8

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.at_once = 0

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return a person per image."""
        self.at_once += 1
        assert self.at_once == 1, "two threads in the model"
        self.batches.append(len(images))
        self.threads.add(threading.get_ident())
        people = [
            Detections(
                np.zeros((1, 4), np.float32),
                np.full(1, image[0, 0, 0], np.float32),
                np.zeros((1, 17, 2), np.float32),
                np.zeros((1, 17), np.float32),
            )
            for image in images
        ]
        self.at_once -= 1
        return people


class Zooming(Brightness):
    """The same with an input size per image."""

    sure_score, tile_side, crop_side = 0.5, 128, 64

    def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
        """Return a person per image."""
        return super().detect(images)

    def cost(self, width: int, height: int, long_side: int | None = None) -> float:
        """Return 1."""
        return 1.0


def clip(number: int, frames: int) -> list[Image]:
    """Return frames that show their clip's number."""
    return [np.full((4, 4, 3), number, np.uint8) for _ in range(frames)]


@pytest.mark.parametrize("model", [Brightness(), Zooming()])
def test_each_clip_gets_its_own_people_whoever_shares_the_batch(model):
    """Sixteen clips of odd lengths from as many threads; never two threads in the model."""
    with shared(model) as one, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda number: one.detect(clip(number, 1 + number % 5)), range(16)))
    for number, found in enumerate(answers):
        assert [float(people.score[0]) for people in found] == [number] * (1 + number % 5)


def test_batches_are_filled_across_clips():
    """Clips of three frames make batches of eight: none ends with its clip, but for the last."""
    model = Brightness()
    ready = threading.Barrier(8)

    def ask(number: int) -> None:
        """Ask at the same time as all others."""
        ready.wait()
        one.detect(clip(number, 3))

    with SharedBatches(model) as one, ThreadPoolExecutor(8) as threads:
        # The model is kept busy until all have asked, as a real one would be.
        with one.changed:
            asked = [threads.submit(ask, number) for number in range(8)]
        for future in asked:
            future.result()
    assert sum(model.batches) == 24
    assert max(model.batches) == 8
    assert len(model.batches) < 8
    assert len(model.threads) == 1


def test_an_error_of_the_model_reaches_those_who_asked_and_the_next_batch_works():
    """As a CUDA error that passes."""

    class Failing(Brightness):
        """Fails for the first batch."""

        def detect(self, images: Sequence[Image]) -> list[Detections]:
            """Fail, or find."""
            if not self.batches:
                self.batches.append(0)
                raise RuntimeError("out of memory")
            return super().detect(images)

    with SharedBatches(Failing()) as one:
        with pytest.raises(RuntimeError, match="out of memory"):
            one.detect(clip(1, 2))
        assert len(one.detect(clip(1, 2))) == 2


def test_who_asks_a_closed_model_is_told():
    """Instead of waiting for ever."""
    with SharedBatches(Brightness()) as one:
        pass
    with pytest.raises(RuntimeError, match="was closed"):
        one.detect(clip(1, 1))


def test_what_a_zooming_model_offers_is_still_there():
    """The second look asks for its sizes and costs."""
    one = shared(Zooming())
    assert isinstance(one, TakingTurns)
    assert (one.sure_score, one.crop_side, one.cost(1, 1)) == (0.5, 64, 1.0)
