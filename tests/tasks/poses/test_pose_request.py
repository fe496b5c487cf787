"""A request for poses that cannot be carried out is refused at once, with what to do, and nothing is loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tasks.core import gpus
from tasks.core.choices import InputShape, Precision, Runtime
from tasks.core.errors import FightposeError
from tasks.core.settings import PoseSettings
from tasks.poses import models
from tasks.poses.backends import runtimes
from tasks.poses.backends.mmpose import compat
from tasks.poses.models import require_runnable


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with RTMO's config, another model's, and a checkpoint, on a machine with all packages, no GPU."""
    (tmp_path / "rtmo.py").write_text('model = dict(head=dict(type="RTMOHead"))\n')
    (tmp_path / "child.py").write_text('_base_ = ["rtmo.py"]\n')
    (tmp_path / "rtmpose.py").write_text('model = dict(head=dict(type="RTMCCHead"))\n')
    (tmp_path / "weights.pth").write_bytes(b"weights")
    (tmp_path / "rtmo.onnx").write_bytes(b"network")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "OTHER_DRIVERS", ())
    monkeypatch.setattr(compat, "_is_installed", lambda package: True)
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda package: object())
    # Loading anything is what must not happen.
    monkeypatch.setattr(models, "load_model", None)
    return tmp_path


def asked(**settings: object) -> PoseSettings:
    """Return settings, an mmpose model where its files are named."""
    return PoseSettings.model_validate(settings)


REFUSED = [
    (asked(model="rtmo-xl"), r"unknown model 'rtmo-xl'; known models: .*rtmo-s"),
    (asked(model="gone.onnx"), r"gone\.onnx does not exist"),
    (asked(model="https://host/rtmo.onnx"), r"https://host/rtmo\.onnx is an address, not a file: download it"),
    (asked(config="rtmo.py", checkpoint="https://host/rtmo.pth"), r"https://host/rtmo\.pth is an address"),
    (asked(config="http://host/rtmo.py", checkpoint="weights.pth"), r"http://host/rtmo\.py is an address"),
    (asked(config="rtmo.py"), "belong together"),
    (asked(checkpoint="weights.pth"), "belong together"),
    (asked(config="gone.py", checkpoint="weights.pth"), r"gone\.py does not exist"),
    (asked(config="rtmo.py", checkpoint="gone.pth"), r"gone\.pth does not exist"),
    (asked(config="rtmpose.py", checkpoint="weights.pth"), r"rtmpose\.py is a config of another model, not of RTMO"),
    (asked(config="weights.pth", checkpoint="rtmo.py"), r"names no RTMOHead|not an mmpose config"),
    (asked(device="gpu"), r"unknown device 'gpu'"),
    (asked(device="cuda:x"), r"unknown device 'cuda:x'"),
    (asked(device="cuda:0"), "movenet-multipose does not run on 'cuda:0'"),
    (asked(model="rtmo.onnx", device="cuda:0"), "device 'cuda:0' does not exist: this machine has no NVIDIA GPU"),
    (asked(config="rtmo.py", checkpoint="weights.pth", device="cuda:1"), "device 'cuda:1' does not exist"),
    (asked(runtime=Runtime.TORCH), "movenet-multipose does not run in torch"),
    (asked(config="rtmo.py", checkpoint="weights.pth", runtime=Runtime.OPENVINO), "does not run in openvino"),
    (asked(precision=Precision.FP16), "cannot compute in fp16"),
    (asked(model="rtmo.onnx", precision=Precision.INT8), "has no int8 form"),
    (asked(input_shape=InputShape.FITTED), "cannot leave out padding"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line(files, monkeypatch, settings, message):
    """Each with the file or the option that it is about."""
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(files / "models"))
    with pytest.raises(FightposeError, match=message) as caught:
        require_runnable(settings)
    assert "\n" not in str(caught.value)


GOOD = [
    asked(),
    asked(model="rtmo.onnx", input_shape=InputShape.FITTED),
    asked(config="rtmo.py", checkpoint="weights.pth"),
    asked(config="child.py", checkpoint="weights.pth"),
    asked(model="rtmo-s"),
]


@pytest.mark.parametrize("settings", GOOD)
def test_what_can_be_done_is_let_through(files, settings):
    """A config may build on RTMO's; a published model is not fetched for the check."""
    require_runnable(settings)


def test_another_machines_gpus_and_packages_are_not_judged(files, monkeypatch):
    """Whoever sends clips to a pool may have neither."""
    monkeypatch.setattr(compat, "_is_installed", lambda package: False)
    settings = asked(config="rtmo.py", checkpoint="weights.pth", device="cuda:7")
    require_runnable(settings, runs_here=False)
    with pytest.raises(FightposeError, match="make install-mmpose"):
        require_runnable(settings)


def test_nothing_heavy_is_imported_for_it(files):
    """The answer must not wait for torch or mmpose."""
    before = set(sys.modules)
    require_runnable(asked(config="rtmo.py", checkpoint="weights.pth"))
    assert not {"torch", "mmengine", "mmpose"} & (set(sys.modules) - before)


def test_export_without_onnx_says_how_to_get_it(files, monkeypatch):
    """The model is not to blame, and torch is not imported to find it out."""
    from tasks.poses.export import export_model

    monkeypatch.setattr(compat, "_is_installed", lambda package: package != "onnx")
    with pytest.raises(FightposeError, match="needs onnx, which is not installed; run `make install-mmpose`"):
        export_model(files / "rtmo.py", files / "weights.pth", files / "out.onnx", [])
    assert not (files / "out.onnx").exists()
