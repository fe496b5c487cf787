"""The command line: which commands there are, and how every command ends.

Exit codes: 0 everything is well; 1 some clips failed, or a check found something (all of it is listed); 2 the request
itself cannot be carried out; 130 ended by Ctrl-C. Every command takes `--json` and `--quiet` (`flows.cli.output`).
`fightpose --help` answers at once: Prefect, OpenVINO, OpenCV and pydantic are imported by the commands that need them.
"""

from __future__ import annotations

import json
import locale
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
import typer.core

from flows.cli import annotate, files, models, outputs, review
from flows.cli.options import SettingsCommand, add_language
from flows.cli.output import AsJson, Output, Quiet
from tasks.core.errors import FightposeError
from tasks.core.text import keep_logs_printable, printable, printable_lines
from tasks.language import translated

LAST = ("models", "up")
"""Commands that go to the end of the list, `models` although typer lists groups after all commands."""


class _Commands(typer.core.TyperGroup):
    """The commands in the order in which people need them; each takes `--lang`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        for command in self.commands.values():
            add_language(command)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order in which they were added, those of `LAST` last."""
        names = super().list_commands(ctx)
        return [name for name in names if name not in LAST] + [name for name in LAST if name in names]


app = typer.Typer(
    name="fightpose",
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Plain help: in 80 columns the boxed one cuts option names off.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
)


def _version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        # No other command needs it, and loading it takes time.
        from importlib.metadata import version

        typer.echo(f"fightpose {version('fightpose')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Turn folders of surveillance clips into ranked skeleton annotations for STGCN++."""


def up(
    database_url: Annotated[
        str | None,
        typer.Option(
            help="Database of the server, as postgresql://user:password@host:port/name; if not given, a PostgreSQL of "
            "its own. PREFECT_SERVER_DATABASE_CONNECTION_URL keeps the password out of the list of processes."
        ),
    ] = None,
    keep_days: Annotated[
        float | None,
        typer.Option(min=1, max=36_500, help="Days that ended runs stay on the server; 30 if not given."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Start a Prefect server with pools, deployments, automations and workers; ends with Ctrl-C."""
    from flows.prefect_server.server import prepare_environment

    # Before Prefect is imported; the server's and the workers' own lines stay out of this terminal.
    prepare_environment(console_level="ERROR")
    from flows.cli.up import ServerOptions, run_until_stopped

    raise typer.Exit(run_until_stopped(Output(as_json, quiet), ServerOptions(database_url, keep_days)))


# The list that `--help` shows: at most 45 characters each, or 80 columns cut them off.
app.command("annotate", cls=SettingsCommand, short_help="Annotate every clip of a folder")(annotate.annotate)
app.command("demo", short_help="Annotate four demo clips and show them")(annotate.demo)
app.command("verify", short_help="Check that every input has its outputs")(outputs.verify)
app.command("review", short_help="Look at clips and correct them in a browser")(review.review)
app.command("apply-review", short_help="Put the corrections of a review into effect")(review.apply_review)
app.command("retry-failed", cls=SettingsCommand, short_help="Annotate failed clips again")(outputs.retry_failed)
app.command("analyze", short_help="Write tables, charts and a report")(outputs.analyze)
app.command("explain", short_help="Show why people are ranked as they are")(files.explain)
app.command("convert", short_help="Convert annotations to another layout")(files.convert)
app.command("windows", short_help="Cut long clips into labelled windows")(files.windows)
app.command("import-poses", cls=SettingsCommand, short_help="Annotate with poses of another program")(
    files.import_poses
)
app.command("import-review", short_help="Take over corrections made in CVAT")(files.import_review)
app.command("training", short_help="Write training configs and a data card")(files.training)
app.command("purge", short_help="Remove what shows people from an output")(outputs.purge)
app.command("settings", short_help="List every setting, or an example file")(annotate.settings)
app.command("doctor", short_help="Check that this machine can do the job")(outputs.doctor)
app.command("learn-region-weights", short_help="Learn region weights for each camera")(files.learn_region_weights)
app.command("review-stats", short_help="Compare corrections with the ranking")(review.review_stats)
app.command("tune", short_help="Choose settings from reviewed clips")(review.tune)
app.command("export-model", short_help="Export RTMO to ONNX and check it")(models.export_model)
app.command("quantize-model", short_help="Make the int8 form of a model and check it")(models.quantize_model)
app.command("up", short_help="Start a Prefect server, pools and workers")(up)
app.add_typer(models.models_app, name="models")


def main() -> None:
    """Run the command line; an error that the user can act on is one line, and one JSON value with `--json`."""
    _start_again_in_utf8()
    keep_logs_printable()
    # The traceback of a fault of the program names files, too.
    sys.excepthook = _show_fault
    # From the raw arguments: an error in parsing them comes before any option is known.
    as_json = "--json" in sys.argv[1:]
    try:
        # Not standalone: typer would end the process itself, and print no JSON.
        code = app(standalone_mode=False)
    except FightposeError as error:
        code = _refused(str(error), as_json)
    except typer.TyperException as error:
        # A mistyped command or option, or a help page for want of one.
        code = _mistyped(error, as_json)
    except typer.Abort:
        # As shells report a program that SIGINT has ended: 128 + 2.
        code = 130
    except Exception as error:
        if type(error).__name__ != "ValidationError":
            # A fault of the program: a report of it needs the traceback.
            raise
        # pydantic is imported by now, but not before: `--help` answers without it.
        from tasks.core.settings.file import said

        code = _refused(said(error.errors()[0]), as_json)  # type: ignore[attr-defined]
    sys.exit(code or 0)


def _start_again_in_utf8() -> None:
    """Replace this process by one that reads file names as UTF-8, unless it does so already.

    Under a locale like ko_KR.eucKR Python decodes the names of files by the locale's encoding, and the same file would
    have another name in the data set than under a UTF-8 locale. Python's UTF-8 mode can only be chosen at its start,
    and child processes inherit it by this variable.
    """
    # What is written into a file or a pipe is UTF-8 everywhere; a terminal wants the encoding that it was set to.
    encoding = locale.getencoding()
    if sys.flags.utf8_mode and encoding.lower() not in ("utf-8", "ascii", "ansi_x3.4-1968"):
        for stream in (sys.stdout, sys.stderr):
            if stream.isatty():
                stream.reconfigure(encoding=encoding, errors="backslashreplace")  # type: ignore[union-attr]
    # Where the variable has no effect (-I, -X utf8=0), a new process would start another one without end.
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        environment = os.environb | {b"PYTHONUTF8": b"1"}
        os.execve(sys.executable, [os.fsencode(sys.executable), *_typed()], environment)  # noqa: S606


def _typed() -> list[bytes]:
    """Return the arguments of the interpreter as they were typed."""
    try:
        # Not `sys.orig_argv`: what the locale's encoding made of UTF-8 bytes cannot always be turned back.
        return Path("/proc/self/cmdline").read_bytes().split(b"\0")[1:-1]
    except OSError:
        return [os.fsencode(argument) for argument in sys.orig_argv[1:]]


def _show_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write a traceback as Python does, but in text that a terminal does not obey."""
    sys.stderr.write(printable_lines("".join(traceback.format_exception(kind, error, trace))))


def _refused(message: str, as_json: bool) -> int:
    """Say why a request cannot be carried out, and return the exit code."""
    if as_json:
        typer.echo(json.dumps({"ok": False, "error": message}, indent=1))
    # To standard error also with --json: standard output then holds one value and nothing else.
    typer.echo(f"error: {printable(translated(message))}", err=True)
    return 2


def _mistyped(error: typer.TyperException, as_json: bool) -> int:
    """Say what was typed wrongly, in typer's own words and with its hint, and return the exit code."""
    # typer passes on what pydantic says, with its prefix; its hints have lines of their own.
    error.message = "\n".join(map(printable, error.message.replace("Value error, ", "").split("\n")))
    if as_json:
        typer.echo(json.dumps({"ok": False, "error": error.format_message()}, indent=1))
    # `show` belongs to the class below, which typer does not export.
    show = getattr(error, "show", None)
    if show is not None:
        show()
    else:
        typer.echo(f"error: {error.format_message()}", err=True)
    return error.exit_code
