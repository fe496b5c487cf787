"""Settings in a file: TOML or JSON with the groups and names of `tasks.core.settings.model`.

[selection]
max_persons = 6
[scoring.weights]
movement = 3.1
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tasks.core.errors import FightposeError
from tasks.core.settings.fields import declared
from tasks.core.settings.model import Settings
from tasks.core.storage import atomic_path

MAX_BYTES = 1 << 20
"""All settings there are take a few kilobytes."""

MOST_DOTS = 100
"""Parts of a dotted TOML key; tomllib takes minutes for a key of 50,000, and no setting has more than four."""

_QUOTED = re.compile(r"""\"(?:[^"\\\n]|\\.)*\"|'[^'\n]*'""")
_KEY_ENDS = re.compile(r"[\n=,\[\]{}]")

NO_EFFECT: Mapping[tuple[str, Any], tuple[str, ...]] = {
    ("poses.second_look", "off"): ("poses.look_budget",),
    ("scoring.adaptive", False): (
        "scoring.region_rate",
        "scoring.region_rounds",
        "scoring.region_tolerance",
        "scoring.region_tracks",
    ),
    ("scoring.scorer", "seed"): ("scoring.weights",),
    ("overlay.save_overlayfile", False): ("overlay.overlay_regions",),
}
"""Settings that mean nothing beside another one of this value."""


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
        value = _toml(text) if path.suffix.lower() == ".toml" else json.loads(text)
        Settings.model_validate(value)
    except OSError as error:
        raise FightposeError(f"cannot read the settings {path}: {error.strerror or error}; check the path") from error
    except ValidationError as error:
        raise FightposeError(f"settings {path}: {said(error.errors()[0])}") from error
    except (ValueError, RecursionError) as error:
        # Thousands of opening brackets exhaust the parsers' recursion.
        raise FightposeError(f"settings {path}: neither TOML nor JSON by its ending: {error}") from error
    return dict(value)


def _toml(text: str) -> dict[str, Any]:
    """Parse TOML, unless a key of it would take minutes."""
    # Between any two signs that end a key, as inline tables have keys in the middle of a line. Quoted parts of a key
    # become one letter: they may hold such signs themselves. No number or word of a setting has so many dots.
    bare = _QUOTED.sub("q", text)
    if any(part.count(".") > MOST_DOTS for part in _KEY_ENDS.split(bare)):
        raise ValueError(f"a key of more than {MOST_DOTS} parts")
    return tomllib.loads(text)


def said(error: ErrorDetails) -> str:
    """Return one line about a value that pydantic refuses: which setting, and why; a mistyped one names its neighbour.

    >>> said({"type": "extra_forbidden", "loc": ("selection", "max_person"), "msg": "", "input": 6})
    "selection.max_person: there is no such setting; did you mean max_persons in [selection]?"
    """
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such setting{_meant([str(part) for part in error['loc']])}"
    why = re.sub(r"^(Value error|Assertion failed), ", "", error["msg"])
    # A check of a whole group names its settings itself.
    return why if not where or (error["type"] == "value_error" and len(error["loc"]) == 1) else f"{where}: {why}"


def _meant(parts: list[str]) -> str:
    """Return what a mistyped key may have meant, as the end of a line; nothing where nothing is near."""
    groups = list(Settings.model_fields)
    homes = {one.name: one.group for one in declared()}
    wrong = parts[-1].replace("-", "_")
    # A group alone: near another group, or a setting that was written outside of its group.
    if len(parts) == 1 and (near := get_close_matches(wrong, groups, n=1)):
        return f"; did you mean [{near[0]}]?"
    if near := get_close_matches(wrong, homes, n=1):
        return f"; did you mean {near[0]} in [{homes[near[0]]}]?"
    return (
        f"; [{parts[0]}] has {', '.join(name for name in homes if homes[name] == parts[0])}"
        if parts[1:]
        else (f"; there are {', '.join(f'[{group}]' for group in groups)}")
    )


def without_effect(chosen: Mapping[str, Any]) -> str | None:
    """Return a line about a setting that was chosen and that another one makes meaningless; None where there is none.

    Parameters
    ----------
    chosen
        Settings by group, only those that somebody chose.
    """
    # Only chosen values count: a default that has no effect is nobody's mistake.
    flat = {f"{group}.{name}": value for group, values in chosen.items() for name, value in values.items()}
    for (key, value), useless in NO_EFFECT.items():
        for other in useless:
            if flat.get(key) == value and other in flat:
                return f"{other} has no effect where {key} is {str(value).lower()}; leave one of them out"
    return None


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
        # Renamed into place, so that no run reads half a file.
        with atomic_path(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FightposeError(f"cannot write {path}: {error.strerror or error}; choose another file") from error


def merged(base: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by group with later layers over earlier ones.

    A setting that is a dict itself (weights, classes) is replaced as a whole: half of one and half of another would be
    neither.

    >>> merged({"a": {"x": 1, "y": {"z": 2}}}, {"a": {"y": {"w": 3}}})
    {'a': {'x': 1, 'y': {'w': 3}}}
    """
    result = {group: dict(values) for group, values in base.items()}
    for layer in layers:
        # Later layers win, but only for the keys that they name.
        for group, values in layer.items():
            result[group] = result.get(group, {}) | dict(values)
    return result
