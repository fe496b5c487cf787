"""Which runtime and precision a run gets, and what is said where it cannot."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from tasks.core.choices import Precision, Runtime
from tasks.core.errors import FightposeError
from tasks.core.settings import PoseSettings
from tasks.poses import load_model, model_key, resolve_model
from tasks.poses.backends import table
from tasks.poses.backends.runtimes import chosen_runtime, device_kind, found_runtimes, plan_runtime
from tasks.poses.published_models import quantized_path
from tests.tasks.poses.fake_rtmo import save_fake_rtmo

ONNX = table.RTMO.runtimes
AUTO = Runtime.AUTO, Precision.AUTO


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let only some packages seem installed."""
    monkeypatch.setattr("tasks.poses.backends.runtimes.importlib.util.find_spec", lambda name: name in names or None)


def test_auto_takes_the_fastest_that_is_installed_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the table, less what is absent."""
    plan = plan_runtime("x", ONNX, "cpu", *AUTO)
    assert plan.precision is Precision.FP32
    installed(monkeypatch, "openvino", "onnxruntime")
    assert chosen_runtime(plan, "x") == (Runtime.OPENVINO, "faster than onnxruntime")
    installed(monkeypatch, "onnxruntime")
    assert chosen_runtime(plan, "x") == (Runtime.ONNXRUNTIME, "openvino not installed")
    installed(monkeypatch)
    with pytest.raises(FightposeError, match="needs openvino or onnxruntime, which is not installed"):
        chosen_runtime(plan, "x")


def test_a_runtime_that_is_named_is_taken_or_refused() -> None:
    """Never another one in silence."""
    assert plan_runtime("x", ONNX, "cpu", Runtime.ONNXRUNTIME, Precision.AUTO).runtimes == (Runtime.ONNXRUNTIME,)
    with pytest.raises(FightposeError, match=r"does not run in torch on 'cpu', only in openvino, onnxruntime"):
        plan_runtime("x", ONNX, "cpu", Runtime.TORCH, Precision.AUTO)


def test_a_precision_chooses_among_the_runtimes() -> None:
    """bf16 is OpenVINO's; what nobody computes in is refused with what there is."""
    assert plan_runtime("x", ONNX, "cpu", Runtime.AUTO, Precision.BF16).runtimes == (Runtime.OPENVINO,)
    with pytest.raises(FightposeError, match=r"cannot compute in fp16; there is openvino: fp32, bf16, int8; onnx"):
        plan_runtime("x", ONNX, "cpu", Runtime.AUTO, Precision.FP16)


def test_a_checkpoint_on_a_gpu_computes_in_fp16() -> None:
    """And in fp32 where that is asked for."""
    able = table.MMPOSE.runtimes
    assert plan_runtime("x", able, "cuda:1", *AUTO).precision is Precision.FP16
    assert plan_runtime("x", able, "cuda:1", Runtime.AUTO, Precision.FP32).precision is Precision.FP32
    assert plan_runtime("x", able, "cpu", *AUTO).precision is Precision.FP32


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu0", "mps"])
def test_an_unknown_device_is_refused(device: str) -> None:
    """A typo is told from a device that is absent."""
    with pytest.raises(FightposeError, match="unknown device"):
        device_kind(device)


def test_the_embedded_model_does_not_ignore_the_device() -> None:
    """It would run on the CPU while the user waits for a GPU; told before anything is loaded."""
    with pytest.raises(FightposeError, match=r"movenet-multipose does not run on 'cuda:0', only on cpu"):
        load_model("movenet-multipose", "cuda:0")
    with pytest.raises(FightposeError, match="only on cpu"):
        model_key(PoseSettings(device="cuda:0"))


def test_the_log_says_what_runs_and_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line per model that is loaded."""
    path = save_fake_rtmo(tmp_path / "logged.onnx")
    with caplog.at_level(logging.INFO):
        load_model(str(path))
    assert "logged runs in openvino on cpu in fp32 (" in caplog.text


def test_the_key_of_poses_follows_the_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 keeps the model's own hash whatever runs it; int8 depends on its calibration."""
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(tmp_path))
    model = str(save_fake_rtmo(tmp_path / "x.onnx"))
    sha256 = resolve_model(model).sha256
    assert model_key(PoseSettings(model=model)) == sha256
    assert model_key(PoseSettings(model=model, runtime=Runtime.ONNXRUNTIME, precision=Precision.FP32)) == sha256
    other = model_key(PoseSettings(model=model, precision=Precision.BF16))
    assert other != sha256
    int8 = PoseSettings(model=model, precision=Precision.INT8)
    with pytest.raises(FightposeError, match=r"no int8 form on this machine; make it .*quantize-model"):
        model_key(int8)
    xml = quantized_path(sha256)
    xml.parent.mkdir()
    xml.write_text("")
    keys = set()
    for weights in (b"one calibration", b"another"):
        xml.with_suffix(".bin").write_bytes(weights)
        keys.add(model_key(int8))
    assert len(keys | {other, sha256}) == 4


def test_bf16_is_refused_where_the_processor_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO would compute in fp32 and say nothing, and the cache would call it bf16."""
    openvino = pytest.importorskip("openvino")
    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: ["FP32"])
    with pytest.raises(FightposeError, match="no bf16; use --precision fp32"):
        load_model(str(save_fake_rtmo(tmp_path / "x.onnx")), precision=Precision.BF16)


def test_an_error_while_inputs_are_written_leaves_the_model_usable(tmp_path: Path) -> None:
    """One bad frame in a run of days."""
    model = load_model(str(save_fake_rtmo(tmp_path / "x.onnx")))
    good = np.full((64, 64, 3), 255, np.uint8)
    with pytest.raises(Exception, match=r"warpAffine|OpenCV|src"):
        model.detect([good, np.zeros((8, 8, 0), np.uint8)])
    assert [len(people) for people in model.detect([good] * 3)] == [2, 2, 2]


def test_what_is_found_is_listed() -> None:
    """What `doctor` shows: OpenVINO comes with every install, the others are named as absent."""
    lines = found_runtimes()
    assert "CPU (FP32" in lines[0]
    assert [line.partition(" ")[0].rstrip(":") for line in lines] == ["OpenVINO", "ONNX", "torch", "NNCF"]
