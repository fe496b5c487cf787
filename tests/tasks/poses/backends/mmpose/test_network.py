"""NMS within RTMO's network: who is dropped before keypoints are worked out."""

from pathlib import Path

import numpy as np
import pytest

from tasks.poses.backends.rtmo import Rtmo
from tasks.poses.detections import Detections, suppress_duplicates
from tests.tasks.poses.conftest import MmposeModel
from tests.tasks.poses.random_rtmo import pictures

pytestmark = [
    pytest.mark.mmpose,
    # Warnings are those of mmengine, mmcv and mmpose about each other's imports.
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def crowds(images: int, boxes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (B, K, 4) that overlap in chains, best first, and their scores (B, K)."""
    random = np.random.default_rng(seed)
    corner = np.cumsum(random.uniform(0, 12, (images, boxes, 2)), axis=1) % 200
    extent = random.uniform(30, 60, (images, boxes, 2))
    order = random.permuted(np.tile(np.arange(boxes), (images, 1)), axis=1)
    found = np.take_along_axis(np.concatenate([corner, corner + extent], -1), order[..., None], 1)
    return found.astype(np.float32), -np.sort(-random.random((images, boxes)).astype(np.float32))


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.65, 1.0])
def test_the_same_boxes_stay_as_with_the_loop_over_boxes(overlap: float) -> None:
    """In chains of overlaps, too, where a box stays because what would drop it is itself dropped."""
    torch = pytest.importorskip("torch", reason="make install-mmpose")
    from tasks.poses.backends.mmpose.network import ExportableNms

    boxes, scores = crowds(3, 90, seed=1)
    stays = ExportableNms.apply(torch.from_numpy(boxes), torch.from_numpy(scores), overlap).numpy()
    assert overlap == 1.0 or 0 < stays.sum() < stays.size
    for box, score, kept in zip(boxes, scores, stays, strict=True):
        found = Detections(box, score, np.zeros((90, 17, 2), np.float32), np.zeros((90, 17), np.float32))
        expected = suppress_duplicates(found, 0.0, overlap)
        np.testing.assert_array_equal(box[kept], expected.bbox)


def test_equal_scores_keep_the_order_of_their_anchors() -> None:
    """Saturated scores are equal to the last bit; which of two such boxes stays must not be left to the sort."""
    torch = pytest.importorskip("torch", reason="make install-mmpose")

    from tasks.poses.backends.mmpose.network import by_score

    scores = torch.tensor([0.5, 1.0]).repeat(300)[None]
    best, rows = by_score(scores)
    assert rows[0].tolist() == [*range(1, 600, 2), *range(0, 600, 2)]
    assert torch.equal(best, scores.gather(1, rows))


def test_a_person_is_one_row_in_torch_and_in_the_file(rtmo_t: MmposeModel, tmp_path: Path) -> None:
    """Fewer rows than anchors fire, and those that NMS afterwards would leave."""
    import torch

    from tasks.poses.backends.mmpose.model import load_network
    from tasks.poses.export import write_onnx

    network = load_network(rtmo_t.config, rtmo_t.checkpoint)
    # A random network's boxes overlap little.
    network.overlap = 0.2
    path = tmp_path / "rtmo.onnx"
    image = pictures(1, *network.input_size[::-1], seed=3)[0]
    with torch.inference_mode():
        few = network(torch.from_numpy(image).permute(2, 0, 1)[None].float())[0][0].numpy()
    write_onnx(network, path)
    network.overlap = 1.0
    with torch.inference_mode():
        dets, points = network(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    every = Detections(
        *(part.numpy() for part in (dets[0, :, :4], dets[0, :, 4], points[0, ..., :2], points[0, ..., 2]))
    )
    expected = suppress_duplicates(every, 0.0, 0.2)
    assert 1 < len(expected) < len(every)
    np.testing.assert_allclose(few[:, :4], expected.bbox, atol=1e-3)
    (got,) = Rtmo(path).detect([image])
    assert len(got) == len(expected)
    np.testing.assert_allclose(got.bbox, expected.bbox, atol=0.05)
    np.testing.assert_allclose(got.keypoints, expected.keypoints, atol=0.5)
