"""Commands around the review page: serve it, apply its corrections, learn from them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import OutputRoot
from flows.cli.output import AsJson, Output, Quiet


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("review")(review)
    app.command("apply-review")(apply_review)
    app.command("review-stats")(review_stats)


def review(
    output_root: OutputRoot,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    name: Annotated[str | None, typer.Option(help="Who corrects.", show_default="your login name")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Serve the review page of an output folder on this machine, until Ctrl-C."""
    from flows.cli.review_serve import serve

    serve(output_root, port, name, Output(as_json, quiet))


def apply_review(
    output_root: OutputRoot,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rewrite annotations, dataset.pkl and overlays from the corrections; exit code 1 if some do not fit."""
    from tasks.report.write import printable
    from tasks.review.apply import apply_review
    from tasks.review.overlays import redraw_overlays

    output = Output(as_json, quiet)
    report = apply_review(output_root)
    redraw_overlays(
        output_root, report, lambda done, total: output.progress(f"Drawing overlay {done + 1} of {total} anew")
    )
    wrong = [printable(f"{clip}: {problem}") for clip, problem in report.problems]
    output.tell(asdict(report), map(printable, report.lines()), wrong)
    raise typer.Exit(1 if report.problems else 0)


def review_stats(
    output_root: OutputRoot,
    calibrate: Annotated[
        Path | None, typer.Option(help="Refit the composite weights and write them to this .json or .toml file.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare the corrections with the automatic ranking."""
    from flows.cli.review_report import print_stats

    print_stats(output_root, calibrate, Output(as_json, quiet))
