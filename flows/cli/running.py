"""What starts and ends a run from the command line.

What is to be done is known and printed before a server is started; a request that cannot be carried out ends there,
with one line. A run that has nothing to do needs no server at all.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from flows.cli.output import Output
from tasks.core.choices import FailOn, Mode, Tracker
from tasks.core.errors import FightposeError
from tasks.core.text import counted
from tasks.language import translated

if TYPE_CHECKING:
    from rich.console import Console

    from flows.runs.plan import Plan
    from flows.runs.results import DatasetSummary
    from tasks.core.settings import Settings

MOST_LINES = 10
"""Findings, warnings or failures that the end of a run lists; the rest is counted, and one command shows them all."""

STOPPED = "stopped; run the same command again to go on where it ended"


@dataclass(frozen=True, slots=True)
class Work:
    """What a command asks to be annotated.

    Attributes
    ----------
    input, output_root
        Folder of clips or one clip, and where outputs go.
    settings
        Settings of the run.
    mode, num_workers, in_flight, demo_count
        As in `flows.annotate_dataset`.
    """

    input: Path
    output_root: Path
    settings: Settings
    mode: Mode = Mode.SINGLE
    num_workers: int | None = None
    in_flight: int = 20
    demo_count: int = 10


def run_work(work: Work, output: Output, fail_on: FailOn, fail_share: float, dry_run: bool = False) -> None:
    """Carry out what `annotate` asks for, and end the command with its exit code."""
    if dry_run:
        _tell_plan(_planned(work), output)
        return
    summary = run_clips(work, output)
    tell_outcome(summary, work.output_root, output)
    raise typer.Exit(exit_code(summary, fail_on, fail_share))


def run_clips(work: Work, output: Output) -> DatasetSummary:
    """Annotate the clips of a folder and show the progress; without a server where there is nothing to do."""
    from flows.runs.conclusion import end_without_work
    from tasks.core.storage import require_writable

    # Before the output folder is touched: a request that cannot be carried out leaves nothing behind.
    plan = _planned(work)
    require_writable(work.output_root)
    _say(_plan_line(plan, work), output)
    if not plan.waiting:
        # No server and no Prefect: both take longer to start than there is anything to do.
        return end_without_work(plan, work.output_root, work.settings)

    def run() -> DatasetSummary:
        """Run the flow; imported here, because it takes Prefect with it."""
        from flows.annotate_dataset import annotate_dataset

        summary = annotate_dataset(
            work.input,
            work.output_root,
            work.mode,
            work.settings,
            work.num_workers,
            work.demo_count,
            work.in_flight,
        )
        # With its `fail_on` left at none, the flow returns a summary and never a failed state.
        return cast("DatasetSummary", summary)

    return with_server(run, output, len(plan.clips), needs_server=work.mode == Mode.POOL)


def run_again(
    output_root: Path,
    settings: Settings | None,
    mode: Mode,
    num_workers: int | None,
    in_flight: int,
    output: Output,
    clips: list[str] | None = None,
) -> DatasetSummary:
    """Annotate failed clips again, or those named, and show the progress."""

    def run() -> DatasetSummary:
        """Run the flow; imported here, because it takes Prefect with it."""
        from flows.retry_failed import retry_failed

        summary = retry_failed(output_root, mode, settings, num_workers, in_flight, clips=clips)
        return cast("DatasetSummary", summary)

    return with_server(run, output, len(clips or ()), needs_server=mode == Mode.POOL)


def require_input(input: Path) -> None:
    """Refuse an input that is not there before anything is started."""
    if not input.exists():
        raise FightposeError(f"input {input} does not exist; give a folder of clips or one clip")


def exit_code(summary: DatasetSummary, fail_on: FailOn, fail_share: float) -> int:
    """Return 1 if something is wrong, failed clips only as far as the user says so."""
    # Input that cannot be read and a mapping that is not in order count whatever --fail-on says.
    wrong = summary.problems or not summary.mapping_ok
    return int(bool(wrong) or summary.too_many_failed(fail_on, fail_share))


def tell_outcome(summary: DatasetSummary, output_root: Path, output: Output, picture: Path | None = None) -> None:
    """Tell what became of a run, where things are, and what to do next."""
    from flows.runs.results import Outcome
    from tasks.review.apply import waiting_corrections

    # A clip that was annotated again lacks its corrections until they are applied once more.
    waiting = waiting_corrections(output_root)
    counts = ", ".join(f"{summary.count(outcome)} {outcome}" for outcome in Outcome)
    lines = [f"{counted(len(summary.results), 'clip')}: {counts}; pose extraction run for {summary.extracted}."]
    # Of a clip that failed nothing is known: the model may have run for it.
    if not summary.extracted and summary.results and not summary.count(Outcome.FAILED):
        lines.append("No pose extraction was needed: nothing is done twice.")
    lines += _failure_lines(summary, output_root)
    if waiting:
        lines.append(
            f"{counted(len(waiting), 'clip')} with corrections that are not applied: "
            f"fightpose apply-review {output_root}"
        )
    lines.append("Mapping: verified" if summary.mapping_ok else "Mapping: NOT in order, see above")
    lines.append(f"Outputs: {output_root}")
    lines += _next_steps(summary, output_root)
    value = summary.to_value() | {"waiting_corrections": waiting, "output_root": output_root}
    if picture is not None:
        lines.append(f"Picture: {picture}")
        value["picture"] = picture
    output.tell(value, lines, _wrong_lines(summary, output_root))


def _wrong_lines(summary: DatasetSummary, output_root: Path) -> list[str]:
    """Return what is wrong, each kind cut after its first lines."""
    return [
        *_first(summary.problems, f"places of the input; {output_root} has the log"),
        *_first(summary.mapping_lines, f"fightpose verify {output_root}"),
        *_first([f"warning: {line}" for line in summary.warnings], "of the same kinds"),
    ]


def _first(lines: Sequence[str], rest: str) -> list[str]:
    """Return the first lines, and how many more there are and where."""
    left = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"{left} more: {rest}"] if left > 0 else [])]


def _failure_lines(summary: DatasetSummary, output_root: Path) -> list[str]:
    """Return why clips failed, by reason, and how to go on with them; nothing where none did."""
    from tasks.clips.failures import TEXT_LOG

    reasons = Counter(str(result.error.reason) for result in summary.results if result.error is not None)
    if not reasons:
        return []
    counts = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    return [
        f"Failed: {counts}; what to do about each: {output_root / TEXT_LOG}",
        f"After that: fightpose retry-failed {output_root}",
    ]


def _next_steps(summary: DatasetSummary, output_root: Path) -> list[str]:
    """Return what people do next with outputs; nothing where there are none."""
    from flows.runs.results import Outcome

    # Where every clip failed there is nothing to look at.
    if len(summary.results) == summary.count(Outcome.FAILED):
        return []
    return [f"Report: {output_root / 'analysis.html'}", f"Look and correct: fightpose review {output_root}"]


def _planned(work: Work) -> Plan:
    """Return what is to be done; refuse here what could not be carried out, before anything is written or started."""
    from flows.runs.plan import plan_run
    from tasks.poses.models import require_runnable

    require_input(work.input)
    # Of a pool, the machines that run the clips have to be able to, and not this one.
    require_runnable(work.settings.poses, runs_here=work.mode != Mode.POOL)
    if work.mode == Mode.POOL:
        from flows.prefect_server.server import prepare_environment, require_named_server

        # Before Prefect is imported, which reading its profiles does.
        prepare_environment(console_level="CRITICAL")
        require_named_server()
    elif work.settings.tracking.tracker != Tracker.FIGHTPOSE:
        # Imported only then: the trackers take scipy along, which needs a second.
        from tasks.tracking.baselines import require_tracker

        require_tracker(work.settings.tracking.tracker)
    return plan_run(work.input, work.output_root, work.settings, work.mode, work.demo_count)


def _plan_line(plan: Plan, work: Work) -> str:
    """Return in one line what is to be done."""
    from flows.runs.plan import work_words

    # An estimate: memory may allow fewer workers, and the machines of a pool are not known here.
    workers = (work.num_workers or len(os.sched_getaffinity(0))) if work.mode == Mode.PARALLEL else 1
    return work_words(len(plan.clips), len(plan.waiting), plan.seconds(workers))


def _tell_plan(plan: Plan, output: Output) -> None:
    """Tell what a run would do."""
    from flows.runs.plan import work_words

    value = {
        "clips": len(plan.clips),
        "finished": len(plan.finished),
        "to_do": [clip.relative for clip in plan.waiting],
        "seconds": plan.seconds(),
        "problems": plan.problems,
        "warnings": plan.warnings,
    }
    names = _first([clip.relative for clip in plan.waiting], "fightpose annotate ... --dry-run --json lists all")
    lines = [work_words(len(plan.clips), len(plan.waiting), plan.seconds()), *names, "Nothing was done (--dry-run)."]
    output.tell(value, lines, [*plan.problems, *(f"warning: {line}" for line in plan.warnings)])


def _say(line: str, output: Output) -> None:
    """Print a line about what is going on, to standard error: results alone go to standard output."""
    if not output.quiet:
        typer.echo(translated(line), err=True)


def with_server(run: Callable[[], DatasetSummary], output: Output, total: int, needs_server: bool) -> DatasetSummary:
    """Run a flow over clips against the user's Prefect server, or a temporary one, and show its progress."""
    from flows.cli.progress import Display, error_console
    from flows.prefect_server.server import prepare_environment, require_named_server

    console = error_console()
    # The display shows what a person needs; Prefect's own lines go to the API, and its worst ones to the console.
    prepare_environment(console_level="CRITICAL")
    if needs_server:
        require_named_server()
    started = False
    try:
        with ExitStack() as stack:
            on_results = _start(stack, console, output.quiet)
            started = True
            display = Display(console, output.quiet, total)
            on_results(display.on_result, display.on_line)
            # A later run of this process must not report to this display.
            stack.callback(on_results, None)
            with display.showing():
                return run()
    except KeyboardInterrupt as error:
        # Not by the console: an interrupt in the middle of its own printing can leave it holding back all that follows.
        typer.echo(translated(STOPPED), err=True)
        if not started:
            # Nothing ran yet, so nothing has to be told to a server; Prefect's threads would hold the process up.
            sys.stderr.flush()
            os._exit(130)
        raise typer.Exit(130) from error


def _start(stack: ExitStack, console: Console, quiet: bool) -> Callable[..., None]:
    """Start what the flows need, and return the function that sets who hears of results."""
    from flows.cli.progress import waiting
    from flows.prefect_server.server import prefect_api

    def load() -> None:
        """Load the flows, and Prefect with them, while the server starts."""
        import flows.annotate_dataset  # noqa: F401 - for its own sake

    with waiting(console, translated("Starting the run: loading Prefect and its server"), quiet):
        # Side by side: the server and the imports take seconds each.
        stack.enter_context(prefect_api(load))
        from flows.annotate_dataset import on_results
    return on_results
