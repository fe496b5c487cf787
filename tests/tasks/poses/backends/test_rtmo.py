"""RTMO from an .onnx file."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import FightposeError
from tasks.core.settings import Settings, Thresholds
from tasks.poses.backends import table
from tasks.poses.backends.rtmo import OnnxRuntimeRtmo, Rtmo, Shape, find_outputs, sidecar_path
from tasks.poses.backends.rtmo_input import PAD_VALUE, Fit, decode_people
from tasks.poses.detections import suppress_duplicates
from tasks.poses.models import load_model, resolve_model
from tests.tasks.poses.fake_rtmo import HALF_HEIGHT, HALF_WIDTH, save_fake_rtmo, save_no_rtmo


def frame_with_red(x: int, y: int, width: int = 160, height: int = 96) -> np.ndarray:
    """Return a black BGR frame with a red square around a point, and a larger blue one elsewhere."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:30, :30, 0] = 255
    image[y - 3 : y + 4, x - 3 : x + 4, 2] = 255
    return image


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """Return a file that behaves like RTMO with a 64 x 64 input."""
    return save_fake_rtmo(tmp_path / "fake.onnx")


def backends(path: Path) -> list:
    """Return both runtimes where ONNX Runtime is installed, else OpenVINO alone."""
    try:
        return [Rtmo(path), OnnxRuntimeRtmo(path, "cpu")]
    except FightposeError:
        return [Rtmo(path)]


def test_frame_lies_in_the_middle_on_grey() -> None:
    """Half of the padding stands on each side, as in mmpose."""
    fit = Fit.of((160, 80), (64, 64))
    warped = fit.warp(np.full((80, 160, 3), 200, np.uint8))
    assert warped.shape == (64, 64, 3)
    assert (warped[:15] == PAD_VALUE).all()
    assert (warped[17:47] == 200).all()
    assert (warped[49:] == PAD_VALUE).all()


def test_points_come_back_to_where_they_were() -> None:
    """Corners and middle of a 1080p frame in a 640 input."""
    fit = Fit.of((1920, 1080), (640, 640))
    points = np.array([[0, 140], [640, 500], [320, 320]], np.float32)
    np.testing.assert_allclose(fit.back(points), [[0, 0], [1920, 1080], [960, 540]], atol=1e-3)


def test_rows_without_a_score_are_nobody() -> None:
    """OpenMMLab's files give one all-zero person for an empty frame."""
    found = decode_people(np.zeros((1, 5), np.float32), np.zeros((1, 17, 3), np.float32), Fit.of((64, 64), (64, 64)))
    assert len(found) == 0


def test_an_answer_without_rows_is_nobody() -> None:
    """Other files give no row at all."""
    found = decode_people(np.zeros((0, 5), np.float32), np.zeros((0, 17, 3), np.float32), Fit.of((64, 64), (64, 64)))
    assert len(found) == 0
    assert found.keypoints.shape == (0, 17, 2)


def test_person_is_found_where_the_red_is(model_file: Path) -> None:
    """Padding, scale, channel order and the order of a batch are right, in every runtime."""
    points = [(40, 50), (120, 30), (80, 80), *[(20 + 5 * n, 60) for n in range(17)]]
    for model in backends(model_file):
        found = model.detect([frame_with_red(*point) for point in points])
        assert len(found) == len(points)
        for people, (x, y) in zip(found, points, strict=True):
            # 160 pixels go into 64: one of the input is 2.5 of the frame.
            np.testing.assert_allclose(people.bbox[0].reshape(2, 2).mean(axis=0), [x, y], atol=4)
            size = people.bbox[0, 2:] - people.bbox[0, :2]
            np.testing.assert_allclose(size, [2 * HALF_WIDTH * 2.5, 2 * HALF_HEIGHT * 2.5], rtol=1e-5)
            np.testing.assert_allclose(people.keypoints[0, 8], [x, y], atol=4)
            assert people.keypoints[0, 0, 1] < people.keypoints[0, 16, 1]
            np.testing.assert_allclose(people.keypoint_scores, 0.9, rtol=1e-6)


def test_duplicates_are_left_to_the_users_threshold(model_file: Path) -> None:
    """NMS is ours, so that --nms-thr means what it says."""
    (people,) = Rtmo(model_file).detect([frame_with_red(80, 50)])
    assert len(people) == 2
    assert len(suppress_duplicates(people, score_thr=0.3, nms_thr=0.35)) == 1


def test_nobody_in_a_dark_frame(model_file: Path) -> None:
    """An empty frame, and no frame at all, are no error."""
    for model in backends(model_file):
        (people,) = model.detect([np.zeros((96, 160, 3), np.uint8)])
        assert len(people) == 0
        assert model.detect([]) == []


def test_size_left_open_comes_from_the_json_beside_the_file(tmp_path: Path) -> None:
    """A fully convolutional file does not say its size; the error says where to write it."""
    path = save_fake_rtmo(tmp_path / "open.onnx", dynamic=True)
    with pytest.raises(FightposeError, match=r'open\.onnx\.json: \{"input_size": \[640, 640\]\}'):
        Rtmo(path)
    sidecar_path(path).write_text(json.dumps({"input_size": [64, 64]}))
    for model in backends(path):
        (people,) = model.detect([frame_with_red(80, 50)])
        np.testing.assert_allclose(people.keypoints[0, 8], [80, 50], atol=4)


def test_json_that_contradicts_the_model_is_refused(model_file: Path) -> None:
    """A wrong size would only lower the scores, silently."""
    sidecar_path(model_file).write_text(json.dumps({"input_size": [640, 640]}))
    with pytest.raises(FightposeError, match=r"\[640, 640\].*\[64, 64\]"):
        Rtmo(model_file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json", "JSON"),
        ('{"threshold": {}}', "threshold"),
        ('{"thresholds": {"score_thr": 3}}', "score_thr"),
        ('{"sha256": "00"}', "another file"),
    ],
)
def test_unfit_json_gives_one_clear_error(model_file: Path, text: str, reason: str) -> None:
    """Whatever is wrong with it, one line names the file and the place."""
    sidecar_path(model_file).write_text(text)
    with pytest.raises(FightposeError, match=reason) as caught:
        resolve_model(str(model_file))
    assert "\n" not in str(caught.value)


def test_onnx_file_resolves_with_rtmo_thresholds(model_file: Path) -> None:
    """The earlier scripts' defaults were made for RTMO."""
    entry = resolve_model(str(model_file))
    assert entry.backend is table.RTMO
    assert entry.thresholds == Thresholds()
    assert entry.cached
    settings = Settings().resolve(entry.thresholds)
    assert (settings.poses.score_thr, settings.poses.nms_thr) == (0.3, 0.35)


def test_json_overrides_single_thresholds(model_file: Path) -> None:
    """What the JSON leaves out keeps its default."""
    sidecar_path(model_file).write_text(json.dumps({"thresholds": {"score_thr": 0.2}}))
    assert resolve_model(str(model_file)).thresholds == Thresholds(score_thr=0.2)


def test_load_model_takes_an_onnx_file(model_file: Path) -> None:
    """`--model x.onnx` needs no more."""
    assert isinstance(load_model(str(model_file)), Rtmo)


def test_onnx_that_is_no_rtmo_is_refused_with_its_shapes(tmp_path: Path) -> None:
    """The shapes tell the user what kind of file it is."""
    path = save_no_rtmo(tmp_path / "classifier.onnx")
    with pytest.raises(FightposeError, match=r"not an RTMO model: it gives \[1, 3, 1, 1\]"):
        Rtmo(path)


def test_outputs_are_told_by_shape_and_else_by_name() -> None:
    """Their order differs between exporters, and one with NMS inside may leave the shapes open."""
    path = Path("x.onnx")
    assert find_outputs([[1, 100, 17, 3], [1, 100, 5]], ["a", "b"], path) == (1, 0)
    assert find_outputs([None, None], ["keypoints", "dets"], path) == (1, 0)
    wrong: list[list[Shape]] = [[None, None], [[1, 3, 5], None, None], [[1, 3, 5], [1, 3, 5]]]
    for shapes in wrong:
        with pytest.raises(FightposeError, match="not an RTMO model"):
            find_outputs(shapes, ["a", "b", "c"], path)


def test_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    """The runtime's call stack is not for users."""
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"this is text, not a model")
    with pytest.raises(FightposeError, match="cannot be read as a model") as caught:
        Rtmo(path)
    assert "\n" not in str(caught.value)


def test_gpu_without_its_runtime_says_what_to_do(model_file: Path) -> None:
    """No silent fall-back to the CPU in a run of days."""
    with pytest.raises(FightposeError, match="--device cpu"):
        load_model(str(model_file), "cuda:0")


def test_unknown_device_is_refused(model_file: Path) -> None:
    """A typo is told from a device that is absent."""
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    with pytest.raises(FightposeError, match="unknown device 'gpu'"):
        load_model(str(model_file), "gpu")
