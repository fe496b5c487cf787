"""Top-down models: a detector and a single-person pose network, in every form that is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import FightposeError
from tasks.poses import load_model, resolve_model
from tasks.poses.backends import table
from tasks.poses.backends.onnx_runner import OnnxRuntimeRunner, OpenVinoRunner
from tasks.poses.backends.top_down import MOST_PEOPLE, TopDown
from tasks.video.reading import Image
from tests.tasks.poses.fake_rtmo import save_no_rtmo
from tests.tasks.poses.fake_top_down import PERSON, save_detector, save_movenet, save_rtmpose, save_top_down

FORMS = [("yolox", True, "movenet"), ("yolox", False, "rtmpose"), ("rtmdet", False, "movenet")]


def frame(points: list[tuple[int, int]], width: int = 128, height: int = 96) -> Image:
    """Return a black frame with a red dot at each point, and as much blue, which nobody should see."""
    image = np.zeros((height, width, 3), np.uint8)
    for x, y in points:
        image[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = (0, 0, 255)
    image[:4, :4] = (255, 0, 0)
    return image


@pytest.mark.parametrize(("detector", "raw", "pose"), FORMS)
def test_people_are_found_where_the_red_is(tmp_path: Path, detector: str, raw: bool, pose: str) -> None:
    """Padding, scale, channel order, normalisation and the order of a batch are right, for each kind of part."""
    model = TopDown(save_top_down(tmp_path, detector, pose, raw), "cpu")
    points = [(20, 30), (40, 60), (56, 44)]
    found = model.detect([frame([point]) for point in points])
    for people, (x, y) in zip(found, points, strict=True):
        assert len(people) >= 1
        # 128 pixels go into 64, so that a cell of 8 is 16 of the frame.
        centre = people.bbox[0].reshape(2, 2).mean(axis=0)
        assert np.abs(centre - [x, y]).max() <= 16
        np.testing.assert_allclose(people.bbox[0, 2:] - people.bbox[0, :2], [2 * side for side in PERSON], rtol=1e-5)
        np.testing.assert_allclose(people.keypoints[0], np.tile([x, y], (17, 1)), atol=5)
        np.testing.assert_allclose(people.keypoint_scores[0], 0.9, atol=0.05)
        assert people.score[0] == pytest.approx(1, abs=0.02)


def test_only_people_count(tmp_path: Path) -> None:
    """The fake detector labels whatever stands in the right half otherwise."""
    model = TopDown(save_top_down(tmp_path, "rtmdet", "movenet", raw=False), "cpu")
    left, right = model.detect([frame([(20, 30)]), frame([(100, 30)])])
    assert len(left) >= 1
    assert len(right) == 0


def test_nobody_is_no_error(tmp_path: Path) -> None:
    """A frame without people, and no frame at all."""
    model = TopDown(save_top_down(tmp_path), "cpu")
    (people,) = model.detect([frame([])])
    assert len(people) == 0
    assert people.keypoints.shape == (0, 17, 2)
    assert model.detect([]) == []


@pytest.mark.parametrize("size", [(3, 2), (40, 9), (9, 200)])
def test_frames_smaller_than_a_crop_are_fine(tmp_path: Path, size: tuple[int, int]) -> None:
    """Crops leave them on all sides."""
    (people,) = TopDown(save_top_down(tmp_path), "cpu").detect([np.full((*size[::-1], 3), (0, 0, 255), np.uint8)])
    assert len(people) >= 1
    assert np.isfinite(people.keypoints).all()


def test_someone_at_the_border_is_found(tmp_path: Path) -> None:
    """Outside the frame, the crop is black."""
    (people,) = TopDown(save_top_down(tmp_path), "cpu").detect([frame([(127, 95)])])
    np.testing.assert_allclose(people.keypoints[0], np.tile([127, 95], (17, 1)), atol=5)


def test_a_crowd_is_bounded(tmp_path: Path) -> None:
    """Everything is red: sixty-four boxes, of which the best thirty get joints."""
    (people,) = TopDown(save_top_down(tmp_path), "cpu").detect([np.full((640, 640, 3), (0, 0, 255), np.uint8)])
    assert 1 <= len(people) <= MOST_PEOPLE


def test_the_json_file_is_a_model_with_a_hash_of_all_its_parts(tmp_path: Path) -> None:
    """Another pose network under the same name is another model."""
    path = save_top_down(tmp_path)
    entry = resolve_model(str(path))
    assert (entry.name, entry.backend) == ("people", table.TOP_DOWN)
    before = entry.sha256
    save_movenet(tmp_path / "pose.onnx", side=40)
    assert resolve_model(str(path)).sha256 != before
    assert isinstance(load_model(str(path)), TopDown)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json", "JSON"),
        ('{"detector": {"file": "detector.onnx", "kind": "ssd"}}', "detector.kind"),
        ('{"detector": {"file": "detector.onnx", "kind": "yolox"}}', "pose: Field required"),
        (
            '{"detector": {"file": "gone.onnx", "kind": "yolox"}, "pose": {"file": "pose.onnx", "kind": "movenet"}}',
            r"gone\.onnx, named in people\.json, does not exist",
        ),
    ],
)
def test_an_unfit_json_file_gives_one_clear_error(tmp_path: Path, text: str, reason: str) -> None:
    """One line names the file and the place."""
    path = save_top_down(tmp_path)
    path.write_text(text)
    with pytest.raises(FightposeError, match=reason) as caught:
        resolve_model(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["detector.onnx", "pose.onnx"])
def test_a_part_that_is_something_else_is_named(tmp_path: Path, part: str) -> None:
    """A classifier has an image input as well; what it gives tells."""
    path = save_top_down(tmp_path)
    save_no_rtmo(tmp_path / part)
    with pytest.raises(FightposeError, match=part):
        TopDown(path, "cpu").detect([frame([(20, 30)])])


def test_swapped_kinds_are_refused(tmp_path: Path) -> None:
    """An RTMPose called a MoveNet."""
    path = save_top_down(tmp_path, pose="rtmpose")
    data = json.loads(path.read_text())
    data["pose"]["kind"] = "movenet"
    path.write_text(json.dumps(data))
    with pytest.raises(FightposeError, match=r"pose\.onnx is not a MoveNet single-pose model"):
        TopDown(path, "cpu")


@pytest.mark.parametrize("save", [save_detector, save_movenet, save_rtmpose])
def test_both_runtimes_give_the_same(tmp_path: Path, save: type) -> None:
    """OpenVINO on the CPU, ONNX Runtime as on a GPU, there with many images at once."""
    pytest.importorskip("onnxruntime", reason="pip install -e .[gpu]")
    path = save(tmp_path / "part.onnx")
    first, second = OpenVinoRunner(path), OnnxRuntimeRunner(path, "cpu")
    assert first.input_shape[1:] == second.input_shape[1:]
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 255, first.input_shape[1:]).astype(first.input_type) for _ in range(5)]
    for a, b in zip(first.run(images), second.run(images), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-4)
