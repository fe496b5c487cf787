"""What `nvidia-smi` says about the GPUs of this machine: the one place that runs it.

It comes with NVIDIA's driver, answers without CUDA or torch, and knows MIG slices. CUDA_VISIBLE_DEVICES means the same
here as in CUDA: the devices that it names, in its order, are cuda:0, cuda:1 and so on.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

logger = logging.getLogger(__name__)

SMI_SECONDS = 30
"""How long nvidia-smi may take: the first call after a driver's sleep takes seconds, on machines of eight GPUs ten."""

OTHER_DRIVERS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg")
"""What a machine has whose GPU nvidia-smi may not list: containers without it, Jetson, Windows' Linux."""


def query_gpus(*fields: str, only: str | None = None) -> list[list[str]]:
    """Return the fields of each GPU, as `nvidia-smi --query-gpu` names them; empty where there is none.

    Parameters
    ----------
    fields
        Such as `index`, `uuid`, `utilization.gpu` (percent) and `memory.used` (MiB).
    only
        Number or UUID of the one GPU that is asked for; None for all.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If nvidia-smi is there but fails or hangs.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    command += [f"--id={only}"] if only else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS, check=True)  # noqa: S603
    # Anything else, such as a line about a GPU that fell off the bus, is not a row.
    rows = [line.split(", ") for line in done.stdout.splitlines()]
    return [row for row in rows if len(row) == len(fields)]


def allowed_devices() -> list[str] | None:
    """Return what CUDA_VISIBLE_DEVICES names, in its order; None where it is not set, empty where it forbids all."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return None
    # CUDA stops at the first name that it does not know; -1 is the usual one.
    names = [name.strip() for name in named.split(",")]
    return names[: next((place for place, name in enumerate(names) if name in ("", "-1")), len(names))]


def gpu_count() -> int | None:
    """Return how many CUDA devices this process has, None where that cannot be told without CUDA."""
    if (allowed := allowed_devices()) is not None:
        return len(allowed)
    if shutil.which("nvidia-smi") is None:
        return None if any(Path(device).exists() for device in OTHER_DRIVERS) else 0
    try:
        return len(query_gpus("index"))
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("nvidia-smi fails (%s)", error)
        return None
