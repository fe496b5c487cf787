"""Which language is wanted, and the texts of its catalogue.

A catalogue is a gettext file, `locale/<language>/LC_MESSAGES/fightpose.po`, read as it is: nothing is compiled, neither
by a wheel nor by an editable install. A message with fields, `cut short: {size} of {expected} bytes are there`, stands
for every text of that form. `make catalogue` finds the messages in the code.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path


class Language(StrEnum):
    """What `--lang` takes; English needs no catalogue."""

    ENGLISH = "en"
    KOREAN = "ko"


VARIABLE = "FIGHTPOSE_LANG"
"""The environment variable that `--lang` sets, so that worker processes speak the same language."""

FOLDER = Path(__file__).with_name("locale")

FIELD = re.compile(r"\{(\w+)\}")
"""A field of a message."""

NESTED = frozenset([
    "advice", "check", "clips", "count", "counted", "counts", "error", "failures", "findings", "gain", "has",
    "headline", "info", "inputs", "kind", "line", "meant", "reason", "rest", "said", "same", "source", "sources",
    "title", "what", "why",
])  # fmt: skip
"""Fields whose content is a message itself. All others are names, numbers and words of other programs."""

KNOWN = frozenset({"check", "kind", "title"})
"""Fields that hold nothing but a message; without this, `{kind}: {clip}` would fit every text with a colon."""

LONGEST = 1000
"""Characters of the longest text that is compared with forms: the time grows faster than the length, and names are
untrusted."""


@dataclass(frozen=True, slots=True)
class Form:
    """A message with fields.

    Attributes
    ----------
    pattern
        Matches the English texts of this form, with a group for each field.
    text
        The translation, with the same fields.
    """

    pattern: re.Pattern[str]
    text: str


def language() -> Language:
    """Return the language that is wanted: `--lang`, else the locale, else English."""
    wanted = os.environ.get(VARIABLE, "")
    if not wanted:
        # The order of POSIX: the first of the three that is set decides.
        locale = next(filter(None, (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "C")
        # As gettext has it: LANGUAGE is a list of preferences, and no language at all is wanted in the locale C.
        plain = locale.partition(".")[0] in ("C", "POSIX")
        wanted = locale if plain else os.environ.get("LANGUAGE", "").partition(":")[0] or locale
    short = re.split(r"[_.@-]", wanted)[0].lower()
    return Language(short) if short in set(Language) else Language.ENGLISH


def translated(text: str) -> str:
    """Return a text in the language that is wanted; as it is where the catalogue does not have it.

    Parameters
    ----------
    text
        An English text that is a message of the catalogue, with its fields filled in.
    """
    wanted = language()
    # The usual case loads nothing.
    return text if wanted == Language.ENGLISH else _translated(text, wanted)


@lru_cache(maxsize=4096)
def _translated(text: str, wanted: Language) -> str:
    """Return a text in another language than English; kept, since pages repeat the same few for thousands of clips."""
    exact, forms = _catalogue(wanted)
    if text in exact:
        return exact[text]
    if len(text) > LONGEST:
        return text
    for form in forms:
        found = form.pattern.fullmatch(text)
        if found is None:
            continue
        filled = {name: _nested(name, value, wanted) for name, value in found.groupdict().items()}
        if all(filled[name] != found[name] for name in KNOWN & filled.keys()):
            # Every second part is the name of a field. Not by `format`: the content of a field may have braces.
            parts = FIELD.split(form.text)
            return "".join(filled[part] if place % 2 else part for place, part in enumerate(parts))
    return text


def _nested(name: str, value: str, wanted: Language) -> str:
    """Return the content of a field, translated where it is a message."""
    # Fields that occur twice in a message are numbered.
    return _translated(value, wanted) if name.rstrip("0123456789") in NESTED else value


def page_words() -> dict[str, str]:
    """Return every message of the catalogue with its translation, for the review page; nothing for English."""
    return {} if language() == Language.ENGLISH else dict(_catalogue(language())[0])


@lru_cache
def _catalogue(wanted: Language) -> tuple[dict[str, str], tuple[Form, ...]]:
    """Read the catalogue of a language: messages by their English text, and the forms, the most particular first."""
    # Only here: English, the usual case, does not need it.
    from babel.messages.pofile import read_po

    texts: dict[str, str] = {}
    with (FOLDER / wanted / "LC_MESSAGES/fightpose.po").open("rb") as file:
        for message in read_po(file, locale=wanted):
            # Singular and plural have one text in Korean.
            names = (message.id,) if isinstance(message.id, str) else tuple(message.id)
            strings = (message.string,) if isinstance(message.string, str) else tuple(message.string or ("",))
            texts |= {name: strings[0] for name in names if name and strings[0]}
    # More fixed text first: what fits two forms is said by the one that says more.
    with_fields = sorted(filter(FIELD.search, texts), key=lambda name: len(FIELD.sub("", name)), reverse=True)
    return texts, tuple(Form(_pattern(name), texts[name]) for name in with_fields)


def _pattern(message: str) -> re.Pattern[str]:
    """Return what matches the texts that a message with fields gives."""
    parts = FIELD.split(message)
    # Every second part is the name of a field.
    fixed = [f"(?P<{part}>.*?)" if place % 2 else re.escape(part) for place, part in enumerate(parts)]
    return re.compile("".join(fixed), re.DOTALL)
