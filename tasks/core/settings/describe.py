"""What there is to set, in words: the example settings file and the table in docs/settings.md.

`make settings` writes the page from here; a test holds the two together.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from tasks.core.settings.fields import Declared, declared

PAGE = """# Settings

Written by `make settings` from `tasks/core/settings/`; change it there. Each setting is an option of
`fightpose annotate` and `fightpose retry-failed`, a key of a settings file (`--settings FILE.toml` or `.json`;
`fightpose settings --example` prints one with every key) and a field of the form in Prefect's UI. What is typed goes
before what the file says.

"""


def example() -> str:
    """Return a TOML file with every setting at its default, commented out, and what each does above it."""
    lines = ["# Settings of fightpose annotate --settings FILE. Take the # away from what you change.", ""]
    # groupby joins neighbours only: it relies on settings being declared group by group.
    for group, settings in groupby(declared(), key=lambda one: one.group):
        lines += [f"[{group}]"]
        for one in settings:
            # Every setting is commented out, so that the example as it is changes nothing.
            words = one.help + (f" {bounds(one)}." if bounds(one) else "")
            lines += textwrap.wrap(words, 98, initial_indent="# ", subsequent_indent="# ")
            lines += [f"#{one.name} = {_example_value(one)}", ""]
    return "\n".join(lines)


def page() -> str:
    """Return docs/settings.md."""
    parts = [PAGE]
    for group, settings in groupby(declared(), key=lambda one: one.group):
        parts.append(f"## {group}\n\n| option | key | default | what it does |\n|---|---|---|---|\n")
        parts.append("".join(f"{_row(one)}\n" for one in settings) + "\n")
    return "".join(parts).rstrip("\n") + "\n"


def rows() -> list[dict[str, Any]]:
    """Return every setting as plain values, for JSON."""
    return [
        {
            "option": None if one.about.file_only else one.option,
            "key": one.key,
            # A default path depends on the machine, and would differ in each build of the docs.
            "default": one.default if one.kind != "path" else None,
            "least": one.least,
            "most": one.most,
            "choices": [str(choice) for choice in one.choices],
            "unit": one.about.unit or None,
            "help": one.help,
            "file_only": one.about.file_only,
        }
        for one in declared()
    ]


def default_words(one: Declared) -> str:
    """Return a default in words.

    >>> [default_words(one) for one in declared() if one.name in ("score_thr", "max_persons", "adaptive")]
    ["the model's own", '12 people', 'yes']
    """
    if one.kind == "flag":
        return "yes" if one.default else "no"
    if one.default in (None, (), {}):
        return one.about.empty or "none"
    if isinstance(one.default, dict):
        return ", ".join(f"{name}={value:g}" for name, value in one.default.items())
    # g drops the zeros after the point, which suggest a precision that is not meant.
    number = f"{one.default:g}" if isinstance(one.default, float) else str(one.default)
    return f"{number} {one.about.unit}".strip()


def bounds(one: Declared) -> str:
    """Return what a setting takes in words: its choices, or its range; empty where anything goes."""
    if one.choices:
        return f"One of {', '.join(one.choices)}"
    if one.least is None or one.most is None:
        return ""
    return f"From {one.least:g} to {one.most:.10g} {one.about.unit}".strip()


def _row(one: Declared) -> str:
    """Return a row of the table."""
    option = f"`{one.option}`" if not one.about.file_only else f"(in files only: {one.about.file_only})"
    cells = [option, f"`{one.name}`", default_words(one), f"{one.help} {bounds(one)}".strip()]
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    """Return a text that cannot end a cell of a Markdown table."""
    return text.replace("|", "\\|")


def _example_value(one: Declared) -> str:
    """Return a value in TOML: the default, or where that is empty one that could be meant."""
    samples = {"number": "0.5", "path": '"FILE"', "file": '"FILE.json"', "text": '"..."', "numbers": "{ Fall = 2 }"}
    if one.kind == "texts":
        return '["Fight/*"]'
    if one.default in (None, {}):
        return samples.get(one.kind, "0")
    if isinstance(one.default, dict):
        return "{ " + ", ".join(f"{name} = {value}" for name, value in one.default.items()) + " }"
    # Texts, numbers and truth values are written alike in JSON and TOML.
    return json.dumps(one.default)


def write_page(paths: Iterable[Path]) -> None:
    """Write the page to each of the files."""
    for path in paths:
        path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    import sys

    write_page(map(Path, sys.argv[1:]))
