"""A run as people see it, second by second: text frames of a terminal, and the lines of a log."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from rich.console import Console

from flows.cli.main import main
from flows.cli.progress import Display
from flows.runs.results import ClipResult, Outcome
from tasks.core.errors import ClipError, FailureReason
from tasks.core.progress import Progress, report
from tasks.mapping.summary import ClipSummary
from tests.flows.cli.recorded import compare

WIDTH = 150
CLIPS = [f"{'Fight' if number % 2 else 'NonFight'}/{number:02d}.mp4" for number in range(1, 13)]
FOUND = ClipSummary(100, 3, [(1, 0.8)], {}, True)


class Recorder(Console):
    """A console that keeps the lines that stay on the screen, apart from bars that are drawn over."""

    def __init__(self, **options: Any) -> None:
        super().__init__(file=io.StringIO(), width=WIDTH, **options)
        self.kept: list[str] = []

    def print(self, *objects: Any, **options: Any) -> None:
        """Keep what is printed as text."""
        self.kept += [line for line in objects if isinstance(line, str)]
        super().print(*objects, **options)


class Screen:
    """A display with a clock that only the test moves."""

    def __init__(self, terminal: bool) -> None:
        self.seconds = 0.0
        self.console = Recorder(force_terminal=terminal)
        self.display = Display(self.console, total=len(CLIPS), now=self.now)
        self.frames: list[str] = []

    def now(self) -> float:
        """Return the time; for the display's own thread it stands still, so that the test alone makes lines due."""
        return self.seconds if threading.current_thread() is threading.main_thread() else 0.0

    def at(self, seconds: float, *events: Progress | ClipResult) -> None:
        """Let events happen at a moment, and keep what is shown then."""
        self.seconds = seconds
        for event in events:
            if isinstance(event, Progress):
                report(event)
            else:
                self.display.on_result(event, len(CLIPS))
        self.display.tick()
        lines = self.console.kept
        if self.display.live:
            # Drawn on a console of its own, without the sequences that move the cursor.
            bare = Console(file=io.StringIO(), width=WIDTH)
            bare.print(self.display.bars.get_renderable())
            lines = [*lines, *(line.rstrip() for line in bare.file.getvalue().splitlines())]
        self.frames.append("\n".join([f"== {seconds:g} s", *lines]))
        # Lines that stay are shown once, when they appear.
        self.console.kept = []


def annotated(clip: int, seconds: float) -> ClipResult:
    """Return the result of a clip that went well."""
    return ClipResult(CLIPS[clip], Outcome.ANNOTATED, seconds, FOUND)


def run_of_twelve_clips(screen: Screen) -> str:
    """Play a run: two workers, one clip of unknown length, one failure, a slow clip, and two finished before."""
    failure = ClipError(FailureReason.NO_TRACKS, CLIPS[4], "nobody was found")
    with screen.display.showing():
        screen.at(0)
        screen.at(0, *(ClipResult(clip, Outcome.UNCHANGED, 0.0, FOUND) for clip in CLIPS[:2]))
        screen.at(2, Progress(CLIPS[2], "poses", 8, 100), Progress(CLIPS[3], "poses", 16, 0))
        screen.at(8, Progress(CLIPS[2], "poses", 100, 100), Progress(CLIPS[3], "poses", 90, 0))
        screen.at(9, Progress(CLIPS[2], "overlay", 40, 100))
        screen.at(10, annotated(2, 10.0), Progress(CLIPS[4], "poses", 8, 100))
        screen.at(12, annotated(3, 12.0), ClipResult(CLIPS[4], Outcome.FAILED, 2.0, error=failure))
        screen.at(80, Progress(CLIPS[5], "poses", 50, 100))
        screen.at(145, Progress(CLIPS[5], "poses", 90, 100))
        screen.at(150, annotated(5, 138.0), *(annotated(number, 6.0) for number in range(6, 11)))
        screen.at(156, Progress(CLIPS[11], "overlay", 100, 100))
        screen.at(157, annotated(11, 7.0))
    return "\n".join(screen.frames) + "\n"


@pytest.mark.parametrize(("terminal", "name"), [(True, "twelve_clips_terminal.txt"), (False, "twelve_clips_log.txt")])
def test_a_run_over_twelve_clips(terminal, name):
    """Bars from the first second in a terminal; in a log a line per clip and one a minute."""
    compare(name, run_of_twelve_clips(Screen(terminal)))


def test_a_run_with_nothing_to_do(earlier, stand_in, monkeypatch, capsys):
    """Without a server: the plan, and what there is to do next."""
    monkeypatch.setattr("flows.cli.running.with_server", lambda *arguments, **named: pytest.fail("a server is started"))
    arguments = [str(earlier / "clips"), "--output-root", str(earlier / "out")]
    # As the run was made whose outputs these are.
    arguments += ["--max-persons", "4", "--exclude", "empty.mp4"]
    monkeypatch.setattr("sys.argv", ["fightpose", "annotate", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    shown = capsys.readouterr()
    text = f"== standard error\n{shown.err}== standard output\n{shown.out}".replace(str(earlier), "/data")
    compare("nothing_to_do.txt", text)
