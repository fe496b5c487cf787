"""Tables of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.runs.results import DatasetSummary

if TYPE_CHECKING:
    from flows.cli.doctor import Check
    from tasks.mapping.verify import MappingReport


def _table(*columns: str) -> Table:
    """Return a table in plain characters, which every terminal and log file shows."""
    table = Table(box=box.ASCII, header_style="")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_demo_table(summary: DatasetSummary) -> None:
    """Print clip, frames, people, the first two track IDs with scores, and seconds."""
    table = _table("clip", "frames", "people", "first two IDs (score)", "seconds")
    for result in summary.results:
        found = result.summary
        if found is None:
            reason = str(result.error.reason) if result.error else ""
            table.add_row(Text(result.clip), "", "", reason, f"{result.seconds:.1f}")
            continue
        top = ", ".join(f"{track_id} ({score:.2f})" for track_id, score in found.top)
        table.add_row(Text(result.clip), str(found.frames), str(found.people), top, f"{result.seconds:.1f}")
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
    table = _table("name", "licence", "on this machine", "score threshold", "input")
    for row in rows:
        cached = "yes" if row["cached"] else "fetched at first use"
        table.add_row(row["name"], row["licence"], cached, f"{row['score_thr']:g}", f"{row['long_side']} px")
    Console().print(table)


def print_findings(report: MappingReport) -> None:
    """Print what a check of an output folder found, a row for each finding; nothing where all is well."""
    if not report.findings:
        return
    table = _table("clip", "finding", "details")
    for row in report.rows():
        table.add_row(Text(row["clip"]), row["finding"], Text(row["details"]))
    Console().print(table)


def print_checks(checks: Sequence[Check]) -> None:
    """Print results of the self-check; nothing if there is none."""
    if not checks:
        return
    table = _table("check", "result", "what was found")
    for check in checks:
        table.add_row(check.name, "ok" if check.ok else "FAILED", Text(check.found))
    Console().print(table)
