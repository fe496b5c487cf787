"""Whether a merged data set keeps the contract: each annotation, and the split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tasks.annotations.validate import Problem, validate_annotation


def validate_dataset(data: dict[str, Any], group_of: Callable[[str], str] | None = None) -> list[Problem]:
    """Check a merged data set: its annotations, and that each is in exactly one split.

    Parameters
    ----------
    data
        As `tasks.annotations.format.read_annotation` gives it.
    group_of
        Gives the group of an identifier: no group may be in two splits.
    """
    # As text: that identifiers are text is checked with each annotation, further down.
    names = [str(annotation.get("frame_dir")) for annotation in data["annotations"]]
    # Counts a clip that is in two splits, and one that is twice in the same.
    dealt = Counter(name for members in data["split"].values() for name in members)
    problems = [Problem("identifier-twice", f"{name} stands twice") for name, n in Counter(names).items() if n > 1]
    problems += [Problem("split-leak", f"{name} stands in the splits {n} times") for name, n in dealt.items() if n > 1]
    # Sorted, because sets have another order in each run.
    problems += [Problem("split-incomplete", f"{name} is in no split") for name in sorted({*names} - {*dealt})]
    problems += [Problem("split-unknown", f"{name} is in a split only") for name in sorted({*dealt} - {*names})]
    problems += _group_leaks(data["split"], group_of) if group_of else []
    for name, annotation in zip(names, data["annotations"], strict=True):
        problems += [Problem(problem.rule, f"{name}: {problem.text}") for problem in validate_annotation(annotation)]
    return problems


def _group_leaks(split: dict[str, list[str]], group_of: Callable[[str], str]) -> Iterator[Problem]:
    """Yield groups whose clips are in more than one split."""
    sides: dict[str, set[str]] = {}
    for name, members in split.items():
        for member in members:
            sides.setdefault(group_of(member), set()).add(name)
    for group, names in sorted(sides.items()):
        if len(names) > 1:
            yield Problem("group-leak", f"the group {group} stands in the splits {', '.join(sorted(names))}")
