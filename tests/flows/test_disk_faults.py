"""A process that dies at any of its writes, and disks that are full or read-only, leave nothing half done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.annotate_video import recorded
from tasks.clips.discovery import find_clip
from tasks.core.errors import FightposeError
from tests.video_factory import plain_frames, write_video

PROGRAM = [sys.executable, "-m", "tests.flows.disk_faults"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Give a clip of 24 frames in a folder of its own."""
    (tmp_path / "clips").mkdir()
    return write_video(tmp_path / "clips" / "a.mp4", plain_frames(24, 160, 96))


def run(what: str, clip: Path, folder: Path, *before: str) -> dict[str, Any]:
    """Run the program and return what it printed."""
    folder.mkdir()
    command = [*before, *PROGRAM, what, str(clip), str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_worker_killed_at_each_of_its_writes_leaves_no_half_file_and_the_next_run_completes(clip, tmp_path):
    """Poses, annotation, overlay, receipt: each time with the file written and not yet renamed."""
    result = run("kills", clip, tmp_path / "work")
    assert result["writes"] >= 4
    assert result == {"writes": result["writes"], "half": [], "repaired": result["writes"], "last": True}


def may_mount() -> bool:
    """Tell whether this machine lets a test mount a file system of its own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_full_and_read_only_disks_stop_with_one_line_and_a_rerun_completes(clip, tmp_path):
    """On real file systems of a few kilobytes: each try is recorded, or stops with what to do."""
    if not may_mount():
        pytest.skip("this machine lets no test mount a file system")
    result = run("disks", clip, tmp_path / "work", "unshare", "--map-root-user", "--mount")
    seen = result["seen"]
    assert result["half"] == []
    assert result["complete"]
    assert seen.pop("mended") == "annotated"
    assert "Read-only file system" in seen["read-only"]
    assert all(text.startswith(("stopped: ", "recorded: ")) for text in seen.values()), seen
    assert any("No space left on device" in text for text in seen.values())


def test_a_failure_that_cannot_be_logged_stops_the_run_with_what_to_do(clip, tmp_path, monkeypatch):
    """Going on would lose clips without a trace; on machines, too, where nothing can be mounted."""

    def full(descriptor: int, data: bytes) -> int:
        """Fail as a full disk does."""
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(FightposeError, match=r"cannot write .*No space left.*free disk space"):
        recorded(OSError(errno.ENOSPC, "No space left"), find_clip(clip, clip.parent, tmp_path), tmp_path)
