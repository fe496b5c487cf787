"""RTMO through mmpose: the same people as mmpose's own inference, and errors that say what to do."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.errors import FightposeError
from tasks.poses.backends.rtmo_input import Fit
from tasks.poses.detections import Detections, suppress_duplicates
from tests.tasks.poses.conftest import MmposeModel
from tests.tasks.poses.random_rtmo import pictures, shipped_config

pytestmark = [
    pytest.mark.mmpose,
    # mmengine, mmcv and mmpose warn about their own imports of pkg_resources and of each other.
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]

CLIP = pictures(6, 640, 360, seed=3)


@pytest.fixture
def backend(rtmo_t: MmposeModel) -> Any:
    """Return the backend under test."""
    from tasks.poses.backends.mmpose.model import MmposeRtmo

    return MmposeRtmo(rtmo_t.config, rtmo_t.checkpoint, "cpu")


def by_mmpose(reference: Any, image: np.ndarray) -> Detections:
    """Return what mmpose itself finds."""
    from mmpose.apis import inference_bottomup

    people = inference_bottomup(reference, image)[0].pred_instances
    return Detections(people.bboxes, people.scores, people.keypoints, people.keypoint_scores)


def test_people_equal_those_of_inference_bottomup(rtmo_t: MmposeModel, backend: Any) -> None:
    """Boxes, joints and scores, in float32, at the thresholds of mmpose's config."""
    found = backend.detect(CLIP)
    assert len(found) == len(CLIP)
    seen = 0
    for image, people in zip(CLIP, found, strict=True):
        expected = by_mmpose(rtmo_t.reference, image)
        people = suppress_duplicates(people, score_thr=0.1, nms_thr=0.65)
        assert len(people) == len(expected)
        seen += len(people)
        # mmpose clips boxes to its input, padding included; here they are clipped to the frame, later.
        corners = Fit.of((640, 360), (416, 416)).back(np.array([[0, 0], [416, 416]])).reshape(4)
        boxes = np.clip(people.bbox, np.tile(corners[:2], 2), np.tile(corners[2:], 2))
        np.testing.assert_allclose(boxes, expected.bbox, atol=0.01)
        np.testing.assert_allclose(people.score, expected.score, atol=1e-4)
        np.testing.assert_allclose(people.keypoints, expected.keypoints, atol=0.05)
        np.testing.assert_allclose(people.keypoint_scores, expected.keypoint_scores, atol=1e-4)
    assert seen > 50


def test_batch_gives_what_single_frames_give(backend: Any) -> None:
    """Frames of a batch do not mix, though they share the number of candidates."""
    for image, people in zip(CLIP[:3], backend.detect(CLIP[:3]), strict=True):
        (alone,) = backend.detect([image])
        together, alone = (suppress_duplicates(some, 0.1, 0.65) for some in (people, alone))
        np.testing.assert_allclose(together.bbox, alone.bbox, atol=0.05)
        np.testing.assert_allclose(together.keypoints, alone.keypoints, atol=0.1)


def test_no_frames_are_no_error(backend: Any) -> None:
    """A clip can end on the edge of a batch."""
    assert backend.detect([]) == []


def test_model_runs_when_named_by_config_and_checkpoint(rtmo_t: MmposeModel) -> None:
    """What --config and --checkpoint do."""
    from tasks.poses.models import load_model

    model = load_model("movenet-multipose", "cpu", str(rtmo_t.config), str(rtmo_t.checkpoint))
    assert len(model.detect(CLIP[:1])) == 1


def test_stand_ins_leave_nothing_behind(rtmo_t: MmposeModel) -> None:
    """Other libraries ask whether torchvision is there, and must not find an empty one."""
    from tasks.poses.backends.mmpose.compat import importable_mmpose

    with importable_mmpose() as names:
        during = set(sys.modules)
    assert not [name for name in names if name in sys.modules]
    assert set(names) <= during


@pytest.mark.parametrize(("body", "works"), [("class ToPILImage: pass", True), ("raise RuntimeError('no op')", False)])
def test_a_package_that_works_is_left_alone(
    rtmo_t: MmposeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, works: bool
) -> None:
    """One that cannot be imported, for whatever reason, gets a stand-in."""
    from tasks.poses.backends.mmpose.compat import importable_mmpose

    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("")
    (tmp_path / "torchvision" / "transforms.py").write_text(body + "\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with importable_mmpose() as names:
        assert ("torchvision" not in names) == works
        real = getattr(sys.modules["torchvision"], "__file__", None)
        assert (real is not None) == works
    for name in ("torchvision", "torchvision.transforms"):
        sys.modules.pop(name, None)


def test_checkpoint_of_another_model_is_refused(rtmo_t: MmposeModel) -> None:
    """Where mmengine only warns and runs with weights that were never loaded."""
    from tasks.poses.backends.mmpose.model import load_network

    with pytest.raises(
        FightposeError, match=r"does not fit rtmo-s.*another shape, first backbone.*\[48\] instead of \[64\]"
    ) as caught:
        load_network(shipped_config("rtmo-s"), rtmo_t.checkpoint)
    assert "\n" not in str(caught.value)


def test_checkpoint_that_lacks_weights_is_refused(rtmo_t: MmposeModel, tmp_path: Path) -> None:
    """A backbone alone, as it is published for training."""
    import torch

    from tasks.poses.backends.mmpose.model import load_network

    state = torch.load(rtmo_t.checkpoint, weights_only=False)["state_dict"]
    path = tmp_path / "backbone.pth"
    torch.save({key: value for key, value in state.items() if key.startswith("backbone.")}, path)
    with pytest.raises(FightposeError, match=r"weights are missing, first head\."):
        load_network(rtmo_t.config, path)


@pytest.mark.parametrize("content", ["text", "list", "empty"])
def test_file_that_is_no_checkpoint_is_refused(rtmo_t: MmposeModel, tmp_path: Path, content: str) -> None:
    """A download page saved as .pth, and files of other tools."""
    import torch

    from tasks.poses.backends.mmpose.model import load_network

    path = tmp_path / "wrong.pth"
    if content == "text":
        path.write_text("<html>404</html>")
    else:
        torch.save([1, 2] if content == "list" else {"state_dict": {}}, path)
    with pytest.raises(FightposeError, match=r"wrong\.pth (cannot be read|holds no weights)"):
        load_network(rtmo_t.config, path)


def test_plain_weights_load_without_running_code(
    rtmo_t: MmposeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Python objects beside the weights are passed over, and the log says so."""
    import torch

    from tasks.poses.backends.mmpose.model import load_network

    path = tmp_path / "plain.pth"
    torch.save(torch.load(rtmo_t.checkpoint, weights_only=False)["state_dict"], path)
    with caplog.at_level(logging.INFO):
        load_network(rtmo_t.config, path)
        assert "Python objects" not in caplog.text
        load_network(rtmo_t.config, rtmo_t.checkpoint)
    assert "Python objects" in caplog.text


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_runs_nothing(rtmo_t: MmposeModel, tmp_path: Path, zipped: bool) -> None:
    """A file from a stranger's page that carries a command beside good weights, in torch's new and old form."""
    import torch

    from tasks.poses.backends.mmpose.model import load_network

    class Hostile:
        """Runs a command when a plain unpickler makes it."""

        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'harm'}",)

    content = torch.load(rtmo_t.checkpoint, weights_only=False) | {"optimizer": Hostile()}
    path = tmp_path / "hostile.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    network = load_network(rtmo_t.config, path)
    assert not (tmp_path / "harm").exists()
    name, value = next(iter(content["state_dict"].items()))
    assert torch.equal(network.model.state_dict()[name], value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # A config that names RTMO's head is run; any other is refused unread.
        ("# RTMOHead\nmodel = 1 / 0\n", r"wrong\.py cannot be used.*division by zero"),
        ("# RTMOHead\nmodel = dict(type='NoSuchModel')\n", r"wrong\.py cannot be used.*NoSuchModel"),
        ("_base_ = ['gone.py']\n", r"gone\.py cannot be read"),
        ("a = 1\n", r"wrong\.py is a config of another model"),
    ],
)
def test_config_that_does_not_work_is_refused(rtmo_t: MmposeModel, tmp_path: Path, text: str, reason: str) -> None:
    """Whatever the user's Python does, one line comes out."""
    from tasks.poses.backends.mmpose.model import load_network

    path = tmp_path / "wrong.py"
    path.write_text(text)
    with pytest.raises(FightposeError, match=reason) as caught:
        load_network(path, rtmo_t.checkpoint)
    assert "\n" not in str(caught.value)


def test_config_of_another_kind_of_model_is_refused(rtmo_t: MmposeModel) -> None:
    """Of mmpose's hundreds of configs, four are RTMO."""
    from tasks.poses.backends.mmpose.model import load_network

    folder = rtmo_t.config.parents[2]
    config = next(folder.glob("yoloxpose/coco/yoloxpose_tiny*.py"))
    with pytest.raises(FightposeError, match="not of RTMO"):
        load_network(config, rtmo_t.checkpoint)


@pytest.mark.parametrize(
    ("device", "reason"),
    [("cuda:99", "does not exist"), ("gpu0", "unknown device"), ("meta", "not supported")],
)
def test_device_that_is_not_there_is_refused(rtmo_t: MmposeModel, device: str, reason: str) -> None:
    """Told before the model is built."""
    from tasks.poses.backends.mmpose.model import MmposeRtmo

    with pytest.raises(FightposeError, match=reason):
        MmposeRtmo(rtmo_t.config, rtmo_t.checkpoint, device)


def test_out_of_memory_halves_the_batch_and_goes_on(
    backend: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As CUDA does when another process takes the memory; logged once."""
    import torch

    expected = backend.detect(CLIP)
    real, sizes = backend.network, []

    def short_of_memory(images: Any) -> Any:
        """Hold one frame, no more."""
        sizes.append(len(images))
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(images)

    monkeypatch.setattr(backend, "network", type("Network", (), {"input_size": real.input_size})())
    monkeypatch.setattr(type(backend.network), "__call__", lambda self, images: short_of_memory(images), raising=False)
    found = backend.detect(CLIP) + backend.detect(CLIP[:1])
    assert sizes == [4, 2, 1, 1, 1, 1, 1, 1, 1]
    assert len(found) == len(CLIP) + 1
    np.testing.assert_allclose(found[1].score[:5], expected[1].score[:5], atol=1e-3)
    assert caplog.text.count("ran out of memory") == 1


def test_memory_too_small_for_one_frame_is_an_error(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No endless halving."""
    import torch

    def full(images: Any) -> Any:
        """Hold nothing."""
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backend.network, "forward", full)
    with pytest.raises(FightposeError, match="too little free memory"):
        backend.detect(CLIP[:2])
