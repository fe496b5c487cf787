"""Commands around the review page: serve it, apply its corrections, learn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_options import OutputRoot


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("review")(review)
    app.command("apply-review")(apply_review)
    app.command("review-stats")(review_stats)


def review(
    output_root: OutputRoot,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    name: Annotated[str | None, typer.Option(help="Who corrects.", show_default="your login name")] = None,
) -> None:
    """Serve the review page of an output folder on this machine, until Ctrl-C."""
    from flows.review_serve import serve

    serve(output_root, port, name)


def apply_review(
    output_root: OutputRoot,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Rewrite annotations and dataset.pkl from the corrections; exit code 1 if some do not fit."""
    from tasks.report import printable
    from tasks.review_folder import apply_review

    report = apply_review(output_root)
    for line in [report.to_json()] if as_json else map(printable, report.lines()):
        typer.echo(line)
    raise typer.Exit(1 if report.problems else 0)


def review_stats(
    output_root: OutputRoot,
    calibrate: Annotated[
        Path | None, typer.Option(help="Refit the composite weights and write them to this .json or .toml file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Compare the corrections with the automatic ranking."""
    from flows.review_report import print_stats

    print_stats(output_root, calibrate, as_json)
