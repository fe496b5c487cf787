"""Pages from templates: every value is escaped, and what cannot be shown is written as an escape."""

from __future__ import annotations

import math
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.core.text import printable
from tasks.language import language, translated


def render(template: str, **values: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template
        Name of a file in `tasks/report/templates`.
    values
        What it shows. Text may come from file names: it is escaped, and a name that is missing is an error.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    """Return the environment of all templates, made once."""
    environment = Environment(
        loader=PackageLoader("tasks.report"),
        # Always, whatever a template is called: all of them are markup.
        autoescape=True,
        # A misspelt name is an error, and not an empty place in a page.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": printable, "figure": figure, "address": address, "kind": kind, "cell": cell}
    # Texts of the templates are written `_("text")`, by which the catalogue finds them.
    environment.filters["translated"] = translated
    environment.globals |= {"_": translated, "language": language}
    return environment


def figure(value: Any, form: str) -> str:
    """Return a number in a format, nothing for what is not known.

    >>> figure(0.256, ".2f"), figure(float("nan"), ".0f"), figure(None, "d")
    ('0.26', '', '')
    """
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else format(value, form)


def kind(how: str) -> str:
    """Return the style class of a column: name, text, warn or number."""
    if how == "said":
        return "text"
    return how if how in ("name", "text", "warn") else "number"


def cell(value: Any, how: str) -> str:
    """Return what a cell of a table shows: a number in the column's format, text with escapes for what is not shown.

    Words of this program (`said`) are in the reader's language; names and reasons are what they are.
    """
    if isinstance(value, float):
        return figure(value, how)
    return printable(translated(str(value)) if how == "said" else str(value))


def address(path: str) -> str:
    """Return the address of a file beside the page.

    >>> address("javascript:/a b.mp4")
    './javascript%3A/a%20b.mp4'
    """
    # The dot keeps a folder called `javascript:` from being read as a scheme.
    return "./" + quote(path, safe="/", errors="surrogateescape")
