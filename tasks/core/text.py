"""Text that goes to people: names of files are hostile, and may hold what a terminal or a page takes for a command.

One function for each place: `printable` for a terminal, `field_text` for a log with separators, `markdown_text` and
`markdown_cell` for Prefect's artifacts. HTML is escaped by jinja2, which is set to do so (`tasks.report.rendering`).
"""

from __future__ import annotations

import logging
import re
import string
import sys
import traceback
import unicodedata
from typing import Any

from tasks.core.errors import FightposeError

SPLITS = ("train", "val", "test")
"""The usual splits of a data set, in the order in which shares are written."""


def printable(text: str) -> str:
    r"""Return text in one line that a terminal cannot be fooled by: what is not printable is written as an escape.

    >>> printable("clip\x1b[2J.mp4")
    'clip\\x1b[2J.mp4'
    """
    # Escaped, as control characters in a file's name can change what a terminal shows.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def printable_lines(text: str) -> str:
    """Return text as `printable` does, but in the lines and columns that it has."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


class _PrintableRecord(logging.LogRecord):
    """A line of a log that no terminal obeys, whoever writes it and wherever it is shown."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.exc_info and self.exc_info[0] is not None:
            # Formatters take this text where it is there, and write the error's own words as they are where it is not.
            lines = traceback.format_exception(*self.exc_info)
            self.exc_text = printable_lines("".join(lines).rstrip("\n"))

    def getMessage(self) -> str:  # noqa: N802 - the name is the standard library's
        """Return the message; a name that is put into a line of ours cannot start another one."""
        text = super().getMessage()
        ours = self.name.partition(".")[0] in ("flows", "tasks")
        return printable(text) if ours and self.args else printable_lines(text)


def keep_logs_printable() -> None:
    """Have every line that this process logs from now on hold nothing that a terminal obeys.

    By the record and not by a handler or a formatter: those of Prefect, of Python's last resort and of a user's own
    logging settings all get the same record, and Prefect's own lines repeat our errors with the names in them.
    """
    logging.setLogRecordFactory(_PrintableRecord)


def field_text(text: str) -> str:
    """Return text that stays within one field of one line; Hangul and other printable characters stay readable."""
    # `|` is the separator: its escape must not hold it, or a reader that splits on it is deceived all the same.
    return printable(text.replace("\\", "\\\\").replace("|", "\\x7c"))


def markdown_text(text: str) -> str:
    """Return text as markdown that shows it letter for letter; what is not printable is written as an escape."""
    return "".join(f"\\{char}" if char in string.punctuation else char for char in field_text(text))


def markdown_cell(text: str) -> str:
    r"""Return text for a cell of a table artifact: what could be markup is written as an escape such as `\x3c`.

    One of Prefect's two UIs takes cells for markdown, links that run scripts included; the other shows them as they
    are. Common names look the same in both.
    """
    return _MARKUP.sub(lambda found: f"\\x{ord(found[0]):02x}", field_text(text))


_MARKUP = re.compile(r"[\[\]<>`*&@~]|^[^\w\s\\]|(?<!\w)_|_(?!\w)|(?<=www)\.")
"""Brackets of links and tags, code, emphasis, references, addresses, and what starts a heading or a list."""


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula, which may run programs or send the sheet away."""


def csv_cell(text: str) -> str:
    """Return text for a cell of a CSV file: never a formula, and with what has no UTF-8 form as an escape.

    >>> csv_cell("=HYPERLINK(1)"), csv_cell("Fight/a-1")
    ("'=HYPERLINK(1)", 'Fight/a-1')
    """
    # The apostrophe is how spreadsheets themselves mark text.
    text = f"'{text}" if text.startswith(FORMULA_STARTS) else text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def require_utf8_names() -> None:
    """Refuse to work where Python decodes names of files otherwise than as UTF-8: names would differ between machines.

    Raises
    ------
    FightposeError
        If the locale is another one and Python's UTF-8 mode is off.
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise FightposeError(
            f"this process reads file names as {encoding}; set PYTHONUTF8=1 in its environment, before it starts"
        )


def counted(count: int, what: str) -> str:
    """Return a number of things in words, in the singular where it is one.

    >>> counted(1, "finding"), counted(2, "finding")
    ('1 finding', '2 findings')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


def shares_of(text: str) -> dict[str, int]:
    """Return the shares that a text like `70/15/15` states: of train, val and, if there is a third number, test.

    >>> shares_of("80/20")
    {'train': 80, 'val': 20}

    Raises
    ------
    ValueError
        If it is not two or three whole numbers, the first above 0.
    """
    parts = [part.strip() for part in text.replace(":", "/").split("/")]
    if len(parts) not in (2, 3) or not all(part.isdecimal() for part in parts) or not int(parts[0]):
        raise ValueError(f"the split {text!r} is not of the form 70/15/15 (train/val/test) or 80/20 (train/val)")
    # A share of 0 means that there is no such split.
    return {name: int(part) for name, part in zip(SPLITS, parts, strict=False) if int(part)}


def name_key(name: str) -> str:
    """Return a name in the form in which two names count as the same: NFC, without case."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def normal(name: str) -> str:
    """Return a name in the Unicode form (NFC) in which names are compared."""
    return unicodedata.normalize("NFC", name)
