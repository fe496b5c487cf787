"""RTMO on a part of its input: the same cells in the same places, and a refusal where a file does not allow it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.choices import InputShape, Precision, Runtime
from tasks.core.errors import FightposeError
from tasks.core.settings import PoseSettings
from tasks.poses.backends.rtmo import Rtmo
from tasks.poses.backends.rtmo_input import PAD_VALUE, Fit
from tasks.poses.backends.rtmo_window import Cut
from tasks.poses.models import load_model, model_key, resolve_model
from tests.tasks.poses.conftest import MmposeModel
from tests.tasks.poses.fake_rtmo import save_cell_rtmo, save_fake_rtmo
from tests.tasks.poses.random_rtmo import pictures


def red_at(x: int, y: int, width: int, height: int) -> np.ndarray:
    """Return a black BGR frame with a red square around a point."""
    image = np.zeros((height, width, 3), np.uint8)
    image[y - 2 : y + 3, x - 2 : x + 3, 2] = 255
    return image


def test_only_whole_cells_of_padding_are_left_out() -> None:
    """640 x 360 in 640 x 640 has 140 rows of grey on each side: four cells of 32, and 12 rows stay."""
    fit = Fit.of((640, 360), (640, 640))
    assert fit.grey_cells() == Cut(4, 0)
    part = fit.without(Cut(4, 0))
    assert (part.width, part.height, part.top, part.left, part.scale) == (640, 384, 12, 0, 1)
    image = pictures(1, 640, 360)[0]
    np.testing.assert_array_equal(part.warp(image), fit.warp(image)[128:512])
    assert (part.warp(image)[:12] == PAD_VALUE).all()
    assert Fit.of((360, 640), (640, 640)).grey_cells() == Cut(0, 4)
    assert Fit.of((480, 480), (640, 640)).grey_cells() == Cut(0, 0)


def test_people_stay_where_they_are(tmp_path: Path) -> None:
    """Frames of several shapes in one call: wide, narrow and square, all in pixels of the frame, in their order."""
    path = save_cell_rtmo(tmp_path / "cells.onnx")
    square, fitted = Rtmo(path), Rtmo(path, shape=InputShape.FITTED)
    looks = [
        (x, y, width, height)
        for x, y in [(5, 40), (50, 5), (75, 75), (30, 60)]
        for width, height in [(160, 80), (80, 160), (80, 80), (256, 80)]
    ]
    images = [red_at(*look) for look in looks]
    for expected, got, (x, y, *size) in zip(square.detect(images), fitted.detect(images), looks, strict=True):
        np.testing.assert_array_equal(got.bbox, expected.bbox)
        np.testing.assert_array_equal(got.keypoints, expected.keypoints)
        np.testing.assert_array_equal(got.score, expected.score)
        # Half of a cell of 16 input pixels, and half of the red square.
        np.testing.assert_allclose(got.keypoints[0, 0], [x, y], atol=8 * max(size) / 128 + 3)


def test_compiled_shapes_are_bounded(tmp_path: Path) -> None:
    """A folder of clips of many shapes does not fill the memory."""
    model = Rtmo(save_cell_rtmo(tmp_path / "cells.onnx", 384), shape=InputShape.FITTED)
    images = [red_at(40, 40, 400, height) for height in (60, 120, 180, 250, 300, 400)]
    assert [len(people) for people in model.detect(images)] == [1] * len(images)
    assert len(model.requests) == 4


@pytest.mark.parametrize("make", ["no tables", "other tables"])
def test_file_of_another_form_is_refused(make: str, tmp_path: Path) -> None:
    """At once and by name; its whole input still works."""
    path = tmp_path / "other.onnx"
    save_fake_rtmo(path) if make == "no tables" else save_cell_rtmo(path, tables=False)
    with pytest.raises(FightposeError, match=r"other\.onnx takes its whole input only; .*export-model.*square"):
        Rtmo(path, shape=InputShape.FITTED)
    (people,) = Rtmo(path).detect([red_at(40, 40, 160, 80)])
    assert len(people)


def test_the_key_of_poses_follows_the_shape(tmp_path: Path) -> None:
    """Poses found in one shape are not taken for those of the other."""
    model = str(save_cell_rtmo(tmp_path / "x.onnx"))
    settings = [
        PoseSettings(model=model, input_shape=shape, precision=precision)
        for shape in InputShape
        for precision in (Precision.FP32, Precision.BF16)
    ]
    assert len({model_key(one) for one in settings}) == 4
    assert model_key(settings[0]) == resolve_model(model).sha256
    assert isinstance(load_model(model, input_shape=InputShape.FITTED), Rtmo)


def test_what_cannot_leave_out_padding_says_so(tmp_path: Path) -> None:
    """Never the whole input in silence."""
    rtmo = str(save_cell_rtmo(tmp_path / "x.onnx"))
    fitted = PoseSettings(input_shape=InputShape.FITTED)
    with pytest.raises(FightposeError, match="movenet-multipose cannot leave out padding"):
        model_key(fitted)
    with pytest.raises(FightposeError, match="in fp32 or bf16"):
        model_key(fitted.model_copy(update={"model": rtmo, "precision": Precision.INT8}))
    for change in ({"runtime": Runtime.ONNXRUNTIME}, {"device": "cuda:0"}):
        with pytest.raises(FightposeError, match="only OpenVINO on the CPU"):
            model_key(fitted.model_copy(update={"model": rtmo} | change))


@pytest.mark.mmpose
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_part_of_an_exported_file_answers_as_mmpose_on_that_part(rtmo_t: MmposeModel, tmp_path: Path) -> None:
    """The same picture in torch, with the position codes and the centres of the cells where they were."""
    import torch

    from tasks.poses.backends.mmpose.model import load_network
    from tasks.poses.backends.mmpose.network import RtmoNetwork
    from tasks.poses.export import write_onnx

    path = tmp_path / "rtmo.onnx"
    write_onnx(load_network(rtmo_t.config, rtmo_t.checkpoint), path)
    image = pictures(1, 640, 360, seed=3)[0]
    fit = Fit.of((640, 360), (416, 416))
    cut = fit.grey_cells()
    assert cut == Cut(2, 0)
    model = load_network(rtmo_t.config, rtmo_t.checkpoint).model
    codes = model.neck.sincos_pos_enc

    def shifted(size: tuple[int, int]) -> Any:
        """Return the codes of cells that begin below those left out."""
        down, across = torch.meshgrid(*(torch.arange(float(count)) for count in size), indexing="ij")
        return codes.generate_pos_encoding(position=torch.stack([down.flatten() + cut.rows, across.flatten()], dim=-1))

    # A module may not be replaced by a function, its method may.
    codes.forward = shifted
    part = fit.without(cut).warp(image)
    network = RtmoNetwork(model, part.shape[:2], 0.1, 0.65)
    with torch.inference_mode():
        dets, points = network(torch.from_numpy(part).permute(2, 0, 1)[None].float())
    lower = np.array([0, cut.rows * 32], np.float32)
    (got,) = Rtmo(path, shape=InputShape.FITTED).detect([image])
    assert len(got) == dets.shape[1] > 5
    np.testing.assert_allclose(got.keypoints, fit.back(points[0, ..., :2].numpy() + lower), atol=0.5)
    np.testing.assert_allclose(got.score, dets[0, :, 4].numpy(), atol=0.01)
