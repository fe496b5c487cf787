"""What a step took of the machine is measured, with and without a GPU."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.core.settings import LimitSettings
from tasks.poses import usage
from tasks.poses.usage import Usage, gpu_reading, measured
from tasks.video.decoder import decode_guarded, helper_processes, probe_guarded
from tasks.video.limits import ClipLimits
from tests.video_factory import plain_frames, write_video

SMI = """#!/bin/sh
echo "$@" >> {log}
echo "{answer}"
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an nvidia-smi into the path that says 40 % and 1500 MiB, and return where it notes how it was called."""
    log = tmp_path / "called.txt"
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(SMI.format(log=log, answer="40, 1500"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def test_a_busy_step_shows_its_cores_and_the_memory_that_it_held(monkeypatch):
    """A core's worth of work for a second, with 200 MB held meanwhile."""
    monkeypatch.setattr(usage, "LOOK_SECONDS", 0.05)
    with measured("cpu") as meter:
        held = np.ones(25_000_000)
        start = time.process_time()
        while time.process_time() - start < 0.5:
            held[:1000].sum()
    # Freed by now: only a look during the block can have seen it.
    seen = meter.read()
    del held
    # The bound is low: on a machine that is shared the wall clock runs on without us.
    assert seen.cores > 0.01
    assert seen.memory_bytes > 200e6
    assert seen.gpu_percent is None


def test_helpers_count_and_other_children_do_not(tmp_path):
    """The temporary Prefect server of a local run is a child as well, and holds more memory than most clips."""
    limits = ClipLimits(write_video(tmp_path / "a.mp4", plain_frames(300, 640, 360)), LimitSettings())
    video = probe_guarded(limits)
    helper = psutil.Process(helper_processes()[-1])
    hold = "import sys; held = b'x' * (400 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        before, own, start = helper.cpu_times().user, time.process_time(), time.perf_counter()
        with measured("cpu") as meter:
            assert sum(1 for _ in decode_guarded(video, limits)) == 300
        work = meter.read().cores * (time.perf_counter() - start)
        child.stdin.close()
    # Half of the helper's share leaves room for clocks that tick in hundredths of a second.
    assert work > time.process_time() - own + (helper.cpu_times().user - before) / 2
    # Earlier tests may have left more helpers than this one's, idle.
    ours = [psutil.Process(), *map(psutil.Process, helper_processes())]
    held = sum(process.memory_info().rss for process in ours)
    assert psutil.Process().memory_info().rss < meter.read().memory_bytes < held + (300 << 20)


def test_the_gpu_that_the_run_leased_is_the_one_that_is_looked_at(smi, monkeypatch):
    """By CUDA_VISIBLE_DEVICES; a run on the CPU asks nothing."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-abc,GPU-def")
    with measured("cpu"):
        pass
    assert not smi.exists()
    with measured("cuda:0") as meter:
        pass
    assert "--id=GPU-abc" in smi.read_text()
    assert (meter.read().gpu_percent, meter.read().gpu_bytes) == (40.0, 1500 << 20)
    assert "GPU 40 % and 1.6 GB" in meter.read().words()


@pytest.mark.parametrize("answer", ["[N/A], 1500", "", "No devices were found"])
def test_a_gpu_that_tells_nothing_costs_nothing(tmp_path, smi, answer):
    """MIG slices know no utilisation; drivers fail."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.write_text(SMI.format(log=smi, answer=answer))
    assert gpu_reading() is None
    program.unlink()
    assert gpu_reading() is None


def test_the_words_say_units():
    """As they stand in the log and on the card."""
    assert Usage(1.94, 640_000_000).words() == "1.9 cores, 640 MB"
