"""How every command speaks: text for people, or one JSON value; or, if quiet, only what is wrong.

Results go to standard output, progress and errors to standard error; a server's result is its address, which it prints
if quiet, too. The exit code tells the outcome in each form.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.core.text import printable
from tasks.language import translated

if TYPE_CHECKING:
    from rich.table import Table

    from flows.cli.doctor import Check
    from flows.runs.results import DatasetSummary
    from tasks.mapping.findings import MappingReport

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value in place of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only what is wrong; with --json, no progress.")]


@dataclass(frozen=True, slots=True)
class Output:
    """The form that a command's result takes.

    Attributes
    ----------
    as_json
        One JSON value in place of text.
    quiet
        Of text, what is wrong only.
    """

    as_json: bool = False
    quiet: bool = False

    def tell(self, value: Any, lines: Iterable[str], wrong: Iterable[str] = ()) -> None:
        """Print a command's result.

        Parameters
        ----------
        value
            The result as plain values, for JSON.
        lines
            The result as text, each without a line break.
        wrong
            What in it is wrong, likewise; printed before the rest, and if quiet alone.
        """
        if self.as_json:
            # ASCII, as a file name may hold bytes that are no UTF-8; `str` for paths.
            typer.echo(json.dumps(value, indent=1, default=str))
            return
        # Here, for all commands: a file's name may hold what a terminal takes for a command.
        for line in [*wrong, *([] if self.quiet else lines)]:
            typer.echo(printable(translated(line)))

    def progress(self, line: str) -> None:
        """Say what is going on."""
        if not self.quiet:
            # With --json, standard output holds the one value alone.
            typer.echo(printable(translated(line)), err=self.as_json)


def finding_lines(report: MappingReport, most: int | None = None) -> list[str]:
    """Return what a check found: one line per finding, the sums by kind, and what to do about it.

    Parameters
    ----------
    report
        Of the check.
    most
        How many findings to list; None lists all.
    """
    if not report.findings:
        return []
    lines = report.lines()
    listed = lines if most is None else lines[:most]
    if len(listed) < len(lines):
        listed.append(f"{len(lines) - len(listed)} more: fightpose verify {report.output_root}")
    kinds = Counter(str(finding.kind) for finding in report.findings)
    # A sum says nothing new about a single finding.
    sums = [f"{count} x {kind}" for kind, count in kinds.most_common()] if len(lines) > 1 else []
    return [*listed, *sums, f"To mend them: fightpose verify {report.output_root} --quarantine --fix"]


def _table(*columns: str) -> Table:
    """Return a table in plain characters, which every terminal and log file shows."""
    # rich takes a tenth of a second to load, which commands without a table need not spend.
    from rich import box
    from rich.table import Table

    table = Table(box=box.ASCII, header_style="")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_demo_table(summary: DatasetSummary) -> None:
    """Print clip, frames, people, the first two track IDs with scores, and seconds."""
    from rich.console import Console
    from rich.text import Text

    table = _table(
        translated("clip"),
        translated("frames"),
        translated("people"),
        translated("first two IDs (score)"),
        translated("seconds"),
    )
    # Names as `Text`: rich would take brackets in them for markup.
    for result in summary.results:
        found = result.summary
        if found is None:
            reason = str(result.error.reason) if result.error else ""
            table.add_row(Text(printable(result.clip)), "", "", reason, f"{result.seconds:.1f}")
            continue
        top = ", ".join(f"{track_id} ({score:.2f})" for track_id, score in found.top)
        table.add_row(Text(printable(result.clip)), str(found.frames), str(found.people), top, f"{result.seconds:.1f}")
    Console().print(table)


def model_rows() -> list[dict[str, Any]]:
    """Return the model table as plain values."""
    from tasks.poses.models import MODELS

    return [
        {
            "name": entry.name,
            "licence": entry.licence,
            "cached": entry.cached,
            "score_thr": entry.thresholds.score_thr,
            "long_side": entry.long_side,
        }
        for entry in MODELS.values()
    ]


def print_models(rows: Sequence[dict[str, Any]]) -> None:
    """Print the model table."""
    from rich.console import Console

    table = _table("name", "licence", "on this machine", "score threshold", "input")
    for row in rows:
        cached = "yes" if row["cached"] else "fetched at first use"
        table.add_row(row["name"], row["licence"], cached, f"{row['score_thr']:g}", f"{row['long_side']} px")
    Console().print(table)


def print_checks(checks: Sequence[Check]) -> None:
    """Print results of the self-check; nothing if there is none."""
    from rich.console import Console
    from rich.text import Text

    if not checks:
        return
    table = _table("check", "result", "what was found")
    # Messages as `Text`: rich would take brackets in them for markup.
    for check in checks:
        table.add_row(check.name, "ok" if check.ok else "FAILED", Text(printable(translated(check.found))))
    Console().print(table)


def tell_files(paths: Iterable[object], output: Output) -> None:
    """Tell which files were written."""
    written = [str(path) for path in paths]
    output.tell({"files": written}, [f"Written: {path}" for path in written])
