"""Program of `test_disk_faults`: annotates one clip while something is wrong with the disk or the process.

It runs by itself, because it forks, kills and mounts. It prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

from flows.engine.jobs import ClipJob
from flows.runs.results import ClipResult, Outcome
from tasks.annotations.format import read_annotation
from tasks.annotations.validate_dataset import validate_dataset
from tasks.clips.discovery import find_clip
from tasks.clips.failures import current_failures
from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tasks.core.storage import require_writable
from tasks.mapping.receipts import finished, settings_key
from tasks.poses import entry_of
from tasks.video.reading import decode_frames, probe_video
from tests.fuzz.plain import annotate_plain


def job_of(clip: Path, out: Path) -> ClipJob:
    """Return the job of a clip in a folder of its own."""
    return ClipJob(find_clip(clip, clip.parent, out), clip.parent, out, Settings())


def complete(job: ClipJob) -> bool:
    """Tell whether annotation and overlay are there in full, and the receipt says so."""
    settings = job.settings.resolve(entry_of(job.settings.poses).thresholds)
    (annotation,) = read_annotation(job.clip.annotation_path)["annotations"]
    frames = sum(1 for _ in decode_frames(probe_video(job.clip.overlay_path)))
    return (
        not validate_dataset(read_annotation(job.clip.annotation_path))
        and frames == annotation["total_frames"]
        and finished(job.clip, job.output_root, settings_key(settings, entry_of(settings.poses).sha256)) is not None
        and current_failures(job.output_root) == []
    )


def half_files(out: Path) -> list[str]:
    """Return outputs under final names that cannot be read to their end."""
    half = []
    for path in out.rglob("*"):
        if path.name.startswith(".partial-"):
            continue
        try:
            if path.suffix == ".pkl":
                read_annotation(path)
            elif path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".mp4":
                assert sum(1 for _ in decode_frames(probe_video(path))) == 24
        except Exception as error:
            half.append(f"{path}: {error}")
    return half


def killed_at_write(job: ClipJob, number: int) -> int:
    """Annotate in a process that is killed with its nth file written and not yet renamed; return its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    sync, calls = os.fsync, count(1)

    def fsync(descriptor: int) -> None:
        """Die instead of the nth call."""
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = fsync
    annotate_plain(job)
    os._exit(0)


def kills(clip: Path, folder: Path) -> dict[str, object]:
    """Kill the process at each of its writes, and run the clip again after each."""
    half: list[str] = []
    repaired = 0
    for number in count(1):
        job = job_of(clip, folder / str(number))
        status = killed_at_write(job, number)
        if not os.WIFSIGNALED(status):
            return {"writes": number - 1, "half": half, "repaired": repaired, "last": complete(job)}
        half += half_files(job.output_root)
        assert killed_at_write(job, 0) == 0  # no write has the number 0: this one lives
        repaired += complete(job)
    raise AssertionError


def outcome(job: ClipJob) -> str:
    """Annotate and return in a word what came out."""
    try:
        require_writable(job.output_root)
        result: ClipResult = annotate_plain(job)
    except FightposeError as error:
        return f"stopped: {error}"
    return "annotated" if result.outcome == Outcome.ANNOTATED else f"recorded: {result.error}"


def disks(clip: Path, folder: Path) -> dict[str, object]:
    """Annotate onto file systems that are too small, then read-only, then as they should be."""
    job = job_of(clip, folder / "out")
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    seen = {}
    for kilobytes in (8, 16, 24, 32, 48):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(folder)], check=True)
        seen[f"{kilobytes}k"] = outcome(job)
    half = half_files(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    seen["read-only"] = outcome(job)
    subprocess.run(["mount", "-o", "remount,rw,size=64m", str(folder)], check=True)
    seen["mended"] = outcome(job)
    return {"seen": seen, "half": half, "complete": complete(job)}


if __name__ == "__main__":
    what, given, where = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    sys.stdout.write(json.dumps((kills if what == "kills" else disks)(given, where)) + "\n")
