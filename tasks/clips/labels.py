"""Labels and groups from other sources than a folder called `Fight`: folder names, a regular expression, a CSV file.

A rule takes a clip's identifier (its `frame_dir`, a path with `/`) and gives its label or group, None where it says
nothing. Folder names are compared under NFC (Korean ones come decomposed from some systems, and composed from a
keyboard) and without case; how a row of a table finds its clip is in `tasks.clips.names`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tasks.clips.discovery import FIGHT_FOLDER, Clip
from tasks.clips.names import ClipTable, Row, read_rows
from tasks.core.errors import FightposeError
from tasks.core.settings import LARGEST_LABEL, DatasetSettings
from tasks.core.text import counted, name_key, normal

LabelRule = Callable[[str], int | None]
GroupRule = Callable[[str], str]

FEW_CLIPS = 10
"""With fewer clips than this a class has at most one test clip."""


def label_clips(clips: Iterable[Clip], settings: DatasetSettings) -> tuple[list[Clip], list[str]]:
    """Return clips with the labels that the settings give them, and the identifiers of those that no rule names.

    Parameters
    ----------
    clips
        As `tasks.clips.discovery` makes them: labelled by their folder `Fight`.
    settings
        Where they name no source of labels, the clips stay as they are.

    Raises
    ------
    FightposeError
        If a file cannot be read, or a pattern is not a regular expression.
    """
    # The order is the precedence: the first rule that knows a clip decides.
    rules = []
    if settings.labels is not None and not only_splits(settings.labels, "label"):
        rules.append(labels_by_csv(settings.labels, settings.classes))
    if settings.label_pattern is not None:
        rules.append(labels_by_pattern(settings.label_pattern, settings.classes))
    if settings.classes:
        rules.append(labels_by_folder(settings.classes))
    labelled, unnamed = [], []
    for clip in clips:
        label = next((label for rule in rules if (label := rule(clip.frame_dir)) is not None), None)
        labelled.append(clip if label is None else replace(clip, label=label))
        # Without any rule the label from the folder counts, so nothing is unnamed then.
        if rules and label is None:
            unnamed.append(clip.frame_dir)
    return labelled, unnamed


def class_names(settings: DatasetSettings) -> dict[int, str]:
    """Return the name of each class number, of a fight and of none where the settings name no classes.

    >>> class_names(DatasetSettings())
    {1: 'Fight', 0: 'No fight'}
    """
    if not settings.classes:
        return {1: "Fight", 0: "No fight"}
    names: dict[int, list[str]] = {}
    for name, number in settings.classes.items():
        names.setdefault(number, []).append(name)
    # Several folder names may be one class.
    return {number: " / ".join(names[number]) for number in sorted(names)}


def check_sources(clips: Sequence[Clip], settings: DatasetSettings) -> list[str]:
    """Hold the tables and patterns for labels and groups against all clips of an input, before any work is done.

    Returns
    -------
    list of str
        A line for rows that name no clip, for clips that no row names, and for folders that match in another case.

    Raises
    ------
    FightposeError
        If a table or pattern matches nothing, a row names several clips, or rows contradict each other.
    """
    names = [clip.frame_dir for clip in clips]
    lines = []
    # Tables of splits alone are held against the clips by `tasks.clips.given_splits.check_given`.
    if settings.labels is not None and not only_splits(settings.labels, "label"):
        # Where the table is the only rule, `unnamed_warning` counts the clips that are not in it.
        alone = settings.label_pattern is None and not settings.classes
        lines += label_table(settings.labels, settings.classes).report(names, "" if alone else "label")
    if settings.groups is not None and not only_splits(settings.groups, "group"):
        lines += group_table(settings.groups).report(names, "group")
    if settings.label_pattern is not None:
        rule = labels_by_pattern(settings.label_pattern, settings.classes)
        _require_any(settings.label_pattern, "label pattern", rule, names)
    if settings.group_pattern is not None:
        match = matcher(settings.group_pattern)
        _require_any(settings.group_pattern, "group pattern", match, names)
    return lines + case_warnings(clips, settings.classes)


def unnamed_warning(unnamed: Sequence[str]) -> list[str]:
    """Return a line about clips that no rule gives a label (see `label_clips`); none where there are none."""
    if not unnamed:
        return []
    return [
        f"no label rule matches {counted(len(unnamed), 'clip')}, so the folder decides: "
        f"1 below {FIGHT_FOLDER}, else 0; the first: {unnamed[0]}"
    ]


def case_warnings(clips: Iterable[Clip], classes: Mapping[str, int]) -> list[str]:
    """Return a line for each folder that names a class in another case, with the label that its clips got.

    Parameters
    ----------
    clips
        The clips of an input.
    classes
        Class number by name; without any, the folder `Fight` is the one that counts.
    """
    known = {name_key(name): (name, number) for name, number in (classes or {FIGHT_FOLDER: 1}).items()}
    exact = {normal(name) for name in classes or {FIGHT_FOLDER: 1}}
    # Each folder counts once per clip, even where its name occurs twice in one path.
    found = Counter(
        folder
        for clip in clips
        for folder in dict.fromkeys(PurePosixPath(normal(clip.frame_dir)).parts[:-1])
        if name_key(folder) in known and folder not in exact
    )
    lines = []
    for folder, count in sorted(found.items()):
        name, number = known[name_key(folder)]
        lines.append(f"the folder {folder} ({counted(count, 'clip')}) is taken for {name}: label {number}")
    return lines


def group_rule(settings: DatasetSettings) -> GroupRule | None:
    """Return the rule by which clips stay together in the splits; None where each clip is a group of its own.

    Raises
    ------
    FightposeError
        If the file cannot be read, or the pattern is not a regular expression.
    """
    if settings.groups is not None and not only_splits(settings.groups, "group"):
        return groups_by_csv(settings.groups)
    return groups_by_pattern(settings.group_pattern) if settings.group_pattern is not None else None


def labels_by_folder(classes: Mapping[str, int]) -> LabelRule:
    """Return a rule by folder names without case, the innermost that is named deciding.

    >>> labels_by_folder({"Fight": 1, "Walk": 2})("set/walk/cam 1/a")
    2
    """
    exact = {normal(name): number for name, number in classes.items()}
    numbers = {name_key(name): number for name, number in classes.items()}

    def rule(frame_dir: str) -> int | None:
        """Look the folders up from the clip outwards."""
        for folder in reversed(PurePosixPath(normal(frame_dir)).parts[:-1]):
            # Two classes may differ in case only: the one that is spelt like the folder goes first.
            label = exact.get(folder, numbers.get(name_key(folder)))
            if label is not None:
                return label
        return None

    return rule


def labels_by_pattern(pattern: str, classes: Mapping[str, int]) -> LabelRule:
    """Return a rule by a regular expression, whose first group (or whole match) names the class.

    Raises
    ------
    FightposeError
        If the pattern is not a regular expression.
    """
    match = matcher(pattern)
    numbers = {normal(name): number for name, number in classes.items()}
    return lambda frame_dir: numbers.get(match(frame_dir) or "")


def labels_by_csv(path: Path, classes: Mapping[str, int] | None = None) -> LabelRule:
    """Return a rule by a CSV file; see `label_table`."""
    table = label_table(path, classes)
    return table.only_value


def label_table(path: Path, classes: Mapping[str, int] | None = None) -> ClipTable[int]:
    """Read a CSV file with the columns `clip` and `label`.

    Parameters
    ----------
    path
        See `tasks.clips.names.read_rows`. `clip` is any form of a clip's name, a closer one going before a looser one.
        `label` is a whole number, or the name of a class.
    classes
        The numbers of the names.

    Raises
    ------
    FightposeError
        If the file cannot be read, lacks a column, or names a clip twice with different labels.
    """
    # Class names in normal form, as a table may store accents in another way than the command line.
    numbers = {normal(name): number for name, number in (classes or {}).items()}
    rows = []
    for line, row in read_rows(path, ("clip", "label")):
        label = _label_of(row["label"], numbers)
        if label is None:
            raise FightposeError(
                f"{path}, line {line}: the label {row['label'][:40]!r} is neither a whole number from 0 to "
                f"{LARGEST_LABEL} nor a class"
            )
        rows.append(Row(line, row["clip"], label))
    return ClipTable(path, rows).without_contradictions("labels")


def _label_of(value: str, numbers: Mapping[str, int]) -> int | None:
    """Return the label that a cell of a table names, as a number or as a class; None if it names none."""
    if not value.isdecimal():
        return numbers.get(value)
    # By its length first: Python refuses to read numbers of thousands of digits.
    return int(value) if len(value) <= 9 and int(value) <= LARGEST_LABEL else None


def groups_by_pattern(pattern: str) -> GroupRule:
    """Return a rule by a regular expression: clips with the same first group (or whole match) belong together.

    A clip that does not match is a group of its own.

    >>> groups_by_pattern("cam([0-9]+)")("set/Fight/cam07_a")
    '07'
    """
    match = matcher(pattern)
    return lambda frame_dir: match(frame_dir) or frame_dir


def groups_by_csv(path: Path) -> GroupRule:
    """Return a rule by a CSV file with the columns `clip` and `group`, read as in `label_table`."""
    table = group_table(path)
    return lambda frame_dir: table.only_value(frame_dir) or frame_dir


def group_table(path: Path) -> ClipTable[str]:
    """Read a CSV file with the columns `clip` and `group`, as in `label_table`."""
    rows = [Row(line, row["clip"], row["group"]) for line, row in read_rows(path, ("clip", "group"))]
    return ClipTable(path, rows).without_contradictions("groups")


def only_splits(path: Path, column: str) -> bool:
    """Tell whether a table gives splits and nothing else: it has a column `split`, and not the one named.

    Raises
    ------
    FightposeError
        If the file cannot be read, or has no column `clip`.
    """
    first = next(read_rows(path, ("clip",)), None)
    return first is not None and column not in first[1] and "split" in first[1]


def class_warnings(labels: Mapping[str, int], split: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a line for each class that has too few clips to train and test on, or none in a split.

    Parameters
    ----------
    labels
        Identifier to label.
    split
        Split name to identifiers.
    """
    counts = Counter(labels.values())
    lines = [
        f"class {label} has {counted(count, 'clip')}: too few to train and test on"
        for label, count in sorted(counts.items())
        if count < FEW_CLIPS
    ]
    # Only classes with enough clips: for smaller ones the warning above says the cause already.
    for name, members in split.items():
        there = {labels[member] for member in members}
        lines += [
            f"class {label} has no clip in the split {name}: its groups are too few"
            for label, count in sorted(counts.items())
            if label not in there and count >= FEW_CLIPS
        ]
    if len(counts) == 1:
        lines.append(f"all clips are of class {next(iter(counts))}: nothing can be learned from them")
    return lines


def _require_any(pattern: str, what: str, rule: Callable[[str], object], names: Sequence[str]) -> None:
    """Refuse a pattern that says nothing about any clip."""
    if names and all(rule(name) is None for name in names):
        raise FightposeError(
            f"the {what} {pattern!r} matches none of the input's {counted(len(names), 'clip')}, such as {names[0]}"
        )


def matcher(pattern: str) -> Callable[[str], str | None]:
    """Return a function that gives the first group, or the whole, of a pattern's match."""
    try:
        # Pattern and text are both brought to normal form, or an accent could never match.
        compiled = re.compile(normal(pattern))
    except re.error as error:
        raise FightposeError(f"{pattern!r} is not a regular expression: {error}") from error

    def match(text: str) -> str | None:
        """Return what names the class or group."""
        found = compiled.search(normal(text))
        # A pattern without a group means its whole match.
        return found[1 if compiled.groups else 0] if found else None

    return match
