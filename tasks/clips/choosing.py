"""Which of the clips that were found a run takes: by patterns, by a list, or a few of each folder."""

from __future__ import annotations

import fnmatch
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath

from tasks.clips.discovery import Clip
from tasks.core.errors import FightposeError
from tasks.core.settings import DatasetSettings

MOST_LIST_BYTES = 1 << 28
"""Size of a list of clips beyond which it is taken for another kind of file: a line each for a million clips."""


def chosen_clips(clips: Sequence[Clip], settings: DatasetSettings) -> list[Clip]:
    """Return the clips that the list and the patterns of the settings leave.

    Parameters
    ----------
    clips
        All that were found.
    settings
        `clip_list`, `include` and `exclude` of it.

    Raises
    ------
    FightposeError
        If the list cannot be read or names a clip that was not found, or nothing is left.
    """
    # The list comes first, and exclusion last: what is excluded is out, whatever else names it.
    chosen = _listed(clips, settings.clip_list) if settings.clip_list is not None else list(clips)
    if settings.include:
        chosen = [clip for clip in chosen if _matches(clip, settings.include)]
    if settings.exclude:
        chosen = [clip for clip in chosen if not _matches(clip, settings.exclude)]
    # An empty choice is an error: a mistyped pattern would otherwise look like a finished run.
    if not chosen:
        raise FightposeError(
            f"none of the {len(clips)} clips is left by --list, --include and --exclude; a pattern is matched against "
            f"the path below the input, as {clips[0].relative!r}, and against the file's name"
        )
    return chosen


def across_folders(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Return so many clips, in turn from each folder, so that a small sample shows every class.

    Parameters
    ----------
    clips
        By relative path.
    count
        How many to take at most.
    """
    folders: dict[PurePosixPath, list[Clip]] = defaultdict(list)
    for clip in clips:
        folders[PurePosixPath(clip.relative).parent].append(clip)
    turns = chain.from_iterable(zip_longest(*folders.values()))
    taken = [clip for clip in turns if clip is not None][:count]
    return sorted(taken, key=lambda clip: clip.relative)


def _matches(clip: Clip, patterns: Iterable[str]) -> bool:
    """Tell whether one of the patterns fits a clip's path or its file name; `*` matches `/` as well."""
    # Under NFC: Korean names come decomposed from some systems, and composed from a keyboard.
    path = unicodedata.normalize("NFC", clip.relative)
    name = PurePosixPath(path).name
    return any(
        fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(name, pattern)
        for pattern in (unicodedata.normalize("NFC", pattern) for pattern in patterns)
    )


def _listed(clips: Sequence[Clip], path: Path) -> list[Clip]:
    """Return the clips that a list names, in the order of the clips."""
    by_path = {unicodedata.normalize("NFC", clip.relative): clip for clip in clips}
    # The input root is what remains of a clip's path without its relative part.
    root = clips[0].path.parents[clips[0].relative.count("/")]
    wanted = set()
    for number, line in enumerate(_lines(path), start=1):
        entry = unicodedata.normalize("NFC", line.strip())
        if not entry or entry.startswith("#"):
            continue
        inside = Path(entry)
        relative = (inside.relative_to(root) if inside.is_relative_to(root) else inside).as_posix()
        if relative not in by_path:
            raise FightposeError(f"{path}, line {number}: there is no clip {entry!r} below {root}; correct the line")
        wanted.add(by_path[relative].relative)
    return [clip for clip in clips if clip.relative in wanted]


def _lines(path: Path) -> list[str]:
    """Read a list of clips."""
    try:
        if path.stat().st_size > MOST_LIST_BYTES:
            raise FightposeError(f"{path} is too large for a list of clips; give a text file with one path per line")
        # utf-8-sig: editors write a byte order mark.
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FightposeError(
            f"cannot read the list of clips {path}: {error}; it must be a text file in UTF-8 with one path per line"
        ) from error
