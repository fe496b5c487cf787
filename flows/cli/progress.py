"""What a person sees while clips are annotated: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flows.runs.results import ClipResult, Outcome
from tasks.core import progress


def result_line(result: ClipResult) -> str:
    """Return one line that says what became of a clip."""
    if result.outcome == Outcome.FAILED and result.error is not None:
        return f"{result.clip}: failed: {result.error.info} [{result.error.reason}]"
    if result.summary is None:
        return f"{result.clip}: {result.outcome}"
    found = f"{result.summary.frames} frames, {result.summary.people} people"
    if result.outcome == Outcome.UNCHANGED:
        return f"{result.clip}: unchanged, nothing to do ({found})"
    stored = "" if result.summary.extracted else ", poses taken from the store"
    return f"{result.clip}: {found}, {result.seconds:.1f} s{stored}"


class Display:
    """Shows results and progress on standard error, so that standard output stays for results.

    Parameters
    ----------
    console
        Where to show; bars are drawn only on a terminal.
    quiet
        Show failures only.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._bars = Progress(
            TextColumn("{task.description}", table_column=None),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._clips: TaskID | None = None
        self._frames: dict[str, TaskID] = {}
        self._done = 0
        self._start = time.monotonic()

    @property
    def live(self) -> bool:
        """Whether bars are drawn."""
        return self._console.is_terminal and not self._quiet

    def on_progress(self, event: progress.Progress) -> None:
        """Move the frame bar of a clip."""
        if not self.live:
            return
        if event.clip not in self._frames:
            self._frames[event.clip] = self._bars.add_task(
                f"{event.clip[-40:]}: {event.step}", total=event.total or None
            )
        self._bars.update(self._frames[event.clip], completed=event.done)

    def on_result(self, result: ClipResult, total: int) -> None:
        """Count a clip and print its line."""
        self._done += 1
        if bar := self._frames.pop(result.clip, None):
            self._bars.remove_task(bar)
        if self.live:
            if self._clips is None:
                self._clips = self._bars.add_task("clips", total=total)
            self._bars.update(self._clips, completed=self._done)
        if result.outcome == Outcome.FAILED or not self._quiet:
            # Printed as plain text: a file name may hold what rich would take for markup.
            self._console.print(
                f"[{self._done}/{total}] {result_line(result)}", markup=False, highlight=False, soft_wrap=True
            )

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Listen to this process's steps for the length of the block."""
        progress.listen(self.on_progress)
        try:
            if self.live:
                with self._bars:
                    yield
            else:
                yield
        finally:
            progress.listen(None)


def error_console() -> Console:
    """Return the console on standard error."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)
