"""Options of the command line: those that several commands share, and one for each setting.

Options of settings are made from `tasks.core.settings.model`, when a command is called that takes them: `fightpose
--help` answers without pydantic.
"""

from __future__ import annotations

import functools
import inspect
import os
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from tasks.core.choices import FailOn
from tasks.core.errors import FightposeError
from tasks.language import VARIABLE, Language

if TYPE_CHECKING:
    from tasks.core.settings import Settings
    from tasks.core.settings.fields import Declared

OutputRoot = Annotated[Path, typer.Argument(help="Output folder of an earlier run.")]
ModelDir = Annotated[
    Path | None,
    typer.Option(help="Folder of model files; workers of a pool need FIGHTPOSE_MODEL_DIR.", show_default="user cache"),
]
FailOnOption = Annotated[
    FailOn,
    typer.Option(help="Which failed clips give exit code 1: none, any, or a share above --fail-share."),
]
FailShare = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of failed clips that --fail-on share accepts.")]
NumWorkers = Annotated[
    int | None,
    typer.Option(
        min=1, max=1024, help="Most worker processes in mode parallel.", show_default="what the machine takes"
    ),
]
InFlight = Annotated[int, typer.Option(min=1, max=200, help="Most clips that are queued or run at once in mode pool.")]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="TOML or JSON file of settings; options that are typed win.", show_default="none"),
]

CHOSEN = "fightpose.settings"
"""Where a command's context holds the settings that were typed, by group."""


def add_language(command: Any) -> None:
    """Give a command, or all commands of a group, the option `--lang`.

    Added here, and not in the signature of each function: the language is no business of what a command does.
    """
    inner = getattr(command, "commands", None)
    if inner is None:
        command.params.append(_language_option())
    for sub in (inner or {}).values():
        add_language(sub)


@functools.cache
def _language_option() -> Any:
    """Return the option that all commands share."""

    def command(
        lang: Annotated[
            Language | None,
            typer.Option("--lang", help="Language of messages, report and review page.", show_default="locale"),
        ] = None,
    ) -> None:
        """Carry the signature from which typer makes the option."""

    def choose(_context: Any, _option: Any, value: Any) -> None:
        """Set the language of this process and of those that it starts."""
        if value is not None:
            os.environ[VARIABLE] = str(value)

    app = typer.Typer(add_completion=False)
    app.command()(command)
    option: Any = typer.main.get_command(app).params[0]
    # Before all other options, so that their errors follow it; the command's function does not take it.
    option.callback, option.expose_value, option.is_eager = choose, False, True
    return option


class SettingsCommand(typer.core.TyperCommand):
    """A command that takes an option for every setting; `chosen_settings` gives what was typed."""

    _made: list[Any] | None = None

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's own parameters and those of the settings."""
        # Made once: the parameters are asked for several times in one call.
        if self._made is None:
            self._made = _options()
        # typer puts `--help` last, and it stays there, behind the settings.
        *own, help_option = super().get_params(ctx)
        return [*own, *self._made, help_option]

    def invoke(self, ctx: Any) -> Any:
        """Take the settings out of the parameters: the function of the command does not list them."""
        from tasks.core.settings.fields import declared

        chosen: dict[str, dict[str, Any]] = {}
        for one in declared():
            value = ctx.params.pop(one.name, None)
            source = ctx.get_parameter_source(one.name)
            # By name: typer carries a click of its own in some versions, and its enumeration is another one then.
            if source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP"):
                chosen.setdefault(one.group, {})[one.name] = _plain(one, value)
        ctx.meta[CHOSEN] = chosen
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options in sections: the command's own first, then each group of settings."""
        from tasks.core.settings.fields import declared

        groups = {one.name: one.group for one in declared()}
        shown = [(param, record) for param in self.get_params(ctx) if (record := param.get_help_record(ctx))]

        def section(param: Any) -> str:
            """Return under which heading a parameter is listed."""
            if param.param_type_name == "argument":
                return "Arguments"
            return f"Settings: {groups[param.name]}" if param.name in groups else "Options"

        # Sorted by heading, in the order in which the headings first occur; `--help` goes to the command's own options.
        order = list(dict.fromkeys(section(param) for param, _ in shown))
        for heading, found in groupby(
            sorted(shown, key=lambda pair: order.index(section(pair[0]))), lambda pair: section(pair[0])
        ):
            with formatter.section(heading):
                formatter.write_dl([record for _, record in found])


def _options() -> list[Any]:
    """Return an option for every setting that may be typed."""
    from tasks.core.settings.fields import declared

    def command(**_: Any) -> None:
        """Carry the signature from which typer makes the options."""

    offered = [one for one in declared() if one.about.file_only is None]
    parameters = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for one, annotation, default in map(_parameter, offered)
    ]
    # typer looks at signature and annotations alone, so that a function without a body of its own will do.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return list(typer.main.get_command(app).params)


def _parameter(one: Declared) -> tuple[Declared, Any, Any]:
    """Return a setting with the annotation and the default from which typer makes its option."""
    # typer has no option for numbers by name: these come in as text, which `_plain` reads.
    plain: Any = {"numbers": str, "texts": list[str], "file": Path}.get(one.kind, one.annotation)
    empty = one.default in (None, (), {})
    names = [f"{one.option}/--no-{one.option[2:]}"] if one.kind == "flag" else [one.option]
    option = typer.Option(
        *names,
        help=one.help,
        # Whole bounds for whole numbers: help would show 1.0 otherwise.
        min=int(one.least) if one.kind == "whole" and one.least is not None else one.least,
        max=int(one.most) if one.kind == "whole" and one.most is not None else one.most,
        metavar=_metavar(one),
        show_default=(one.about.empty or "none") if empty else True,
    )
    default = None if empty else (plain(one.default) if one.kind == "choice" else one.default)
    return one, Annotated[plain | None if default is None else plain, option], default


def _metavar(one: Declared) -> str | None:
    """Return what help shows in place of the value: its unit where it has one; None leaves it to typer."""
    if one.kind == "numbers":
        return "NAME=NUMBER,..."
    return one.about.unit.upper() or {"path": "FILE", "file": "FILE", "texts": "PATTERN"}.get(one.kind)


def _plain(one: Declared, value: Any) -> Any:
    """Return a typed value as a settings file would hold it."""
    if one.kind == "numbers":
        return numbers_of(one.option, value)
    # A file that is read later may be read from another folder.
    return str(value.absolute()) if isinstance(value, Path) else value


def numbers_of(option: str, text: str) -> dict[str, int]:
    """Return the numbers by name that an option like `--classes` holds.

    >>> numbers_of("--classes", "Fight=1, NonFight=0")
    {'Fight': 1, 'NonFight': 0}

    Raises
    ------
    FightposeError
        If a part is no pair of name and number.
    """
    numbers: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.rpartition("=")
        # Ten digits: longer ones are refused by Python itself, with a line about its own limits.
        if not name.strip() or not number.strip().isdecimal() or len(number.strip()) > 10:
            raise FightposeError(f"{option}: {part.strip()!r} is not name=number; write it as Fight=1,NonFight=0")
        numbers[name.strip()] = int(number)
    return numbers


def chosen_settings(context: typer.Context, file: Path | None, base: Settings | None = None) -> Settings:
    """Return the settings of a run: what was typed over what the file says over what the run starts from.

    Parameters
    ----------
    context
        Of a `SettingsCommand`.
    file
        Of `--settings`, None where there is none.
    base
        The settings to start from; by default the program's own.

    Raises
    ------
    FightposeError
        If the file cannot be read, holds a setting that does not exist, or two settings contradict each other.
    """
    from pydantic import ValidationError

    from tasks.core.settings import Settings
    from tasks.core.settings.file import merged, read_settings, said, without_effect

    # Only what was typed: the defaults of options must not override the file.
    typed = context.meta[CHOSEN]
    chosen = merged(read_settings(file) if file else {}, typed)
    # A setting that would change nothing was misunderstood, which is better said now than after the run.
    if useless := without_effect(chosen):
        raise FightposeError(useless)
    try:
        return Settings.model_validate(merged(base.model_dump(mode="json") if base else {}, chosen))
    except ValidationError as error:
        raise FightposeError(said(error.errors()[0])) from error


def use_model_dir(model_dir: Path | None) -> None:
    """Look for model files in a folder of the user's; by the environment, so that worker processes look there, too."""
    if model_dir is not None:
        os.environ["FIGHTPOSE_MODEL_DIR"] = str(model_dir)
