r"""Which clip a row of a table means: names as people and other programs write them.

Tables come from spreadsheets, other machines and other operating systems, so a clip may be written as `V_1`, `V_1.AVI`,
`./val/Fight/V_1.avi`, `val\Fight\V_1.avi` or `D:\RWF\rwf\val\Fight\V_1.AVI`. Two paths mean the same clip where one is
an end of the other, folder by folder: a short name lacks leading folders, a long one has those of another machine. A
clip's own path starts with the name of the input folder, which may be another one elsewhere; what follows it is enough
for a match, provided that a folder is among it (`Fight/a.avi` must not be taken for `a.avi` of an input `NonFight`).

Compared are NFC forms (Korean names come decomposed from some systems) without case. The ending of a video counts only
where the clip's identifier has one, too: `a.mp4` and `a.avi` of one folder are told apart by it.

Source of the separators and drives: Windows paths as `ntpath` of the standard library takes them apart.
"""

from __future__ import annotations

import csv
import ntpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Generic, Self, TypeVar

from tasks.clips.video_files import VIDEO_ENDINGS
from tasks.core.errors import FightposeError
from tasks.core.text import counted, name_key, normal

V = TypeVar("V")

MOST_NAMED = 5
"""Lines or clips that a warning names before it only counts them."""


@dataclass(frozen=True, slots=True)
class Row(Generic[V]):
    """One row of a table: where it is, what it names as its author wrote it, and what it says."""

    line: int
    name: str
    value: V


class ClipTable(Generic[V]):
    """Rows about clips, found by whatever form of a clip's name they use.

    Parameters
    ----------
    path
        The file, for messages.
    rows
        Its rows.
    """

    def __init__(self, path: Path, rows: Iterable[Row[V]]) -> None:
        self.path, self.rows = path, list(rows)
        # By the whole name of a row, and by every end of it that still holds a folder.
        self._whole: dict[str, list[Row[V]]] = defaultdict(list)
        self._ends: dict[str, list[Row[V]]] = defaultdict(list)
        for row in self.rows:
            parts = _parts(row.name)
            for written in {_joined(parts), _joined(_without_ending(parts))}:
                self._whole[written].append(row)
                folders = written.split("/")
                for start in range(1, len(folders) - 1):
                    self._ends["/".join(folders[start:])].append(row)

    def without_contradictions(self, what: str) -> Self:
        """Return the table itself, if no name in it has two values.

        Raises
        ------
        FightposeError
            With the line and the name; `what` says what the clip has two of.
        """
        values: dict[str, V] = {}
        for row in self.rows:
            if values.setdefault(_joined(_parts(row.name)), row.value) != row.value:
                raise FightposeError(f"{self.path}, line {row.line}: {row.name} has two {what}")
        return self

    def find(self, frame_dir: str) -> list[Row[V]]:
        """Return the rows that name a clip most closely, in the order of the file; empty where none does.

        Parameters
        ----------
        frame_dir
            The clip's identifier, `<input folder>/<folders>/<stem>`.
        """
        parts = _parts(frame_dir)
        for start in range(len(parts)):
            written, bare = _joined(parts[start:]), _joined(_without_ending(parts[start:]))
            rows = self._whole.get(written, []) + self._longer(written, start, len(parts))
            if not rows and bare != written:
                # An identifier with an ending has a neighbour of the same stem: only a row without one may mean it.
                rows = [
                    row for row in self._whole.get(bare, []) if _without_ending(_parts(row.name)) == _parts(row.name)
                ]
            if rows:
                return sorted({row.line: row for row in rows}.values(), key=lambda row: row.line)
        return []

    def _longer(self, written: str, start: int, count: int) -> list[Row[V]]:
        """Return the rows that have further folders in front of a clip's path, or of its path below the input."""
        # From the second part on the clip's path is that below the input folder; a folder has to be among it.
        known = start == 0 or (start == 1 and count - start >= 2)
        return self._ends.get(written, []) if known else []

    def only_value(self, frame_dir: str) -> V | None:
        """Return what the rows say about a clip, None where none names it.

        Raises
        ------
        FightposeError
            If two rows that name it equally closely (`a.mp4` and `a.avi` of a clip `a`) say different things.
        """
        rows = self.find(frame_dir)
        for other in rows[1:]:
            if other.value != rows[0].value:
                raise FightposeError(
                    f"{self.path}: the lines {rows[0].line} and {other.line} say different things of {frame_dir}"
                )
        return rows[0].value if rows else None

    def unused(self, clips: Iterable[str]) -> list[Row[V]]:
        """Return the rows that name none of these clips."""
        # A row counts as used wherever it matches, also where a longer name of the clip goes before it.
        used = {row.line for frame_dir in clips for row in self._all(frame_dir)}
        return [row for row in self.rows if row.line not in used]

    def _all(self, frame_dir: str) -> Iterator[Row[V]]:
        """Yield every row that names a clip, closely or not."""
        parts = _parts(frame_dir)
        for start in range(len(parts)):
            for written in {_joined(parts[start:]), _joined(_without_ending(parts[start:]))}:
                yield from self._whole.get(written, [])
                yield from self._longer(written, start, len(parts))

    def require_clear(self, clips: Sequence[str]) -> None:
        """Refuse a row whose name several clips could mean.

        A clip that another row names more closely is not among them.

        Raises
        ------
        FightposeError
            With the line, the name and the clips.
        """
        meant: dict[int, list[str]] = defaultdict(list)
        for frame_dir in clips:
            for row in self.find(frame_dir):
                meant[row.line].append(frame_dir)
        for row in self.rows:
            if len(meant[row.line]) > 1:
                raise FightposeError(
                    f"{self.path}, line {row.line}: {row.name!r} names {len(meant[row.line])} clips, among them "
                    f"{meant[row.line][0]} and {meant[row.line][1]}; write more of its folders"
                )

    def report(self, clips: Sequence[str], what: str) -> list[str]:
        """Return a line about rows that name no clip and one about clips that no row names.

        Parameters
        ----------
        clips
            Identifiers of all clips of the input.
        what
            What a row gives to a clip, for the message: "label", "group". Empty: clips without a row are not counted.

        Raises
        ------
        FightposeError
            If a row is ambiguous, or no row names any clip: such a table was made for other clips.
        """
        self.require_clear(clips)
        named = [frame_dir for frame_dir in clips if self.find(frame_dir)]
        # No row fits at all: the table is probably for another input, so this is an error and not a warning.
        if clips and not named:
            first = self.rows[0].name if self.rows else ""
            raise FightposeError(
                f"{self.path}: none of its {len(self.rows)} rows names a clip of the input; its first says {first!r}, "
                f"the input's first clip is {clips[0]!r}"
            )
        lines = []
        # Unused rows are mostly typing errors; the first line numbers are enough to find them.
        if unused := self.unused(clips):
            more = ["..."] if len(unused) > MOST_NAMED else []
            numbers = ", ".join([*(str(row.line) for row in unused[:MOST_NAMED]), *more])
            lines.append(f"{self.path}: {counted(len(unused), 'row')} without a clip: line {numbers}")
        left = len(clips) - len(named)
        if left and what:
            other = next(frame_dir for frame_dir in clips if not self.find(frame_dir))
            lines.append(f"{self.path}: {counted(left, 'clip')} without a {what}; the first: {other}")
        return lines


def read_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the values of each row of a CSV file.

    Column names are compared without case and surrounding spaces. Values are stripped and in NFC. Commas, semicolons
    (spreadsheets in many countries) and tabs separate columns: the first line decides. Empty lines are passed over.

    Parameters
    ----------
    path
        UTF-8; a byte order mark, which spreadsheets write, is allowed.
    needed
        Columns that must be there.

    Raises
    ------
    FightposeError
        If the file cannot be read or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header = stream.readline()
            stream.seek(0)
            reader = csv.DictReader(stream, delimiter=max(",;\t", key=header.count))
            reader.fieldnames = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            missing = [name for name in needed if name not in reader.fieldnames]
            if missing:
                raise FightposeError(
                    f"{path}: has no column {', '.join(missing)}; it needs the columns {', '.join(needed)}"
                )
            for row in reader:
                # A row with too few columns has None in the missing ones; one with too many a list under None.
                values = {name: normal(value or "").strip() for name, value in row.items() if isinstance(name, str)}
                if any(values.values()):
                    yield reader.line_num, values
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FightposeError(f"cannot read {path}: {error}; it must be a CSV file in UTF-8") from error


def _parts(name: str) -> tuple[str, ...]:
    """Return the folders and the last part of a name in the form in which names are compared."""
    # Only names that Windows wrote have backslashes; on other systems one may, rarely, be part of a file's name.
    _, below = ntpath.splitdrive(name_key(name.strip()))
    parts = [part for part in below.replace("\\", "/").split("/") if part not in ("", ".")]
    # What leads out of a folder says nothing about where the clip is.
    while ".." in parts:
        parts = parts[parts.index("..") + 1 :]
    return tuple(parts)


def _without_ending(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return a name without the ending of a video."""
    if not parts or PurePosixPath(parts[-1]).suffix not in VIDEO_ENDINGS:
        return parts
    return (*parts[:-1], PurePosixPath(parts[-1]).stem)


def _joined(parts: Sequence[str]) -> str:
    """Return a name as one key."""
    return "/".join(parts)
