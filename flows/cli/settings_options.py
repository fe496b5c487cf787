"""Options of the command line as settings, alone or together with a settings file: what is typed wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tasks.core.settings_file import merged, read_settings


def classes_of(text: str | None) -> dict[str, int]:
    """Return the class numbers that `--classes` names.

    >>> classes_of("Fight=1, NonFight=0")
    {'Fight': 1, 'NonFight': 0}

    Raises
    ------
    FightposeError
        If a part is no pair of name and number.
    """
    classes: dict[str, int] = {}
    for part in (text or "").split(",") if text else ():
        name, _, number = part.rpartition("=")
        if not name.strip() or not number.strip().isdecimal():
            raise FightposeError(f"--classes: {part.strip()!r} is not name=number; write it as Fight=1,NonFight=0")
        classes[name.strip()] = int(number)
    return classes


def found_again(model: str) -> str:
    """Return a model's file as an absolute path, which holds for workers and retries in other folders; a name as it is.

    >>> found_again("rtmo-s")
    'rtmo-s'
    """
    path = Path(model)
    return str(path.absolute()) if path.suffix and path.is_file() else model


def with_settings_file(context: typer.Context, path: Path, options: Settings) -> Settings:
    """Return the settings of a run that names a settings file.

    Parameters
    ----------
    context
        Of the command: it knows which options were typed and which stand at their defaults.
    path
        The settings file.
    options
        The settings that the options give, defaults included.

    Raises
    ------
    FightposeError
        If the file cannot be read or holds a setting that does not exist.
    """
    defaults = options.model_dump(mode="json")
    typed: dict[str, dict[str, Any]] = {
        group: {name: value for name, value in values.items() if _is_typed(context, name)}
        for group, values in defaults.items()
    }
    return Settings.model_validate(merged(defaults, read_settings(path), typed))


def _is_typed(context: typer.Context, name: str) -> bool:
    """Tell whether an option was given, and does not stand at its default."""
    source = context.get_parameter_source(name)
    # By name: typer carries a click of its own in some versions, and its enumeration is another one then.
    return source is not None and source.name != "DEFAULT"
