"""Labels and groups from other sources than a folder called `Fight`: folder names, a regular expression, a CSV file.

A rule takes a clip's identifier (its `frame_dir`, a path with `/`) and gives its label or group, None where it says
nothing. Names are compared under NFC: Korean ones come decomposed from some systems, and composed from a keyboard.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tasks.clips.discovery import VIDEO_ENDINGS, Clip, normal
from tasks.core.errors import FightposeError
from tasks.core.settings import DatasetSettings

LabelRule = Callable[[str], int | None]
GroupRule = Callable[[str], str]

_T = TypeVar("_T")

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
        If a file cannot be read, or a pattern is none.
    """
    rules = []
    if settings.labels is not None:
        rules.append(labels_by_csv(settings.labels, settings.classes))
    if settings.label_pattern is not None:
        rules.append(labels_by_pattern(settings.label_pattern, settings.classes))
    if settings.classes:
        rules.append(labels_by_folder(settings.classes))
    labelled, unnamed = [], []
    for clip in clips:
        label = next((label for rule in rules if (label := rule(clip.frame_dir)) is not None), None)
        labelled.append(clip if label is None else replace(clip, label=label))
        if rules and label is None:
            unnamed.append(clip.frame_dir)
    return labelled, unnamed


def group_rule(settings: DatasetSettings) -> GroupRule | None:
    """Return the rule by which clips stay together in the splits; None where each stands alone.

    Raises
    ------
    FightposeError
        If the file cannot be read, or the pattern is none.
    """
    if settings.groups is not None:
        return groups_by_csv(settings.groups)
    return groups_by_pattern(settings.group_pattern) if settings.group_pattern is not None else None


def labels_by_folder(classes: Mapping[str, int]) -> LabelRule:
    """Return a rule by folder names, the innermost that is named deciding.

    >>> labels_by_folder({"Fight": 1, "Walk": 2})("set/Walk/cam 1/a")
    2
    """
    numbers = {normal(name): number for name, number in classes.items()}

    def rule(frame_dir: str) -> int | None:
        """Look the folders up from the clip outwards."""
        folders = reversed(PurePosixPath(normal(frame_dir)).parts[:-1])
        return next((numbers[folder] for folder in folders if folder in numbers), None)

    return rule


def labels_by_pattern(pattern: str, classes: Mapping[str, int]) -> LabelRule:
    """Return a rule by a regular expression, whose first group (or whole match) names the class.

    Raises
    ------
    FightposeError
        If the pattern is none.
    """
    match = _matcher(pattern)
    numbers = {normal(name): number for name, number in classes.items()}
    return lambda frame_dir: numbers.get(match(frame_dir) or "")


def labels_by_csv(path: Path, classes: Mapping[str, int] | None = None) -> LabelRule:
    """Return a rule by a CSV file with the columns `clip` and `label`.

    Parameters
    ----------
    path
        UTF-8, a byte order mark is allowed. `clip` is an identifier or its last part, with or without ending; a longer
        entry goes before a shorter one. `label` is a whole number, or the name of a class.
    classes
        The numbers of the names.

    Raises
    ------
    FightposeError
        If the file cannot be read, lacks a column, or an entry stands twice with different labels.
    """
    numbers = {normal(name): number for name, number in (classes or {}).items()}
    labels: dict[str, int] = {}
    for line, clip, value in _csv_rows(path, "label"):
        label = int(value) if value.isdecimal() else numbers.get(value)
        if label is None:
            raise FightposeError(f"{path}, line {line}: the label {value!r} is neither a whole number nor a class")
        if labels.setdefault(clip, label) != label:
            raise FightposeError(f"{path}, line {line}: {clip} has two labels")
    return lambda frame_dir: lookup(labels, frame_dir)


def groups_by_pattern(pattern: str) -> GroupRule:
    """Return a rule by a regular expression: clips with the same first group (or whole match) belong together.

    A clip that does not match is a group of its own.

    >>> groups_by_pattern("cam([0-9]+)")("set/Fight/cam07_a")
    '07'
    """
    match = _matcher(pattern)
    return lambda frame_dir: match(frame_dir) or frame_dir


def groups_by_csv(path: Path) -> GroupRule:
    """Return a rule by a CSV file with the columns `clip` and `group`, read as in `labels_by_csv`."""
    groups = {clip: value for _, clip, value in _csv_rows(path, "group")}
    return lambda frame_dir: lookup(groups, frame_dir) or frame_dir


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
        f"class {label} has {count} clips: too few to train and test on"
        for label, count in sorted(counts.items())
        if count < FEW_CLIPS
    ]
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


def _matcher(pattern: str) -> Callable[[str], str | None]:
    """Return a function that gives the first group, or the whole, of a pattern's match."""
    try:
        compiled = re.compile(normal(pattern))
    except re.error as error:
        raise FightposeError(f"{pattern!r} is no regular expression: {error}") from error

    def match(text: str) -> str | None:
        """Return what names the class or group."""
        found = compiled.search(normal(text))
        return found[1 if compiled.groups else 0] if found else None

    return match


def _csv_rows(path: Path, column: str) -> list[tuple[int, str, str]]:
    """Return line number, clip and value of each row."""
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = {"clip", column} - set(reader.fieldnames or ())
            if missing:
                raise FightposeError(
                    f"{path}: has no column {', '.join(sorted(missing))}; needed are clip and {column}"
                )
            return [
                (reader.line_num, normal(row["clip"] or "").strip(), normal(row[column] or "").strip())
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FightposeError(f"cannot read {path}: {error}; it must be a CSV file in UTF-8") from error


def lookup(table: Mapping[str, _T], frame_dir: str) -> _T | None:
    """Return the entry of a clip, None where there is none.

    Parameters
    ----------
    table
        By the clip's whole path, or an end of it, with or without ending, under NFC; the longest counts.
    frame_dir
        The clip's identifier.
    """
    parts = PurePosixPath(normal(frame_dir)).parts
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        for key in (end, *(f"{end}{ending}" for ending in VIDEO_ENDINGS)):
            if key in table:
                return table[key]
    return None
