"""What a person sees of a run."""

from __future__ import annotations

import io

from rich.console import Console

from flows.cli.progress import Display, result_line
from flows.runs.results import ClipResult, DatasetSummary, Outcome
from tasks.core.errors import ClipError, FailureReason
from tasks.core.progress import Progress, report
from tasks.mapping.receipts import ClipSummary

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
    display.on_result(ClipResult("a.mp4", Outcome.ANNOTATED, 2.0, FOUND), 2)
    display.on_result(FAILED, 2)
    assert stream.getvalue().splitlines() == ["[2/2] [b].mp4: failed: nobody [NO_TRACKS]"]


def test_in_a_terminal_bars_count_clips_and_frames():
    """The bars name the clip and its frames."""
    stream = io.StringIO()
    display = Display(Console(file=stream, width=120, force_terminal=True))
    with display.showing():
        report(Progress("Fight/a.mp4", "poses", 8, 58))
        display._bars.refresh()
        display.on_result(ClipResult("Fight/a.mp4", Outcome.ANNOTATED, 2.0, FOUND), 2)
        display._bars.refresh()
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
