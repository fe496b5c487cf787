"""Splits that a data set brings along: in its folders (`train/`, `val/`), in a table or by a pattern.

Published sets come divided, so that figures can be compared; dealing their clips to splits of our own mixes what is
trained on with what others test on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tasks.clips.labels import matcher, only_splits
from tasks.clips.names import ClipTable, Row, read_rows
from tasks.core.choices import SplitBy
from tasks.core.errors import FightposeError
from tasks.core.settings import DatasetSettings
from tasks.core.text import name_key

SplitRule = Callable[[str], str | None]

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "train_set", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "val_set", "valset", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "test_set", "testset", "eval"), "test"),
}
"""What folders, columns and patterns call the splits."""


def split_rule(settings: DatasetSettings) -> SplitRule | None:
    """Return the rule that gives clips their split; None where the settings name no source of splits.

    A column `split` of the tables of labels or groups goes first, then the pattern, then the folders.

    Raises
    ------
    FightposeError
        If a table cannot be read, or the pattern is not a regular expression.
    """
    # The order is the precedence: a table names clips one by one, so it goes before patterns and folders.
    rules: list[SplitRule] = []
    for path in (settings.labels, settings.groups):
        if path is not None and (table := split_table(path)) is not None:
            rules.append(table.only_value)
    if settings.split_pattern is not None:
        match = matcher(settings.split_pattern)
        rules.append(lambda frame_dir: _known(match(frame_dir)))
    if settings.split_by is SplitBy.FOLDER:
        rules.append(split_by_folder)
    if not rules:
        return None
    return lambda frame_dir: next((split for rule in rules if (split := rule(frame_dir)) is not None), None)


def split_by_folder(frame_dir: str) -> str | None:
    """Return the split that a folder of a clip's path names, the outermost deciding.

    >>> split_by_folder("RWF/Train/Fight/a")
    'train'
    """
    folders = PurePosixPath(frame_dir).parts[:-1]
    return next((split for folder in folders if (split := SPLIT_NAMES.get(name_key(folder)))), None)


def split_table(path: Path) -> ClipTable[str] | None:
    """Return the splits that the column `split` of a table gives; None where it has no such column.

    Empty cells say nothing. Usual names count in whatever form (`Training`); others make splits of their own.

    Raises
    ------
    FightposeError
        If the file cannot be read, or names a clip twice with different splits.
    """
    rows = [Row(line, row["clip"], row["split"]) for line, row in read_rows(path, ("clip",)) if row.get("split")]
    if not rows:
        return None
    named = [Row(row.line, row.name, _known(row.value) or row.value) for row in rows]
    return ClipTable(path, named).without_contradictions("splits")


def given_splits(names: Sequence[str], settings: DatasetSettings) -> dict[str, str]:
    """Return the split of each clip whose split is given."""
    rule = split_rule(settings)
    return {name: split for name in names if rule is not None and (split := rule(name)) is not None}


def check_given(names: Sequence[str], settings: DatasetSettings) -> list[str]:
    """Hold the source of given splits against all clips of an input, before any work is done.

    Returns
    -------
    list of str
        A line for clips without a given split, and one where folders are called like splits and nobody says so.

    Raises
    ------
    FightposeError
        If a source is named and gives no clip a split.
    """
    lines = []
    for path, column in ((settings.labels, "label"), (settings.groups, "group")):
        # Tables that give labels or groups as well are reported with those.
        if path is not None and only_splits(path, column):
            table = split_table(path)
            if table is None:
                raise FightposeError(f"{path}: its column split is empty; write a split into each row")
            lines += table.report(names, "")
    rule = split_rule(settings)
    if rule is None:
        # Folders called train or test, without the option, are probably splits that the user means to keep.
        found = Counter(split for name in names if (split := split_by_folder(name)) is not None)
        if not found:
            return []
        folders = ", ".join(f"{count} {split}" for split, count in sorted(found.items()))
        return [f"folders are called like splits ({folders}), but clips are split at random: use --split-by folder"]
    left = [name for name in names if rule(name) is None]
    # Not one clip matches: the rule itself is wrong, and a random split would hide that.
    if names and len(left) == len(names):
        raise FightposeError(
            f"no clip has a split by {_source(settings)}; the first clip is {names[0]}, and splits are called "
            f"{', '.join(sorted({*SPLIT_NAMES.values()}))}"
        )
    if not left:
        return lines
    return [
        *lines,
        f"clips that {_source(settings)} gives no split, and that are split at random: {len(left)} of {len(names)}; "
        f"the first: {left[0]}",
    ]


def divided_groups(given: Mapping[str, str], group_of: Callable[[str], str]) -> list[str]:
    """Return a line for each group that a given split divides: training clips then resemble test clips."""
    sides: dict[str, set[str]] = {}
    for name, split in given.items():
        sides.setdefault(group_of(name), set()).add(split)
    return [
        f"the given split divides the group {group}: it is in {' and '.join(sorted(names))}"
        for group, names in sorted(sides.items())
        if len(names) > 1
    ]


def _known(name: str | None) -> str | None:
    """Return the usual name of a split, None for what is none."""
    return SPLIT_NAMES.get(name_key(name)) if name is not None else None


def _source(settings: DatasetSettings) -> str:
    """Return in words where splits come from."""
    sources = []
    if any(path is not None and split_table(path) is not None for path in (settings.labels, settings.groups)):
        sources.append("the column split")
    if settings.split_pattern is not None:
        sources.append(f"the pattern {settings.split_pattern!r}")
    if settings.split_by is SplitBy.FOLDER:
        sources.append("the folder")
    return " or ".join(sources)
