"""Settings in a file: TOML or JSON with the groups and names of `tasks.core.settings.Settings`.

[selection]
max_persons = 6
[scoring.weights]
movement = 3.1
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tasks.core.storage import atomic_path

MAX_BYTES = 1 << 20
"""All settings there are take a few kilobytes."""


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings that a file holds, as nested dicts with no more in them than the file says.

    Raises
    ------
    FightposeError
        If the file cannot be read, is neither TOML nor JSON, or holds a setting that does not exist.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FightposeError(f"settings {path}: larger than {MAX_BYTES} bytes; is it the right file?")
        text = path.read_text(encoding="utf-8-sig")
        value = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
        Settings.model_validate(value)
    except OSError as error:
        raise FightposeError(f"cannot read the settings {path}: {error.strerror or error}; check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FightposeError(f"settings {path}: {where or 'the file'}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        # Thousands of opening brackets exhaust the parsers' recursion.
        raise FightposeError(f"settings {path}: neither TOML nor JSON by its ending: {error}") from error
    return dict(value)


def write_weights(path: Path, weights: Mapping[str, float]) -> None:
    """Write composite weights as a settings file (JSON; TOML where the ending says so) for `annotate --settings`.

    Raises
    ------
    FightposeError
        If the file cannot be written.
    """
    if path.suffix.lower() == ".toml":
        text = "[scoring.weights]\n" + "".join(f"{name} = {weight}\n" for name, weight in weights.items())
    else:
        text = json.dumps({"scoring": {"weights": dict(weights)}}, indent=1) + "\n"
    try:
        with atomic_path(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FightposeError(f"cannot write {path}: {error.strerror or error}; choose another file") from error


WHOLE = ("weights", "camera_weights", "classes")
"""Settings that are dicts themselves: half of one and half of another would be neither."""


def merged(base: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with later layers over earlier ones.

    What `WHOLE` names is replaced as a whole: a component that a layer leaves out counts nothing in it.

    >>> merged({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    """
    result = dict(base)
    for layer in layers:
        for name, value in layer.items():
            nested = isinstance(value, Mapping) and isinstance(result.get(name), Mapping) and name not in WHOLE
            result[name] = merged(result[name], value) if nested else value
    return result
