"""One output root through weeks of use in seconds: a state machine of everything that people do to it.

Each step is one thing a person (or a power cut) does: run with one settings or others, break, restore, replace, rename
and remove clips, review, apply, verify and mend, kill. The flows' own functions run, without Prefect around them and
with the stand-in model, so that thousands of steps are possible. What must hold afterwards is in
`Lifecycle.check_run`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

import psutil
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flows.annotate_dataset import annotate_dataset
from flows.runs.results import DatasetSummary, Outcome
from flows.verify_mapping import verify_mapping_flow
from tasks.annotations.dataset import read_split
from tasks.annotations.format import is_excluded, read_annotation
from tasks.clips.discovery import Clip, discover_clips
from tasks.clips.failures import current_failures
from tasks.core.settings import SelectionSettings, Settings
from tasks.core.storage import LEFT_OVER_SECONDS, PARTIAL_MARK
from tasks.mapping.findings import Finding, FindingKind, MappingReport
from tasks.mapping.merged import DATASET_NAME
from tasks.mapping.run_lock import sole_run
from tasks.mapping.verify import verify_mapping
from tasks.review.apply import apply_review
from tasks.review.log import SetExcluded, SetLabel, append_change
from tasks.review.overlays import redraw_overlays
from tasks.video.decoder import helper_processes
from tests.fuzz.killed import run_until_killed, start_fork_server
from tests.fuzz.plain import flows_without_prefect
from tests.video_factory import plain_frames, write_video

SETTINGS = {
    "usual": Settings(),
    # Fails every clip: nobody reaches this quality.
    "strict": Settings(selection=SelectionSettings(quality_threshold=0.99)),
    "one person": Settings(selection=SelectionSettings(max_persons=1)),
}

NAMES = ("Fight/a.mp4", "Fight/b.mp4", "Fight/c.avi", "NonFight/a.mp4", "NonFight/d.mov", "NonFight/싸움.mp4")


@cache
def contents(ending: str) -> list[bytes]:
    """Return different clips of one container, each a few frames longer than the one before."""
    with tempfile.TemporaryDirectory() as folder:
        made = [write_video(Path(folder, f"{n}{ending}"), plain_frames(12 + n)) for n in range(4)]
        return [path.read_bytes() for path in made]


@dataclass
class Known:
    """What the machine knows beside the folders.

    Attributes
    ----------
    sides
        The side of the split on which each clip was first seen.
    excluded
        Clips that the log excludes.
    times
        Time of change of each clip before it was broken, and its bytes.
    lines
        The last line of the log about each clip, for taking it back.
    """

    sides: dict[str, str] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)
    sound: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)


def numbered(data: bytes, ending: str, number: int) -> bytes:
    """Return a clip with a number in it that players skip: no two clips of a life have the same content.

    Copies under several names have rules of their own (`tasks.clips.same_content`).
    """
    if ending == ".avi":
        return data + b"JUNK" + (8).to_bytes(4, "little") + number.to_bytes(8, "little")
    return data + (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")


def flip(path: Path) -> None:
    """Change a byte in the middle of a file, as a bad disk does; times stay."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGES: dict[str, Callable[[Clip, Path], None]] = {
    "annotation gone": lambda clip, out: clip.annotation_path.unlink(),
    "annotation changed": lambda clip, out: flip(clip.annotation_path),
    "overlay gone": lambda clip, out: clip.overlay_path.unlink(),
    "overlay changed": lambda clip, out: flip(clip.overlay_path),
    "data set gone": lambda clip, out: (out / DATASET_NAME).unlink(),
    "data set changed": lambda clip, out: flip(out / DATASET_NAME),
}


clip_names = st.sampled_from(NAMES)


class Lifecycle(RuleBasedStateMachine):
    """An output root, its clips, and what may be done to them."""

    steps: ClassVar[int] = 0
    """Steps of all lives so far."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lifecycle-"))
        self.clips, self.out = self.folder / "set", self.folder / "out"
        self.known = Known()
        self.summary: DatasetSummary | None = None
        # The processes that killed runs are forked from, and what other tests have started.
        start_fork_server()
        self.others = {child.pid for child in psutil.Process().children()}
        self.clock, self.made = 1_700_000_000, 0
        self.patches = flows_without_prefect()
        self.patches.__enter__()

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.patches.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    # What people do to clips.

    def put(self, name: str, data: bytes, mtime: int | None = None) -> None:
        """Write a clip, with a time of change later than any before unless another is given."""
        self.clock += 10
        path = self.clips / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Moved into place: a file that is open for reading keeps its bytes.
        temporary = path.with_name(".copying")
        temporary.write_bytes(data)
        stamp = self.clock * 10**9 if mtime is None else mtime
        os.utime(temporary, ns=(stamp, stamp))
        temporary.rename(path)
        self.summary = None

    def new_clip(self, name: str, number: int) -> bytes:
        """Return a clip as no other is."""
        self.made += 1
        return numbered(contents(Path(name).suffix)[number], Path(name).suffix, self.made)

    def there(self) -> list[str]:
        """Return the clips that are there."""
        return [name for name in NAMES if (self.clips / name).exists()]

    @initialize()
    def begin(self) -> None:
        """Start with three clips and a run over them."""
        for name in NAMES[:3]:
            self.put(name, self.new_clip(name, 0))
        self.run("usual")

    @rule(name=clip_names, number=st.integers(0, 3))
    def add_or_replace(self, name: str, number: int) -> None:
        """Copy a clip into the folder, over one that may be there."""
        self.put(name, self.new_clip(name, number))
        self.known.sound.pop(name, None)

    @rule(name=clip_names, number=st.integers(0, 3))
    def replace_by_an_older_one(self, name: str, number: int) -> None:
        """Move a clip that is older than the one it replaces."""
        if name in self.there():
            self.put(name, self.new_clip(name, number), (1_600_000_000 + number) * 10**9)
            self.known.sound.pop(name, None)

    @rule(name=clip_names)
    def break_clip(self, name: str) -> None:
        """Overwrite a clip with what is no video."""
        if name in self.there() and name not in self.known.sound:
            path = self.clips / name
            self.known.sound[name] = path.read_bytes(), path.stat().st_mtime_ns
            self.put(name, b"broken")

    @rule(name=clip_names, old_time=st.booleans())
    def restore_clip(self, name: str, old_time: bool) -> None:
        """Put a broken clip back, as `cp` or as `cp -p` does."""
        if name in self.known.sound and name in self.there():
            data, mtime = self.known.sound.pop(name)
            self.put(name, data, mtime if old_time else None)

    @rule(name=clip_names)
    def remove(self, name: str) -> None:
        """Delete a clip, unless it is the last one."""
        if len(self.there()) > 1 and name in self.there():
            (self.clips / name).unlink()
            self.known.sound.pop(name, None)
            self.summary = None

    @rule(source=clip_names, goal=clip_names)
    def rename(self, source: str, goal: str) -> None:
        """Rename a clip, or move it to the folder of another label; times stay."""
        if source in self.there() and goal not in self.there() and Path(source).suffix == Path(goal).suffix:
            (self.clips / goal).parent.mkdir(exist_ok=True)
            (self.clips / source).rename(self.clips / goal)
            for table in (self.known.sound,):
                if source in table:
                    table[goal] = table.pop(source)
            self.summary = None

    # What they run.

    @rule(settings=st.sampled_from(sorted(SETTINGS)))
    def run(self, settings: str) -> None:
        """Annotate the folder."""
        summary = annotate_dataset.fn(self.clips, self.out, settings=SETTINGS[settings])
        assert isinstance(summary, DatasetSummary)
        self.summary = summary
        assert summary.problems == []
        self.check_run()

    @rule(settings=st.sampled_from(sorted(SETTINGS)), writes=st.integers(0, 120))
    def run_and_kill(self, settings: str, writes: int) -> None:
        """Annotate the folder, and be killed at a write."""
        self.summary = None
        if run_until_killed(self.clips, self.out, SETTINGS[settings], writes=writes):
            self.left_by_kills()

    @rule(settings=st.sampled_from(sorted(SETTINGS)), milliseconds=st.integers(0, 3000))
    def run_and_kill_at_any_time(self, settings: str, milliseconds: int) -> None:
        """Annotate the folder, and be killed wherever it is then."""
        self.summary = None
        if run_until_killed(self.clips, self.out, SETTINGS[settings], seconds=milliseconds / 1000):
            self.left_by_kills()

    def left_by_kills(self) -> None:
        """Let temporary files of killed runs become so old that the next run sweeps them."""
        old = time.time() - 2 * LEFT_OVER_SECONDS
        for path in self.out.rglob(f"{PARTIAL_MARK}*"):
            os.utime(path, (old, old))

    @precondition(lambda self: self.summary is not None)
    @rule(name=clip_names, excluded=st.booleans())
    def review(self, name: str, excluded: bool) -> None:
        """Exclude a clip from the data set, or take it back."""
        if name in self.there():
            append_change(self.out, self.named(name).frame_dir, "someone", SetExcluded(excluded=excluded))
            (self.known.excluded.add if excluded else self.known.excluded.discard)(self.named(name).frame_dir)

    @precondition(lambda self: self.summary is not None)
    @rule(name=clip_names, label=st.sampled_from([0, 1]))
    def relabel(self, name: str, label: int) -> None:
        """Say that a clip shows a fight, or none."""
        if name in self.there():
            append_change(self.out, self.named(name).frame_dir, "someone", SetLabel(label=label))

    @precondition(lambda self: self.summary is not None)
    @rule()
    def apply(self) -> None:
        """Apply the corrections."""
        report = apply_review(self.out)
        redraw_overlays(self.out, report)
        self.check_run()

    @rule(deep=st.booleans(), quarantine=st.booleans())
    def verify_and_fix(self, deep: bool, quarantine: bool) -> None:
        """Check the outputs and mend what is wrong."""
        report = verify_mapping_flow.fn(self.out, deep=deep, quarantine=quarantine, fix=True)
        assert isinstance(report, MappingReport)
        self.check_sides()

    @precondition(lambda self: self.summary is not None)
    @rule(name=clip_names, damage=st.sampled_from(sorted(DAMAGES)))
    def damage_and_mend(self, name: str, damage: str) -> None:
        """Damage an output of a finished clip: it is found, and mended."""
        listed = self.summary.results if self.summary else []
        if name not in {result.clip for result in listed if result.outcome != Outcome.FAILED}:
            return
        DAMAGES[damage](self.named(name), self.out)
        assert verify_mapping(self.out, deep=True).findings, f"not found: {damage}"
        verify_mapping_flow.fn(self.out, deep=True, quarantine=True, fix=True)
        self.nothing_is_left_to_find()
        self.check_sides()

    @precondition(lambda self: self.summary is not None)
    @rule()
    def verify(self) -> None:
        """Check the outputs thoroughly: after a run nothing is wrong."""
        assert self.unexpected() == []
        here = {self.named(name).frame_dir for name in self.there()}
        found = verify_mapping(self.out, deep=True).findings
        assert not here & {line.clip for line in found if line.kind == FindingKind.ORPHAN}

    # What must hold.

    @invariant()
    def count_step(self) -> None:
        """Count what was done: hypothesis calls this after every step."""
        Lifecycle.steps += 1

    def unexpected(self) -> list[Finding]:
        """Return what a thorough check finds after a complete run and should not.

        What was removed or renamed leaves its outputs, until somebody moves them away.
        """
        return [line for line in verify_mapping(self.out, deep=True).findings if line.kind != FindingKind.ORPHAN]

    def nothing_is_left_to_find(self) -> None:
        """Not even outputs of clips that are not there any more."""
        assert verify_mapping(self.out, deep=True).lines() == []

    def named(self, name: str) -> Clip:
        """Return the record of a clip."""
        return next(clip for clip in discover_clips(self.clips, self.out).clips if clip.relative == name)

    def check_run(self) -> None:
        """Hold the data set against what the run said."""
        assert self.summary is not None
        # What was removed or renamed leaves its outputs behind, until somebody moves them away.
        assert [line for line in self.summary.mapping_lines if "output without input" not in line] == []
        listed = {self.named(result.clip).frame_dir: result.outcome for result in self.summary.results}
        done = {name for name, outcome in listed.items() if outcome != Outcome.FAILED}
        failed = {failure.frame_dir for failure in current_failures(self.out)}
        assert not done & failed, "finished clips are listed as failed"
        data = read_annotation(self.out / DATASET_NAME)["annotations"]
        members = {annotation["frame_dir"] for annotation in data}
        out = self.known.excluded | {name for name in done if self.holds_exclusion(name)}
        assert members == done - out
        self.check_sides()
        with sole_run(self.out):
            pass
        # What kills left is old enough to be swept; nothing else leaves any.
        assert not list(self.out.rglob(f"{PARTIAL_MARK}*"))
        assert self.unexpected() == []
        # Decoders wait for the next clip, and nothing else is left.
        assert {child.pid for child in psutil.Process().children()} <= {*helper_processes(), *self.others}

    def holds_exclusion(self, frame_dir: str) -> bool:
        """Tell whether an annotation on disk is marked as excluded: taken back, perhaps, but not applied yet."""
        clip = next(clip for clip in discover_clips(self.clips, self.out).clips if clip.frame_dir == frame_dir)
        return is_excluded(read_annotation(clip.annotation_path)["annotations"][0])

    def check_sides(self) -> None:
        """No clip ever changes its side."""
        split = read_split(self.out / DATASET_NAME)
        for side, names in split.items():
            for name in names:
                assert self.known.sides.setdefault(name, side) == side, f"{name} went to {side}"
