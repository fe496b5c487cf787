"""How every command speaks: text for people, or one JSON value; or, if quiet, only what is wrong.

Results go to standard output, progress and errors to standard error; a server's result is its address, which it prints
if quiet, too. The exit code tells the outcome in each form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

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
            The result as text.
        wrong
            What in it is wrong, as text; printed before the rest, and if quiet alone.
        """
        if self.as_json:
            # ASCII, as a file name may hold bytes that are no UTF-8; `str` for paths.
            typer.echo(json.dumps(value, indent=1, default=str))
            return
        for line in [*wrong, *([] if self.quiet else lines)]:
            typer.echo(line)

    def progress(self, line: str) -> None:
        """Say what is going on."""
        if not self.quiet:
            typer.echo(line, err=self.as_json)
