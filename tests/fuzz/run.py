"""Feeding damaged inputs to the program and telling what became of each."""

from __future__ import annotations

import codecs
import logging
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.engine.engines import ParallelEngine
from flows.engine.jobs import ClipJob
from flows.engine.walk import walk
from flows.runs.local import result_of
from tasks.annotations.format import read_annotation
from tasks.annotations.validate_dataset import validate_dataset
from tasks.clips.discovery import discover_clips
from tasks.clips.failures import current_failures
from tasks.core.errors import FightposeError
from tasks.core.records import Poses
from tasks.core.settings import LimitSettings, Settings
from tasks.core.settings.file import read_settings
from tests.fuzz.plain import PEAKS

TIME_LIMIT_S = 120.0
"""Of each clip, all steps; and no file may take longer. A busy machine needs a minute to load the real model."""

MEMORY_LIMIT_MB = 1024
"""Of each decoder, beyond the libraries; and what no process may pass."""

SETTINGS = Settings(limits=LimitSettings(time_limit=TIME_LIMIT_S, memory_limit=MEMORY_LIMIT_MB))


@dataclass
class Tally:
    """What became of the inputs of one kind.

    Attributes
    ----------
    kind
        What they are.
    inputs
        How many there were.
    annotated
        How many gave a valid annotation, or were read as valid.
    failures
        How many failures of each cause were recorded, or named by an error that a user can act on.
    lost
        What became of the others, one line each.
    slowest
        Seconds of the slowest input.
    peak_mb
        Most memory that a process held.
    deaths
        How many worker processes died.
    """

    kind: str
    inputs: int = 0
    annotated: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak_mb: int = 0
    deaths: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is lost, died, hung or took too much memory."""
        within = self.slowest < TIME_LIMIT_S + 5 and self.peak_mb < MEMORY_LIMIT_MB + 700
        # An error that nobody foresaw is recorded, too, but tells the user nothing: it is a defect to mend.
        calm = not self.lost and not self.deaths and not self.failures["unforeseen"]
        return calm and within and self.inputs == self.annotated + self.failures.total()


CAUSES = {
    "decoder crashed": "decoder crashed",
    "decoder hangs": "decoder hangs",
    "took longer": "time limit",
    "MB of memory": "memory limit",
    "worker process died": "worker died",
    "Error:": "unforeseen",
}
"""Parts of a failure's text that are counted by themselves, beside the five reasons."""


def fuzz_videos(kind: str, clips: Path, output_root: Path, workers: int) -> Tally:
    """Annotate every clip below a folder in worker processes, and see on disk what became of each."""
    found = discover_clips(clips, output_root).clips
    tally = Tally(kind, inputs=len(found))
    deaths = _CountDeaths()
    logging.getLogger("flows.engine.walk").addHandler(deaths)
    try:
        jobs = [ClipJob(clip, clips, output_root, SETTINGS) for clip in found]
        with ParallelEngine(SETTINGS, workers, target="tests.fuzz.plain:annotate_measured") as engine:
            for ended in walk(jobs, engine):
                tally.slowest = max(tally.slowest, ended.seconds)
                if ended.error is not None:
                    # Its worker died: what the worker could not record is recorded here.
                    result_of(ended)
    finally:
        logging.getLogger("flows.engine.walk").removeHandler(deaths)
    tally.deaths = deaths.count
    failed = {failure.frame_dir: failure for failure in current_failures(output_root)}
    for clip in found:
        failure = failed.get(clip.frame_dir)
        if failure is None and clip.annotation_path.is_file():
            problems = validate_dataset(read_annotation(clip.annotation_path))
            if problems:
                tally.lost.append(f"{clip.path}: annotated against the contract: {problems[0]}")
            tally.annotated += not problems
        elif failure is not None:
            cause = next((name for text, name in CAUSES.items() if text in failure.info), str(failure.reason))
            tally.failures[cause] += 1
        else:
            tally.lost.append(f"{clip.path}: neither annotation nor failure")
    tally.peak_mb = max((int(path.read_text()) for path in (output_root / PEAKS).iterdir()), default=0)
    return tally


class _CountDeaths(logging.Handler):
    """Counts the lines by which `flows.engine.walk` tells that a worker died."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line."""
        self.count += "worker process died" in record.getMessage()


def read_pkl(path: Path) -> bool:
    """Read an annotation as every part of the program does; False if it breaks the contract."""
    return not validate_dataset(read_annotation(path))


def read_poses(path: Path) -> bool:
    """Read a file of the store of poses; False for what makes the program extract them again."""
    try:
        Poses.load(path)
    except ValueError:
        return False
    return True


def read_settings_file(path: Path) -> bool:
    """Read a settings file."""
    read_settings(path)
    return True


def fuzz_files(
    kind: str, files: Sequence[tuple[str, bytes]], read: Callable[[Path], bool], folder: Path, sound: bytes
) -> Tally:
    """Read damaged files one after the other, and watch that nothing of them is executed.

    Parameters
    ----------
    kind
        Name in the table.
    files
        Endings and bytes.
    read
        Returns whether a file is valid, or raises an error that a user can act on.
    folder
        Where the files are written.
    sound
        A file that is read first, so that what the reader imports is imported.
    """
    tally = Tally(kind, inputs=len(files))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sound{files[0][0]}"
    path.write_bytes(sound)
    assert read(path)
    # Codecs of old pickles, which Python loads when they are first used.
    for codec in ("raw_unicode_escape", "unicode_escape", "latin-1"):
        codecs.lookup(codec)
    before = _peak_mb()
    for number, (ending, data) in enumerate(files):
        path = folder / f"{number:05d}{ending}"
        path.write_bytes(data)
        start = time.perf_counter()
        try:
            with WATCH:
                valid = read(path)
            tally.annotated += valid
            tally.failures["refused"] += not valid
        except FightposeError:
            tally.failures["refused"] += 1
        except BaseException as error:
            tally.lost.append(f"{path}: {type(error).__name__}: {error}")
        tally.slowest = max(tally.slowest, time.perf_counter() - start)
    tally.lost += [f"executed while reading: {event}" for event in WATCH.take()]
    tally.peak_mb = _peak_mb() - before
    return tally


def _peak_mb() -> int:
    """Return the most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class _Watch:
    """Notes what Python's audit events say of programs, connections and code while a file is read."""

    FORBIDDEN = (
        "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen", "exec",
        "pickle.find_class", "marshal.loads", "socket.connect", "ctypes.dlopen", "os.remove", "os.rename",
    )  # fmt: skip

    def __init__(self) -> None:
        self._reading = False
        self._seen: list[str] = []
        self._installed = False

    def __enter__(self) -> None:
        if not self._installed:
            # A hook cannot be removed again, so it is there once and listens only while a file is read.
            sys.addaudithook(self._note)
            self._installed = True
        self._reading = True

    def __exit__(self, *_: object) -> None:
        self._reading = False

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        """Keep a forbidden event."""
        if self._reading and (event in self.FORBIDDEN or (event == "open" and _writes(arguments))):
            self._seen.append(f"{event} {arguments!r}"[:300])

    def take(self) -> list[str]:
        """Return what was seen since the last call."""
        seen, self._seen = self._seen, []
        return seen


def _writes(arguments: tuple[object, ...]) -> bool:
    """Tell whether an `open` event is one for writing."""
    mode = arguments[1] if len(arguments) > 1 else None
    return isinstance(mode, str) and any(letter in mode for letter in "wax+")


WATCH = _Watch()
