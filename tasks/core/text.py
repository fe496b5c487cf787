"""Text that goes to people: names of files are hostile, and may hold what a terminal takes for a command."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return text in one line that a terminal cannot be fooled by: what is not printable is written as an escape.

    >>> printable("clip\x1b[2J.mp4")
    'clip\\x1b[2J.mp4'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
