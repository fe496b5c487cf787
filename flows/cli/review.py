"""Commands around the review page: serve it, apply its corrections, learn from them."""

from __future__ import annotations

import getpass
import math
import secrets
import socket
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import OutputRoot
from flows.cli.output import AsJson, Output, Quiet
from tasks.core.errors import FightposeError

if TYPE_CHECKING:
    from tasks.review.stats import Calibration, ReviewStats


HOST = "127.0.0.1"
"""Nothing but this machine: footage of people must not be shown to a network by mistake."""


def review(
    output_root: OutputRoot,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    name: Annotated[str | None, typer.Option(help="Who corrects.", show_default="your login name")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Serve the review page of an output folder on this machine, until Ctrl-C."""
    serve(output_root, port, name, Output(as_json, quiet))


def apply_review(
    output_root: OutputRoot,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rewrite annotations, dataset.pkl and overlays from the corrections; exit code 1 if some do not fit."""
    from tasks.review.apply import apply_review
    from tasks.review.overlays import redraw_overlays

    output = Output(as_json, quiet)
    report = apply_review(output_root)
    # After the annotations, which overlays are drawn from; those that fail are added to the report's problems.
    redraw_overlays(
        output_root, report, lambda done, total: output.progress(f"Drawing overlay {done + 1} of {total} again")
    )
    wrong = [f"{clip}: {problem}" for clip, problem in report.problems]
    output.tell(asdict(report), report.lines(), wrong)
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
    print_stats(output_root, calibrate, Output(as_json, quiet))


def tune(
    output_root: OutputRoot,
    write: Annotated[
        Path | None, typer.Option(help="Settings file to write.", show_default="tuned_settings.json in the folder")
    ] = None,
    num_workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes that share the clips.")] = 2,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Choose settings from reviewed clips."""
    from tasks.tuning.page import write_page
    from tasks.tuning.tune import SETTINGS_NAME, tune, write_settings

    output = Output(as_json, quiet)
    found = tune(output_root, num_workers, lambda done, total: output.progress(f"Measured {done} of {total} clips"))
    page = write_page(found, output_root)
    lines = [*found.lines(), f"Report: {page}"]
    target = write or output_root / SETTINGS_NAME
    # Nothing is written where the settings in use are to be kept.
    if found.settings():
        write_settings(target, found.settings())
        lines.append(f"Written to {target}; use it with: fightpose annotate ... --settings {target}")
    output.tell(found.value() | {"page": str(page)}, lines)


def serve(output_root: Path, port: int, who: str | None, output: Output) -> None:
    """Serve the review page of an output root, and print its address.

    Parameters
    ----------
    output_root
        The output root.
    port
        TCP port; 0 for any that is free.
    who
        Name that corrections are signed with; the login name if None.
    output
        How the address is printed.

    Raises
    ------
    FightposeError
        If the folder holds nothing to review, or the port is taken.
    """
    import uvicorn

    from flows.review.app import address, create_app
    from flows.review.connections import ImpatientProtocol
    from flows.review.service import ReviewService

    service = ReviewService(output_root, who or _login())
    # Bound before there is a server: the address that is printed has to hold the port that was found free.
    with _listening(port) as listener:
        host = f"{HOST}:{listener.getsockname()[1]}"
        # 24 random bytes, new for each page: an address in an old history opens nothing.
        token = secrets.token_urlsafe(24)
        app = create_app(service, token, host)
        # Server and date tell nothing that anybody needs; requests are not logged, as they would fill the terminal.
        config = uvicorn.Config(
            app, http=ImpatientProtocol, log_level="warning", access_log=False, server_header=False, lifespan="off"
        )
        url = address(host, token)
        # If quiet, too: without the address nobody gets in.
        Output(output.as_json).tell({"url": url}, [f"Review page: {url}"])
        output.progress("Open it in a browser on this machine; Ctrl-C ends it.")
        # Only now: reading thousands of annotations must not hold up the address.
        service.start()
        try:
            # Ctrl-C is the way to end it, not an accident. uvicorn closes everything first and then raises the signal
            # again, which ends in this exception most times, and at times in nothing.
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
            output.progress("Closed. Corrections are kept; 'fightpose apply-review' puts them into effect.")
        finally:
            service.stop()


def _listening(port: int) -> socket.socket:
    """Return a socket bound to the port, so that the address is known before it is printed."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A port of a page that was just closed can be taken again at once.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        # A browser that is quicker than the server waits instead of being refused.
        listener.listen()
    except OSError as error:
        listener.close()
        raise FightposeError(f"port {port} cannot be used: {error.strerror}; choose another --port") from error
    return listener


def _login() -> str:
    """Return the login name, or a word where the system has none for this user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number that no user has.
        return "reviewer"


def print_stats(output_root: Path, weights_file: Path | None, output: Output) -> None:
    """Print what the corrections say, and refit the composite weights to them where a file for them is named."""
    from tasks.core.settings.file import write_weights
    from tasks.review.stats import calibrate, read_stats

    stats = read_stats(output_root)
    fitted = None
    if weights_file is not None:
        fitted = calibrate(stats.reviewed)
        write_weights(weights_file, fitted.weights)
    lines = stats.lines()
    if fitted is not None:
        lines += fitted.lines()
        lines.append(f"Written to {weights_file}; use it with: fightpose annotate ... --settings {weights_file}")
    output.tell(_as_json(stats, fitted), lines)


def _as_json(stats: ReviewStats, fitted: Calibration | None) -> dict[str, Any]:
    """Return the same figures as plain values; what is not known is null."""
    # JSON has no NaN, which a figure is while nothing was reviewed.
    figures = {name: None if math.isnan(value) else value for name, value in stats.figures().items()}
    value: dict[str, Any] = {
        "corrected": stats.corrected,
        "kinds": dict(stats.kinds),
        "relabelled": stats.relabelled,
        "identity": stats.identity,
        "reviewed": len(stats.reviewed),
        "judged": len(stats.judged),
        "ranking": figures,
        "problems": [{"clip": clip, "problem": problem} for clip, problem in stats.problems],
    }
    # Left out where no weights were asked for: null would read as a fit that came to nothing.
    if fitted is not None:
        value["calibration"] = {
            "clips": fitted.clips,
            "weights": fitted.weights,
            "before": fitted.before,
            "held_out": fitted.held_out,
        }
    return value
