"""MoveNet: decoding its answer, and the real network on drawn people."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.poses import load_model
from tasks.poses.backends.movenet import decode_people
from tests.video_factory import person_image


def test_a_known_answer_decodes_to_pixels() -> None:
    """Rows are y, x, score; boxes ymin, xmin, ymax, xmax, score."""
    output = np.zeros((6, 56), np.float32)
    output[0, :3] = (0.25, 0.5, 0.9)  # nose: y, x, score
    output[0, 51:] = (0.1, 0.2, 0.6, 0.4, 0.7)  # ymin, xmin, ymax, xmax, score
    found = decode_people(output, height=200, width=400)
    assert len(found) == 6
    assert found.keypoints[0, 0] == pytest.approx([200, 50])
    assert found.keypoint_scores[0, 0] == pytest.approx(0.9)
    assert found.bbox[0] == pytest.approx([80, 20, 160, 120])
    assert found.score[0] == pytest.approx(0.7)


@pytest.mark.model
@pytest.mark.parametrize("size", [(640, 360), (360, 640), (321, 243)])
def test_a_drawn_person_is_found_where_it_stands(size: tuple[int, int]) -> None:
    """Wide, tall and odd frames; the head is above the hips above the feet."""
    width, height = size
    image = person_image(width, height, centre=0.3, scale=0.6)
    best = load_model("movenet-multipose").detect([image])[0].select(np.array([0]))
    assert best.score[0] > 0.2
    assert abs(best.keypoints[0, 5:7, 0].mean() - 0.3 * width) < 0.05 * width
    assert best.keypoints[0, 0, 1] < best.keypoints[0, 11:13, 1].mean() < best.keypoints[0, 15:17, 1].mean()


@pytest.mark.model
def test_a_batch_gives_what_single_frames_give_in_order() -> None:
    """Requests finish in any order; the answers must not."""
    model = load_model("movenet-multipose")
    images = [person_image(centre=centre) for centre in (0.3, 0.5, 0.7)]
    together = model.detect(images)
    for image, found in zip(images, together, strict=True):
        alone = model.detect([image])[0]
        assert found.keypoints == pytest.approx(alone.keypoints, abs=0.01)
    assert model.detect([]) == []
