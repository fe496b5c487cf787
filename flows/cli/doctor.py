"""The quick self-check: whether this machine can do the job."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.core.errors import FightposeError
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.core.storage import require_writable

LEAST_FREE_BYTES = 2 << 30
"""Disk space below which a run over a folder is likely to fail."""

FRAME_SIZE = (64, 48)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the self-check."""

    name: str
    ok: bool
    found: str


def run_checks(output_root: Path) -> list[Check]:
    """Run every check; one that fails does not stop the others."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("codecs", _codecs),
        ("pose model", pose_model),
        ("runtimes", _runtimes),
        ("annotation round trip", _annotation),
        ("worker processes", _workers),
        ("output folder", lambda: _output(output_root)),
        ("disk space", lambda: _disk(output_root)),
        ("Prefect server", _server),
    ]
    return [_checked(name, check) for name, check in checks]


def _checked(name: str, check: Callable[[], str]) -> Check:
    """Run one check and turn any error into its result."""
    try:
        return Check(name, True, check())
    except FightposeError as error:
        return Check(name, False, str(error))
    except Exception as error:
        # A self-check has to survive whatever a broken installation raises.
        return Check(name, False, f"{type(error).__name__}: {error}")


def _python() -> str:
    """Name the interpreter; its version is checked where the package is installed."""
    version = ".".join(map(str, sys.version_info[:3]))
    # Cores that this process may use: containers and batch systems grant fewer than the machine has.
    return f"Python {version}, {len(os.sched_getaffinity(0))} cores"


def _codecs() -> str:
    """Write and read back a short video in each container that overlays come in."""
    from tasks.video.reading import decode_frames, probe_video
    from tasks.video.writing import VideoWriter

    # Plain grey: the check is of container and codec, not of pictures.
    frame = np.full((FRAME_SIZE[1], FRAME_SIZE[0], 3), 128, np.uint8)
    names = []
    with tempfile.TemporaryDirectory(prefix="fightpose-") as folder:
        for suffix in (".mp4", ".mov", ".avi"):
            path = Path(folder) / f"check{suffix}"
            with VideoWriter(path, 25.0, FRAME_SIZE) as writer:
                for _ in range(5):
                    writer.write(frame)
            video = probe_video(path)
            # Some builds of the package write a file that holds fewer frames than were given.
            count = sum(1 for _ in decode_frames(video))
            if count != 5:
                raise FightposeError(f"wrote 5 frames as {suffix} and read {count}; reinstall the package av")
            names.append(f"{suffix[1:]} ({video.codec})")
    return ", ".join(names)


def pose_model() -> str:
    """Load the embedded model and run it once."""
    from tasks.poses import load_model
    from tasks.poses.models import MOVENET

    # A black picture will do: a runtime that is broken fails with it as with any other.
    load_model(MOVENET.name).detect([np.zeros((96, 128, 3), np.uint8)])
    return f"{MOVENET.name} loads and runs"


def _runtimes() -> str:
    """List what can run pose models, on which devices, in which numbers."""
    from tasks.poses.backends.runtimes import found_runtimes

    return "; ".join(found_runtimes())


def _annotation() -> str:
    """Write an annotation and read it back."""
    from tasks.annotations.format import only_annotation, write_annotation

    # Axes of every annotation: people, frames, joints, x and y.
    keypoint = np.zeros((1, 2, NUM_KEYPOINTS, 2), np.float32)
    with tempfile.TemporaryDirectory(prefix="fightpose-") as folder:
        path = Path(folder) / "check.pkl"
        write_annotation(path, [{"frame_dir": "check", "keypoint": keypoint}])
        read = only_annotation(path)["keypoint"]
    if not np.array_equal(read, keypoint):
        raise FightposeError("an annotation did not survive writing and reading; reinstall numpy")
    return "written and read back"


def _workers() -> str:
    """Run a function of this module in a worker process: local functions could not be pickled."""
    # Spawned: a forked process would inherit the locks that other threads hold at that moment.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pid = pool.submit(os.getpid).result(timeout=60)
    return f"process {pid} answered"


def _output(output_root: Path) -> str:
    """Check that outputs can be written."""
    is_new = not output_root.exists()
    require_writable(output_root)
    if is_new:
        # A check leaves nothing behind. Parents that it made as well stay: others may have begun to use them.
        output_root.rmdir()
    return f"{output_root.resolve()} can be written"


def _disk(output_root: Path) -> str:
    """Check the free space below the output folder."""
    # A folder that is yet to be made will be on the disk of the nearest one that is there.
    there = next(folder for folder in (output_root.absolute(), *output_root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE_BYTES:
        raise FightposeError(
            f"only {free / 2**30:.1f} GiB free; at least {LEAST_FREE_BYTES / 2**30:.0f} GiB are needed"
        )
    return f"{free / 2**30:.0f} GiB free"


def _server() -> str:
    """Check that a named Prefect server answers; without one, runs start their own."""
    from flows.prefect_server.server import prepare_environment, require_reachable

    # Has to come before Prefect is imported, which reads its settings then.
    prepare_environment()
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value()
    if not address:
        return "none named (PREFECT_API_URL): each run starts a temporary one"
    require_reachable(address)
    return f"{address} answers"
