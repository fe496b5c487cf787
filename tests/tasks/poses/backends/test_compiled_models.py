"""Compiled models are kept between processes; whatever is wrong with what is kept, the people are the same."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from tasks.core.choices import InputShape, Precision
from tasks.poses.backends import compiled_models
from tasks.poses.backends.compiled_models import CompiledModels
from tasks.poses.backends.rtmo import Rtmo
from tests.tasks.poses.fake_rtmo import save_cell_rtmo, save_fake_rtmo

IMAGE = np.zeros((64, 64, 3), np.uint8)
IMAGE[20, 30] = (0, 0, 255)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where compiled models are kept, not there yet."""
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(tmp_path / "models"))
    return tmp_path / "models" / "compiled"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that gets a model whenever one is compiled."""
    seen: list[Any] = []
    compile_on_cpu = compiled_models.compile_on_cpu

    def noting(core: Any, model: Any, precision: Precision) -> Any:
        """Note it, and compile."""
        seen.append(model)
        return compile_on_cpu(core, model, precision)

    monkeypatch.setattr(compiled_models, "compile_on_cpu", noting)
    return seen


def people(model: Path) -> list[np.ndarray]:
    """Return what a model that was just loaded finds in an image."""
    (found,) = Rtmo(model).detect([IMAGE])
    return [found.bbox, found.score, found.keypoints, found.keypoint_scores]


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    """Tell whether two answers are equal to the last bit."""
    return len(first[0]) > 0 and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_model_is_compiled_once(tmp_path, folder, compiled):
    """The second time it is read back, and finds the same people to the last bit."""
    model = save_fake_rtmo(tmp_path / "x.onnx")
    first = people(model)
    assert len(compiled) == 1
    assert same(first, people(model))
    assert len(compiled) == 1


def test_every_shape_is_kept_by_itself(tmp_path, folder, compiled):
    """An input without padding is another network than the whole one."""
    model = save_cell_rtmo(tmp_path / "cells.onnx")
    wide = np.full((64, 128, 3), 114, np.uint8)
    wide[40, 70] = (0, 0, 255)
    found = [Rtmo(model, shape=shape).detect([wide])[0].bbox for shape in (*InputShape, *InputShape)]
    assert len(compiled) == len(InputShape)
    for first, again in zip(found[:2], found[2:], strict=True):
        np.testing.assert_array_equal(first, again)


DAMAGE = {
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "one bit": lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
    "other bytes": lambda data: os.urandom(500),
    "whole, but no model": lambda data: hashlib.sha256(b"no model").digest() + b"no model",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_does_not_fit_is_ignored_and_made_again(tmp_path, folder, compiled, damage):
    """A power cut, a bad disk, a file of another build."""
    model = save_fake_rtmo(tmp_path / "x.onnx")
    first = people(model)
    (kept,) = folder.glob("*.blob")
    kept.write_bytes(DAMAGE[damage](kept.read_bytes()))
    assert same(first, people(model))
    assert len(compiled) == 2
    assert same(first, people(model))
    assert len(compiled) == 2


def test_nothing_is_shared_between_models_versions_processors_and_precisions(tmp_path, folder, monkeypatch):
    """What fits one of them may be wrong for another."""
    core = openvino.Core()

    class Core:
        """A core of another processor."""

        def get_property(self, device: str, name: str) -> Any:
            """Return a property, the name of the processor altered."""
            value = core.get_property(device, name)
            return f"{value} 2" if name == "FULL_DEVICE_NAME" else value

    model, other = save_fake_rtmo(tmp_path / "x.onnx"), save_fake_rtmo(tmp_path / "y.onnx", (32, 32))
    ways = [CompiledModels(core, model, Precision.FP32), CompiledModels(core, other, Precision.FP32)]
    ways += [CompiledModels(core, model, Precision.INT8), CompiledModels(Core(), model, Precision.FP32)]
    monkeypatch.setattr(openvino, "__version__", "another build")
    ways.append(CompiledModels(core, model, Precision.FP32))
    assert len({way.prefix for way in ways}) == len(ways)


def test_the_weights_of_openvinos_own_form_count(tmp_path, folder):
    """int8 forms are two files, of which a new calibration may alter the second alone."""
    form = tmp_path / "int8.xml"
    form.write_text("<net/>")
    prefixes = set()
    for weights in (b"1", b"2"):
        form.with_suffix(".bin").write_bytes(weights)
        os.utime(form)
        prefixes.add(CompiledModels(openvino.Core(), form, Precision.INT8).prefix)
    assert len(prefixes) == 2


def test_the_folder_stays_within_its_bound(tmp_path, folder, monkeypatch):
    """What was unused for longest goes first; what was just written stays, however large."""
    first, second, third = (save_fake_rtmo(tmp_path / f"{side}.onnx", (side, side)) for side in (32, 64, 96))
    people(first)
    (kept,) = folder.glob("*.blob")
    os.utime(kept, (1, 1))
    people(second)
    monkeypatch.setattr(compiled_models, "MOST_BYTES", 2 * kept.stat().st_size + 2000)
    people(third)
    assert not kept.exists()
    assert len(list(folder.glob("*.blob"))) == 2
    monkeypatch.setattr(compiled_models, "MOST_BYTES", 1)
    people(first)
    assert [path.name for path in folder.glob("*.blob")] == [kept.name]


def test_without_a_folder_to_write_to_nothing_is_kept(tmp_path, monkeypatch):
    """As on a machine whose models are on a share that it may only read."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(tmp_path / "file"))
    model = save_fake_rtmo(tmp_path / "x.onnx")
    assert same(people(model), people(model))


def test_several_at_once_leave_whole_files(tmp_path, folder, compiled):
    """Workers of one machine start together, and all compile what is not there yet."""
    model = save_fake_rtmo(tmp_path / "x.onnx")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(people, [model] * 4))
    assert all(same(answers[0], answer) for answer in answers)
    before = len(compiled)
    assert same(answers[0], people(model))
    assert len(compiled) == before
    assert [path.suffix for path in folder.iterdir()] == [".blob"]
