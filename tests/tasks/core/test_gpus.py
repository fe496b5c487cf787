"""What nvidia-smi says about a machine's GPUs, with one of our own in front of any other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks.core import gpus
from tasks.core.gpus import allowed_devices, gpu_count, query_gpus


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an nvidia-smi that lists two GPUs, and a line that is no row, into the path."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0\necho 1\necho 'GPU 2, lost, reset it'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def test_only_rows_with_every_field_count(smi):
    """A driver writes warnings to the same place."""
    assert query_gpus("index") == [["0"], ["1"]]
    assert gpu_count() == 2


@pytest.mark.parametrize(
    ("named", "devices"), [("0,1", ["0", "1"]), ("GPU-a", ["GPU-a"]), ("", []), ("-1", []), ("1,-1,0", ["1"])]
)
def test_cuda_visible_devices_means_what_it_means_to_cuda(smi, monkeypatch, named, devices):
    """CUDA reads up to the first name that is none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert allowed_devices() == devices
    assert gpu_count() == len(devices)


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch):
    """Where another driver may have one, the answer is that it is not known."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "OTHER_DRIVERS", ())
    assert (query_gpus("index"), gpu_count()) == ([], 0)
    monkeypatch.setattr(gpus, "OTHER_DRIVERS", ("/dev/null",))
    assert gpu_count() is None


def test_a_driver_that_fails_is_not_a_machine_without_gpus(smi):
    """`query_gpus` says so, and the count is unknown."""
    smi.write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(subprocess.SubprocessError):
        query_gpus("index")
    assert gpu_count() is None
