"""The last step of reading a pickle: what the machine made, as plain data.

Boxes become their arrays. What is nested too deep, refers to itself or unfolds without end is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.annotations.pickle_forms import Box, Form, RefusedError, Skipped

MAX_DEPTH = 32
"""Levels of nesting; an annotation file has about six."""

MAX_TEXT = 1 << 20
"""Characters in one string."""

_PLAIN = frozenset({int, float, bool, type(None)})
"""Values that need no look of their own."""


def finished(value: Any, max_nodes: int) -> Any:
    """Return what a pickle made, without boxes.

    Parameters
    ----------
    value
        The last value on the stack.
    max_nodes
        Most parts, shared ones counted as often as they appear.

    Raises
    ------
    RefusedError
        If it holds an unfinished array or a class, refers to itself, or is too deep or too large.
    """
    return _Finisher(max_nodes).finish(value, 0)[0]


class _Finisher:
    """Replaces boxes by their arrays and refuses what is nested too deep, refers to itself or unfolds without end."""

    def __init__(self, max_nodes: int) -> None:
        self.max_nodes = max_nodes
        # Of each finished container, by identity: what it became, its number of nodes and its height.
        self.done: dict[int, tuple[Any, int, int]] = {}
        self.open: set[int] = set()

    def finish(self, value: Any, depth: int) -> tuple[Any, int, int]:
        """Return a value without boxes, the number of its nodes, and its levels.

        A part that is referred to several times stays one object, and counts as often as it appears: `a = [b, b]`,
        `b = [c, c]` and so on is a few bytes, but a walk through all of it would never come to an end.
        """
        if not isinstance(value, dict | list | tuple):
            return _finished_leaf(value), 1, 0
        key = id(value)
        result = self.done.get(key)
        # The height counts as well: a part finished near the top may be used again far down.
        if key in self.open or depth + (result[2] if result else 0) > MAX_DEPTH:
            raise RefusedError(f"refers to itself or is nested more than {MAX_DEPTH} levels deep")
        if result is None:
            # To come upon a part that is still open means that it holds itself.
            self.open.add(key)
            self.done[key] = result = self._container(value, depth)
            self.open.remove(key)
        return result

    def _container(self, value: Any, depth: int) -> tuple[Any, int, int]:
        """Finish the parts of a container, in place where it can be changed."""
        inside = value.values() if isinstance(value, dict) else value
        # Most lists are long and hold numbers only, in which nothing is to be replaced.
        if _PLAIN.issuperset(map(type, inside)):
            return value, self._counted(1 + len(value)), 1
        parts = [self.finish(part, depth + 1) for part in inside]
        nodes = self._counted(1 + sum(part[1] for part in parts))
        height = 1 + max((part[2] for part in parts), default=0)
        if isinstance(value, tuple):
            return tuple(part[0] for part in parts), nodes, height
        # In place, so that other references to the same container see the arrays, too.
        for place, part in zip(value if isinstance(value, dict) else range(len(value)), parts, strict=True):
            value[place] = part[0]
        return value, nodes, height

    def _counted(self, nodes: int) -> int:
        """Return a number of parts, unless it is more than a file may unfold to."""
        if nodes > self.max_nodes:
            raise RefusedError("unfolds to more parts than any annotation has")
        return nodes


def _finished_leaf(value: Any) -> Any:
    """Return a value that holds no others, without its box."""
    if isinstance(value, Box):
        if not isinstance(value.value, np.ndarray):
            raise RefusedError("holds an array without its bytes, or a bare dtype")
        return value.value
    if isinstance(value, Form | Skipped):
        raise RefusedError("holds a class or function instead of data")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise RefusedError(f"holds a text of {len(value)} characters")
    return value
