"""What a person sees while clips are annotated: live bars in a terminal, plain lines elsewhere.

In a terminal there is one bar over the clips from the first second, and below it a line for each clip under way with
its step and share. Elsewhere (a log file, a pipe) there is a line per clip, and one a minute while clips take longer.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from flows.runs.plan import duration
from flows.runs.results import ClipResult, Outcome
from tasks.core import progress
from tasks.core.text import printable
from tasks.language import translated

LOG_SECONDS = 60.0
"""How often a log gets a line, however long a clip takes."""

FIRST_SHARE = 0.02
"""Share of the work after which the time left is worth saying; before, start-up is most of what was measured."""

NAME_WIDTH = 40
"""Characters of a clip's name in its line; the end of a path tells clips apart."""


def result_line(result: ClipResult) -> str:
    """Return one line that says what became of a clip."""
    if result.outcome == Outcome.FAILED and result.error is not None:
        return f"{result.clip}: failed: {result.error.info} [{result.error.reason}]"
    if result.summary is None:
        return f"{result.clip}: {result.outcome}"
    clip, frames, people = result.clip, result.summary.frames, result.summary.people
    # Whole sentences, which can be translated.
    if result.outcome == Outcome.UNCHANGED:
        return f"{clip}: unchanged, nothing to do ({frames} frames, {people} people)"
    seconds = f"{result.seconds:.1f}"
    if result.summary.extracted:
        return f"{clip}: {frames} frames, {people} people, {seconds} s"
    return f"{clip}: {frames} frames, {people} people, {seconds} s, poses taken from the store"


@dataclass(slots=True)
class _UnderWay:
    """How far a clip under way is."""

    step: str
    done: int
    total: int
    bar: TaskID | None = None

    @property
    def share(self) -> float:
        """Its share of its step's frames, at most 1; 0 where the number of frames is not known."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


class Pace:
    """How fast the run is, from the clips and frames done so far.

    Parameters
    ----------
    now
        The clock, seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._start: float | None = None
        self.frames = 0

    def begin(self) -> None:
        """Start the clock, unless it runs; the server's start is no work on clips."""
        if self._start is None:
            self._start = self._now()

    def words(self, clips: float, left: float) -> str:
        """Return rates and the time left; empty while there is nothing to say.

        Parameters
        ----------
        clips
            Clips done, those under way by their share.
        left
            Clips that are still to do, likewise.
        """
        seconds = self._now() - self._start if self._start is not None else 0.0
        if seconds <= 0 or clips <= 0:
            return ""
        rates = f"{_figure(3600 * clips / seconds)} clips/h"
        if self.frames:
            rates += f", {_figure(self.frames / seconds)} frames/s"
        # From the first clip on: before it, nobody knows how long one takes.
        return rates + (f", {duration(seconds * left / clips)} left" if clips >= 1 and left > 0 else "")


class Display:
    """Shows results and progress on standard error, so that standard output stays for results.

    Parameters
    ----------
    console
        Where to show; bars are drawn only on a terminal.
    quiet
        Show failures only.
    total
        Clips of the run, as far as they are known before it starts.
    now
        The clock, seconds.
    """

    def __init__(
        self, console: Console, quiet: bool = False, total: int = 0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._quiet = quiet
        self._now = now
        # Gone at the end: a line per clip and the outcome stay on the screen. No markup in the texts, as file names are
        # among them.
        self.bars = Progress(
            SpinnerColumn("line"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
            console=console,
            transient=True,
            get_time=now,
        )
        self._total = total
        self._clips: TaskID | None = None
        self._under_way: dict[str, _UnderWay] = {}
        # `_done` counts all clips, `_worked` those that took work: only they tell how fast the run is.
        self._done = self._worked = 0
        self._pace = Pace(now)
        self._last_line = now()
        # Progress comes from the thread that passes on what workers send, results from the main one.
        self._lock = threading.RLock()

    @property
    def live(self) -> bool:
        """Whether bars are drawn."""
        return self._console.is_terminal and not self._quiet

    def on_progress(self, event: progress.Progress) -> None:
        """Note how far a clip is, and show it."""
        with self._lock:
            self._pace.begin()
            clip = self._under_way.setdefault(event.clip, _UnderWay(event.step, 0, event.total))
            # Frames of the model's pass alone: those of the overlay would count each frame twice.
            if event.step == progress.POSES:
                self._pace.frames += max(event.done - clip.done, 0) if clip.step == event.step else event.done
            clip.step, clip.done, clip.total = event.step, event.done, event.total
            if self.live:
                self._draw(event.clip, clip)
            else:
                self._line_if_due()

    def on_result(self, result: ClipResult, total: int) -> None:
        """Count a clip and print its line."""
        with self._lock:
            self._total = total
            self._done += 1
            gone = self._under_way.pop(result.clip, None)
            if gone is not None and gone.bar is not None:
                self.bars.remove_task(gone.bar)
            # Clips that need no work end at once: counted in, they would promise a pace that no other clip keeps.
            if result.outcome != Outcome.UNCHANGED:
                self._pace.begin()
                self._worked += 1
            if self.live:
                self._draw_total()
            # Clips that need no work were counted in the plan; a line for each would push everything else away.
            if result.outcome == Outcome.FAILED or not (self._quiet or result.outcome == Outcome.UNCHANGED):
                self._print(f"[{self._done}/{self._total}] {translated(result_line(result))}")

    def on_line(self, line: str) -> None:
        """Print what a person should know of how the clips are run."""
        with self._lock:
            if not self._quiet:
                self._print(translated(line))

    def tick(self) -> None:
        """Print the line of the minute, if it is due."""
        with self._lock:
            if not self.live:
                self._line_if_due()

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Listen to this process's steps for the length of the block."""
        progress.listen(self.on_progress)
        end = threading.Event()

        def keep_time() -> None:
            """Look once a second whether a line is due."""
            while not end.wait(1.0):
                self.tick()

        # A thread, because a step may report nothing for minutes; a daemon, so that it never holds up the end.
        ticker = threading.Thread(target=keep_time, name="progress-lines", daemon=True)
        ticker.start()
        try:
            if self.live:
                with self.bars:
                    self._draw_total()
                    yield
            else:
                yield
        finally:
            # Also after an error: a later run of this process must not report to a display that is gone.
            progress.listen(None)
            end.set()
            ticker.join()

    def _line_if_due(self) -> None:
        """Print how far the run is, where nothing was printed for a minute."""
        if self._quiet or self._now() - self._last_line < LOG_SECONDS:
            return
        clips = [f"{name}: {clip.step} {_count(clip)}" for name, clip in self._under_way.items()]
        done = translated(f"{self._done} of {self._total} clips done")
        self._print(", ".join(filter(None, [done, self._words(), *clips])))

    def _print(self, line: str) -> None:
        """Print a line as plain text: a file name may hold what rich or the terminal would take for a command."""
        self._last_line = self._now()
        self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def _draw(self, name: str, clip: _UnderWay) -> None:
        """Show the line of a clip under way."""
        text = f"{printable(name)[-NAME_WIDTH:]}: {clip.step}"
        if clip.bar is None:
            clip.bar = self.bars.add_task(text, total=None, count="", pace="")
        # A total of None lets the bar pulse, where the header does not say how many frames there are.
        self.bars.update(clip.bar, description=text, completed=clip.done, total=clip.total or None, count=_count(clip))
        self._draw_total()

    def _draw_total(self) -> None:
        """Show the bar over the clips."""
        if self._clips is None:
            self._clips = self.bars.add_task("clips", total=None, count="", pace="")
        self.bars.update(
            self._clips,
            completed=self._done,
            total=self._total or None,
            count=f"{self._done}/{self._total or '?'}",
            pace=self._words(),
        )

    def _words(self) -> str:
        """Return how fast the run is."""
        # The overlay is a second pass over the frames: a clip in that step is at least half done.
        shares = sum(
            (0.5 * clip.share if clip.step == progress.POSES else 0.5 + 0.5 * clip.share)
            for clip in self._under_way.values()
        )
        return self._pace.words(self._worked + shares, max(self._total - self._done - shares, 0.0))


def _figure(value: float) -> str:
    """Return a number with three digits, or all of a larger one: a thousand is no 1e+03."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _count(clip: _UnderWay) -> str:
    """Return how many frames of a clip are done; what is not known is a question mark."""
    return f"{clip.done}/{clip.total or '?'}"


@contextmanager
def waiting(console: Console, text: str, quiet: bool) -> Iterator[None]:
    """Show for the length of the block that something is awaited: with seconds in a terminal, else as one line."""
    if quiet:
        yield
        return
    # A spinner is for terminals; a log file gets one line.
    if not console.is_terminal:
        console.print(translated(f"{text} (some seconds)"), markup=False)
        yield
        return
    columns = (SpinnerColumn("line"), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as spinner:
        spinner.add_task(text, total=None)
        yield


def error_console() -> Console:
    """Return the console on standard error."""
    # Lines are not wrapped, so that the paths in them can be copied whole.
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)
