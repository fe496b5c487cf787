"""What a person sees of a run."""

from __future__ import annotations

import io

from rich.console import Console

from flows.cli.progress import Display, result_line
from flows.runs.results import ClipResult, DatasetSummary, Outcome
from tasks.core.errors import ClipError, FailureReason
from tasks.core.progress import Progress, report
from tasks.mapping.summary import ClipSummary

FOUND = ClipSummary(58, 3, [(1, 0.8)], {}, True)
FAILED = ClipResult("[b].mp4", Outcome.FAILED, 0.1, error=ClipError(FailureReason.NO_TRACKS, "b.mp4", "nobody"))


def test_lines_say_what_became_of_a_clip():
    """One line each, without rich's markup."""
    assert result_line(ClipResult("a.mp4", Outcome.ANNOTATED, 2.13, FOUND)) == "a.mp4: 58 frames, 3 people, 2.1 s"
    assert "unchanged" in result_line(ClipResult("a.mp4", Outcome.UNCHANGED, 0, FOUND))
    assert result_line(FAILED) == "[b].mp4: failed: nobody [NO_TRACKS]"
    again = ClipSummary(58, 3, [(1, 0.8)], {}, False)
    assert result_line(ClipResult("a.mp4", Outcome.ANNOTATED, 1, again)).endswith("poses taken from the store")


def test_without_a_terminal_there_are_plain_lines_and_names_are_no_markup():
    """A log file holds no escape sequences, and `[b]` is a name and not bold."""
    stream = io.StringIO()
    display = Display(Console(file=stream, width=200))
    with display.showing():
        report(Progress("a.mp4", "poses", 8, 58))
        display.on_result(ClipResult("a.mp4", Outcome.ANNOTATED, 2.0, FOUND), 2)
        display.on_result(FAILED, 2)
    assert stream.getvalue().splitlines() == [
        "[1/2] a.mp4: 58 frames, 3 people, 2.0 s",
        "[2/2] [b].mp4: failed: nobody [NO_TRACKS]",
    ]


def test_quiet_shows_failures_only():
    """What went well is no news."""
    stream = io.StringIO()
    display = Display(Console(file=stream, width=200), quiet=True)
    display.on_line("Up to 2 worker processes")
    display.on_result(ClipResult("a.mp4", Outcome.ANNOTATED, 2.0, FOUND), 2)
    display.on_result(FAILED, 2)
    assert stream.getvalue().splitlines() == ["[2/2] [b].mp4: failed: nobody [NO_TRACKS]"]


def test_in_a_terminal_bars_count_clips_and_frames():
    """The bars name the clip and its frames."""
    stream = io.StringIO()
    display = Display(Console(file=stream, width=120, force_terminal=True))
    with display.showing():
        report(Progress("Fight/a.mp4", "poses", 8, 58))
        display.bars.refresh()
        display.on_result(ClipResult("Fight/a.mp4", Outcome.ANNOTATED, 2.0, FOUND), 2)
        display.bars.refresh()
    shown = stream.getvalue()
    assert "Fight/a.mp4: poses" in shown
    assert "8/58" in shown
    assert "1/2" in shown


def test_a_run_is_ok_only_if_every_clip_is():
    """Failures, folders that could not be read and a broken mapping all count."""
    good = ClipResult("a.mp4", Outcome.ANNOTATED, 1.0, FOUND)
    assert DatasetSummary([good]).ok
    assert not DatasetSummary([good, FAILED]).ok
    assert not DatasetSummary([good], problems=["folder: no permission"]).ok
    assert not DatasetSummary([good], mapping_ok=False).ok
    assert DatasetSummary([good, FAILED]).extracted == 1


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def frames(display: Display, stream: io.StringIO) -> str:
    """Return what the display shows now."""
    stream.truncate(stream.seek(0))
    display.bars.refresh()
    return stream.getvalue()


def test_a_run_over_three_clips_as_a_terminal_shows_it():
    """A bar over the clips from the first second, a line per clip under way, rates, later the time left."""
    stream, clock = io.StringIO(), Clock()
    display = Display(Console(file=stream, width=160, force_terminal=True), total=3, now=clock)
    with display.showing():
        assert "0/3" in frames(display, stream)
        report(Progress("Fight/a.mp4", "poses", 50, 100))
        clock.seconds = 10
        report(Progress("Fight/a.mp4", "poses", 100, 100))
        report(Progress("Fight/b.mkv", "poses", 7, 0))
        shown = frames(display, stream)
        assert "Fight/a.mp4: poses" in shown
        assert "100/100" in shown
        # How many frames a clip has is not always known.
        assert "7/?" in shown
        assert "10.7 frames/s" in shown
        # Nobody knows how long a clip takes before one is finished.
        assert "left" not in shown
        report(Progress("Fight/a.mp4", "overlay", 8, 100))
        assert "Fight/a.mp4: overlay" in frames(display, stream)
        clock.seconds = 20
        display.on_result(ClipResult("Fight/a.mp4", Outcome.ANNOTATED, 20.0, FOUND), 3)
        shown = frames(display, stream)
        assert "Fight/a.mp4" not in shown.split("clips")[0].split("people")[-1]
        assert "1/3" in shown
        assert "180 clips/h" in shown
        assert "40 s left" in shown


def test_clips_that_need_no_work_are_counted_and_not_listed():
    """The plan said how many those are, and they tell nothing about how fast the run is."""
    stream, clock = io.StringIO(), Clock()
    display = Display(Console(file=stream, width=200), total=281, now=clock)
    for number in range(280):
        display.on_result(ClipResult(f"{number}.mp4", Outcome.UNCHANGED, 0.0, FOUND), 281)
    assert stream.getvalue() == ""
    display.on_result(ClipResult("new.mp4", Outcome.ANNOTATED, 2.0, FOUND), 281)
    assert stream.getvalue() == "[281/281] new.mp4: 58 frames, 3 people, 2.0 s\n"


def test_a_log_gets_a_line_a_minute():
    """Also while a step reports nothing; not if quiet, and not where something else was printed."""
    stream, clock = io.StringIO(), Clock()
    display = Display(Console(file=stream, width=200), total=2, now=clock)
    display.on_progress(Progress("a.mp4", "poses", 100, 3000))
    clock.seconds = 59
    display.tick()
    assert stream.getvalue() == ""
    clock.seconds = 60
    display.tick()
    assert stream.getvalue() == ("0 of 2 clips done, 1 clips/h, 1.67 frames/s, a.mp4: poses 100/3000\n")
    clock.seconds = 119
    display.tick()
    assert stream.getvalue().count("\n") == 1


def test_a_file_name_cannot_command_the_terminal():
    """What is not printable is shown as an escape."""
    stream = io.StringIO()
    display = Display(Console(file=stream, width=200))
    display.on_result(ClipResult("a\x1b[2J.mp4", Outcome.ANNOTATED, 2.0, FOUND), 1)
    assert stream.getvalue().startswith("[1/1] a\\x1b[2J.mp4: 58 frames")
