"""Labels of windows from a table of intervals: who marked a long video up says when something happens in it.

Such tables come from video players and annotation programs, which count in seconds, or from scripts, which count in
frames; both are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.annotations.convert.windows import WindowLabel
from tasks.annotations.format import Annotation
from tasks.clips.names import ClipTable, Row, read_rows
from tasks.core.errors import FightposeError

NEEDS = "it needs the columns clip, start, stop and label, with frames as whole numbers or seconds such as 12.5s"


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of a video and its label.

    Attributes
    ----------
    start, stop
        Where it begins and where it has ended, in frames from 0 or, if `in_seconds`, in seconds.
    in_seconds
        The unit.
    label
        Class number.
    """

    start: float
    stop: float
    in_seconds: bool
    label: int

    def frames(self, fps: float) -> tuple[float, float]:
        """Return start and stop in frames, at a number of frames per second."""
        factor = fps if self.in_seconds else 1.0
        return self.start * factor, self.stop * factor


def interval_table(path: Path, classes: Mapping[str, int] | None = None) -> ClipTable[Interval]:
    """Read a CSV file with the columns `clip`, `start`, `stop` and `label`.

    Parameters
    ----------
    path
        See `tasks.clips.names.read_rows`. `clip` is any form of a clip's name. `start` and `stop` are frame numbers
        from 0, the latter excluded, or seconds, written as `12.5s` or in columns called `start_seconds` and
        `stop_seconds`.
        `label` is a class number or name.
    classes
        The numbers of the names.

    Raises
    ------
    FightposeError
        If the file cannot be read, or a row says nothing usable.
    """
    rows = []
    # Which other columns are needed depends on the unit, so that only `clip` is asked for here.
    for line, row in read_rows(path, ("clip",)):
        try:
            rows.append(Row(line, row["clip"], _interval(row, classes or {})))
        except (KeyError, ValueError) as error:
            what = f"there is no column {error}" if isinstance(error, KeyError) else str(error)
            raise FightposeError(f"{path}, line {line}: {what}; {NEEDS}") from error
    return ClipTable(path, rows)


def label_by_intervals(path: Path, classes: Mapping[str, int] | None = None) -> WindowLabel:
    """Return a rule by a table of intervals; see `label_by_table`."""
    return label_by_table(interval_table(path, classes))


def label_by_table(table: ClipTable[Interval]) -> WindowLabel:
    """Return a rule: a window has the label that covers most of it, if that is at least half of the window, else 0.

    Intervals of one label that follow each other count together; where they overlap, once.
    """

    def rule(annotation: Annotation, start: int, stop: int) -> int:
        """Sum up how many frames of the window each label covers."""
        stretches: dict[int, list[tuple[float, float]]] = {}
        for row in table.find(annotation["frame_dir"]):
            # Without a frame rate seconds would silently be taken as frames.
            if row.value.in_seconds and "fps" not in annotation:
                raise FightposeError(
                    f"{table.path}, line {row.line}: says seconds, but {annotation['frame_dir']} has no frame rate; "
                    "write frames"
                )
            begin, end = row.value.frames(float(annotation.get("fps", 1.0)))
            # Cut to the window; an interval outside it gets an end before its begin, which `_covered` leaves out.
            stretches.setdefault(row.value.label, []).append((max(begin, start), min(end, stop)))
        # Where two labels cover as much, the second part of the pair decides: the higher class number.
        most, label = max(((_covered(parts), label) for label, parts in stretches.items()), default=(0.0, 0))
        return label if most > 0 and 2 * most >= stop - start else 0

    return rule


def _interval(row: Mapping[str, str], classes: Mapping[str, int]) -> Interval:
    """Return the interval that a row states.

    Raises
    ------
    KeyError, ValueError
        If a column is missing or holds something else.
    """
    by_column = "start_seconds" in row
    texts = (row["start_seconds"], row["stop_seconds"]) if by_column else (row["start"], row["stop"])
    with_unit = [text.lower().endswith("s") for text in texts]
    if any(with_unit) and not all(with_unit):
        raise ValueError(f"start is {texts[0]!r} and stop {texts[1]!r}: one in seconds, the other in frames")
    in_seconds = by_column or all(with_unit)
    # Frames are whole: a fraction is most likely meant as seconds, and taking it for frames would label nothing.
    start, stop = (float(text.lower().removesuffix("s")) if in_seconds else int(text) for text in texts)
    if not 0 <= start < stop < float("inf"):
        raise ValueError(f"no interval goes from {texts[0]} to {texts[1]}")
    text = row["label"]
    label = int(text) if text.isdecimal() else classes.get(text)
    if label is None:
        raise ValueError(f"the label {text!r} is neither a class number nor the name of a class")
    return Interval(start, stop, in_seconds, label)


def _covered(parts: Sequence[tuple[float, float]]) -> float:
    """Return the length that stretches cover together, overlaps counted once; empty ones count nothing."""
    covered, reached = 0.0, float("-inf")
    # Sorted by their begin, so that one number tells how far all earlier ones reach.
    for begin, end in sorted(parts):
        if end > max(begin, reached):
            covered += end - max(begin, reached)
            reached = end
    return covered
