"""Clips of equal content under several names.

Collections of clips hold copies: the same download under two names, often in two classes. On two sides of a split a
copy lets the test see what was trained on, and with two labels one of them is wrong. The hash of each clip's bytes is
known from its annotation, so copies cost nothing to find.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

MOST_NAMED = 3
"""Copies that a line names before it only counts them."""


def copies(contents: Mapping[str, str]) -> list[list[str]]:
    """Return the identifiers of clips that share their content, each list sorted.

    Parameters
    ----------
    contents
        Identifier to hash; an empty hash is not known and equals nothing.
    """
    by_hash: dict[str, list[str]] = defaultdict(list)
    for name, content in contents.items():
        if content:
            by_hash[content].append(name)
    return sorted(sorted(names) for names in by_hash.values() if len(names) > 1)


def joined_groups(
    names: Iterable[str],
    group_of: Callable[[str], str] | None,
    contents: Mapping[str, str],
    near: Iterable[Sequence[str]] = (),
) -> Callable[[str], str]:
    """Return a rule by which copies of a clip are in one group, together with the rest of their groups.

    Parameters
    ----------
    names
        Identifiers of all clips.
    group_of
        The rule for groups that applies besides; None where each clip is a group of its own.
    contents
        Identifier to hash.
    near
        Identifiers of clips that belong together, though their contents differ (`tasks.clips.near_copies`).
    """
    group = {name: group_of(name) if group_of else name for name in names}
    # Union-find: each group points to one with which it shares a content, directly or through others.
    parent = {one: one for one in group.values()}

    def root(one: str) -> str:
        """Follow the links of a group to their end."""
        while parent[one] != one:
            # Halving the path keeps chains short.
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for same in (*copies(contents), *near):
        roots = sorted({root(group[name]) for name in same if name in group})
        for other in roots[1:]:
            parent[other] = roots[0]
    return lambda name: root(group[name]) if name in group else (group_of(name) if group_of else name)


def contradictions(contents: Mapping[str, str], labels: Mapping[str, int]) -> list[str]:
    """Return a line for clips of equal content that have different labels."""
    lines = []
    for names in copies(contents):
        by_label: dict[int, list[str]] = defaultdict(list)
        for name in names:
            by_label[labels[name]].append(name)
        if len(by_label) > 1:
            said = [f"{label} ({_listed(by_label[label])})" for label in sorted(by_label, reverse=True)]
            lines.append(f"the same video has different labels: {', '.join(said)}")
    return lines


def copy_warnings(contents: Mapping[str, str], labels: Mapping[str, int]) -> list[str]:
    """Return the lines about copies: contradicting labels by name, and how many clips are copies."""
    found = copies(contents)
    if not found:
        return []
    extra = sum(len(names) - 1 for names in found)
    return [
        *contradictions(contents, labels),
        f"clips that are copies of others: {extra}; the first: {_listed(found[0])}",
    ]


def _listed(names: Sequence[str]) -> str:
    """Return names in words, the first few if there are many.

    >>> _listed(["a", "b"])
    'a, b'
    """
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
