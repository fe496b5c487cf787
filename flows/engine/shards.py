"""Shards: slices of a list of clips, each walked by one process with the model loaded once.

Below `<output root>/.fightpose/shards/` are, all written by this program:

- `<key>.json`: a work list, named by its content so that a list that was changed is recognised;
- `<run>/deals.jsonl`: which slices a run over a folder has dealt, so that its next try finds them;
- `<run>/journal.jsonl`: how each clip of a shard's run ended, for the progress of the run that dealt it;
- `<run>/under-way/`: a mark per clip that a shard has under way. What a crash leaves there was under way.

Parameters of a Prefect run are limited to 512 KB: a shard gets the list by reference.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from flows.engine.jobs import ClipJob
from tasks.clips.discovery import Clip, clip_record
from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tasks.core.storage import WORK_FOLDER, atomic_path, key_of

logger = logging.getLogger(__name__)

SHARD_CLIPS = 500
"""Most clips of a shard: a crash costs the clips under way, and the runs of a few hundred clips are still readable."""

FIRST_CLIPS = 24
"""Clips of a shard as long as nothing is known of the pool's pace."""

SHARD_SECONDS, LEAST_SECONDS = 450.0, 60.0
"""Work in a shard: minutes, so that the seconds of its start are few; less towards the end, so that none is waited for
while other GPUs have nothing left."""

CRASHES = 2
"""A clip that was under way at so many crashes of its shard is set aside and done alone."""


@dataclass(frozen=True, slots=True)
class WorkList:
    """Clips under the same settings, and what their results are named by.

    Attributes
    ----------
    jobs
        The clips, in the order in which they are dealt.
    sizes
        Bytes of each: the measure of its work that costs nothing to know.
    key
        `tasks.mapping.receipts.settings_key` of the run that made the list; empty in a list of inputs.
    """

    jobs: list[ClipJob]
    sizes: list[int]
    key: str


def shards_folder(output_root: Path) -> Path:
    """Return where all that concerns shards is kept."""
    return output_root / WORK_FOLDER / "shards"


def write_work_list(jobs: Sequence[ClipJob], key: str) -> Path:
    """Write the clips of a run, all with one input root and the same settings, and return the file."""
    first = jobs[0]
    value = {
        "version": 1,
        "root": str(first.input_root),
        "key": key,
        "settings": first.settings.model_dump(mode="json"),
        "clips": [
            {
                "path": job.clip.relative,
                "stem": job.clip.stem,
                "label": job.clip.label,
                "bytes": size_of(job),
            }
            for job in jobs
        ],
    }
    # ASCII, since a file name may hold bytes that are not UTF-8.
    content = json.dumps(value, ensure_ascii=True, indent=1).encode("ascii")
    path = shards_folder(first.output_root) / f"{_digest(content)}.json"
    with atomic_path(path) as partial:
        partial.write_bytes(content)
    return path


def read_work_list(path: Path, output_root: Path, settings: Settings | None = None) -> WorkList:
    """Read a work list, or a list of inputs (`fightpose_inputs.json`).

    Parameters
    ----------
    path
        The file.
    output_root
        Where the outputs of its clips go.
    settings
        Used in place of those that a work list names.

    Raises
    ------
    FightposeError
        If it is gone, was changed after the shard was dealt, or is no such list.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FightposeError(
            f"cannot read the list of clips {path}: {error.strerror or error}; run `fightpose annotate` over the "
            "folder again, which deals what is left"
        ) from error
    # Only our own lists are named by their content: a list of inputs may have any name and may be edited.
    if re.fullmatch(r"[0-9a-f]{32}", path.stem) and path.stem != _digest(content):
        raise FightposeError(
            f"the list of clips {path} was changed after its shards were dealt; run `fightpose annotate` over the "
            "folder again, which deals what is left"
        )
    try:
        value: dict[str, Any] = json.loads(content)
        # A list of inputs has neither settings (those of the caller or the defaults hold) nor sizes (all weigh 1).
        chosen = settings or Settings.model_validate(value.get("settings") or {})
        root = Path(value["root"])
        entries = [(str(c["path"]), str(c["stem"]), c.get("label"), int(c.get("bytes", 1))) for c in value["clips"]]
        # Under other settings than those of the list its key would vouch for results that are not meant.
        key = str(value["key"]) if "settings" in value and settings is None else ""
    # RecursionError is what json raises for brackets nested a thousand deep.
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise FightposeError(f"{path} is not a list of clips ({error}); name one that fightpose has written") from error
    jobs = [ClipJob(_clip(root, *entry[:3], output_root, path), root, output_root, chosen) for entry in entries]
    return WorkList(jobs, [entry[3] for entry in entries], key)


def slice_of(work: WorkList, first: int, count: int | None) -> list[ClipJob]:
    """Return the clips of a shard.

    Raises
    ------
    FightposeError
        If the list is shorter than the shard says.
    """
    last = len(work.jobs) if count is None else first + count
    # Python cuts a slice that is too long without a word: clips would be missing from a shard unnoticed.
    if not 0 <= first < last <= len(work.jobs):
        raise FightposeError(f"the list holds {len(work.jobs)} clips, and no clips {first} to {last - 1}")
    return work.jobs[first:last]


def next_count(sizes: Sequence[int], first: int, running: int, bytes_per_second: float | None) -> int:
    """Return how many clips the next shard takes.

    Parameters
    ----------
    sizes
        Bytes of all clips.
    first
        The first clip that is not dealt yet.
    running
        Shards that run at the moment.
    bytes_per_second
        What one shard does, None while that is not known.
    """
    left = sizes[first:]
    if bytes_per_second is None:
        return min(len(left), FIRST_CLIPS)
    # Half of what each running shard's share of the rest would be: the last shards are small, and end together.
    share = sum(left) / bytes_per_second / (2 * max(1, running))
    # Bytes: the seconds that the shard may take, times the bytes per second of one shard.
    budget = max(LEAST_SECONDS, min(SHARD_SECONDS, share)) * bytes_per_second
    count = taken = 0
    for size in left[:SHARD_CLIPS]:
        # At least one clip, however large: a shard of none would never get the run on.
        if count and taken + size > budget:
            break
        count, taken = count + 1, taken + size
    return count


class Journal:
    """How the clips of a shard's run ended, one line each; read by the run that dealt the shard.

    Parameters
    ----------
    output_root
        Where the outputs go.
    run_id
        The shard's run.
    """

    def __init__(self, output_root: Path, run_id: str) -> None:
        self._path = shards_folder(output_root) / run_id / "journal.jsonl"

    def start(self) -> set[str]:
        """Begin a try of the shard, and return the clips that a try which crashed has finished.

        A try that ended by itself is over: what failed in it is done again.
        """
        lines = list(self.lines())
        # No line about its end means that the process died: its finished clips are not done again.
        if any("end" in line for line in lines):
            self._path.unlink(missing_ok=True)
            return set()
        return {str(line["clip"]) for line in lines if "clip" in line}

    def note(self, **line: Any) -> None:
        """Append one line: `clip` with `outcome` and `seconds`, or `end` with why the try ended."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Opened and closed for every line, so that a crash of this process loses none.
        with self._path.open("a", encoding="ascii") as stream:
            stream.write(json.dumps(line) + "\n")

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that are whole."""
        try:
            raw = self._path.read_bytes()
        except OSError:
            return
        # Without the part after the last newline: it is empty, or a line that is being written.
        for line in raw.split(b"\n")[:-1]:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value


class UnderWay:
    """Marks of the clips that a shard has under way, to find out which of them take its process down.

    Parameters
    ----------
    output_root
        Where the outputs go.
    run_id
        The shard's run.
    """

    def __init__(self, output_root: Path, run_id: str) -> None:
        self._folder = shards_folder(output_root) / run_id / "under-way"
        self._folder.mkdir(parents=True, exist_ok=True)
        # What is there now was under way when the last try crashed.
        self._crashes = {path.name: _number(path) + 1 for path in self._folder.iterdir()}
        # Written at once: this try may crash before it comes to these clips.
        for name, crashes in self._crashes.items():
            (self._folder / name).write_text(str(crashes), encoding="ascii")

    def crashes(self, job: ClipJob) -> int:
        """Return at how many crashes a clip was under way."""
        return self._crashes.get(_mark(job), 0)

    def begin(self, job: ClipJob) -> None:
        """Mark a clip as under way."""
        # With the count so far: the next try finds the mark after a crash and adds one to it.
        (self._folder / _mark(job)).write_text(str(self.crashes(job)), encoding="ascii")

    def clear(self) -> None:
        """Take all marks away: the try ended in good order, whatever it was for."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def end(self, job: ClipJob) -> None:
        """Take the mark of a clip away: it ended, well or not, or was set aside."""
        (self._folder / _mark(job)).unlink(missing_ok=True)


def _clip(root: Path, relative: str, stem: str, label: Any, output_root: Path, source: Path) -> Clip:
    """Return a clip's record, with its label where the list has one."""
    # Output paths are made of these: nothing in a file may lead out of the output root.
    if ".." in PurePosixPath(relative).parts or relative.startswith("/") or "/" in stem or stem in ("", "..", "."):
        raise FightposeError(f"the list of clips {source} names a path outside its root: {relative!r}")
    clip = clip_record(root, relative, stem, output_root)
    return clip if label is None else replace(clip, label=int(label))


def size_of(job: ClipJob) -> int:
    """Return the bytes of a clip; one that is gone is work of a moment."""
    try:
        return max(1, job.clip.path.stat().st_size)
    except OSError:
        return 1


def _digest(content: bytes) -> str:
    """Return what a work list is named by."""
    # 128 bits of it: more than enough to tell lists apart, and short enough for a file name.
    return hashlib.sha256(content).hexdigest()[:32]


def _mark(job: ClipJob) -> str:
    """Return the name of a clip's mark; its identifier itself may be too long for a file name."""
    return key_of(job.clip.frame_dir)


def _number(path: Path) -> int:
    """Return the number in a mark; 0 in one whose writing was cut off."""
    try:
        return int(path.read_text(encoding="ascii") or 0)
    except (OSError, ValueError):
        return 0
