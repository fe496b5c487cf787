"""Annotations and overlays below a folder, paired by relative stem; the earlier scripts' check, with their names.

An output is known by its postfix, at the end of its stem only, and by its ending, whatever the case. Two names that
differ in Unicode form only (Korean names come decomposed from some systems) are the same name. Outputs of the earlier
scripts are recognised by their own postfixes and paired among themselves.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath

from tasks.clips.discovery import Clip
from tasks.clips.output_names import (
    ANNOTATION_POSTFIX,
    EARLIER_ANNOTATION_POSTFIX,
    EARLIER_OVERLAY_POSTFIX,
    OVERLAY_POSTFIX,
)
from tasks.clips.video_files import VIDEO_ENDINGS
from tasks.core.storage import PARTIAL_MARK
from tasks.core.text import normal


class OutputKind(StrEnum):
    """The two outputs of a clip."""

    ANNOTATION = "annotation"
    OVERLAY = "overlay"


# Postfix, endings, kind, and whether it is of the earlier scripts.
_FORMS = (
    (ANNOTATION_POSTFIX, (".pkl",), OutputKind.ANNOTATION, False),
    (OVERLAY_POSTFIX, VIDEO_ENDINGS, OutputKind.OVERLAY, False),
    (EARLIER_ANNOTATION_POSTFIX, (".pkl",), OutputKind.ANNOTATION, True),
    (EARLIER_OVERLAY_POSTFIX, VIDEO_ENDINGS, OutputKind.OVERLAY, True),
)


@dataclass(frozen=True, slots=True, order=True)
class OutputKey:
    """What an annotation and its overlay have in common.

    Attributes
    ----------
    stem
        Folder and stem of the clip relative to the output root, under NFC. It equals the clip's `frame_dir`.
    earlier
        Whether the outputs carry the earlier scripts' postfixes.
    """

    stem: str
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class Pairs:
    """The outputs below a folder.

    Attributes
    ----------
    annotations, overlays
        Files of each key, sorted; more than one is a duplicate.
    """

    annotations: dict[OutputKey, list[Path]] = field(default_factory=dict)
    overlays: dict[OutputKey, list[Path]] = field(default_factory=dict)

    @property
    def matched(self) -> list[OutputKey]:
        """Keys that have both outputs."""
        return sorted(self.annotations.keys() & self.overlays.keys())

    @property
    def without_overlay(self) -> list[OutputKey]:
        """Keys that have an annotation only."""
        return sorted(self.annotations.keys() - self.overlays.keys())

    @property
    def without_annotation(self) -> list[OutputKey]:
        """Keys that have an overlay only."""
        return sorted(self.overlays.keys() - self.annotations.keys())

    @property
    def duplicates(self) -> list[tuple[OutputKey, list[Path]]]:
        """Keys that have several files of one kind, with those files."""
        several = [*self.annotations.items(), *self.overlays.items()]
        return sorted((key, files) for key, files in several if len(files) > 1)


def remove_postfix(stem: str, postfix: str) -> str:
    """Return a stem without a postfix; a postfix in the middle of it stays.

    >>> remove_postfix("a_enhanced_rtmo_overlay", "_enhanced_rtmo_overlay")
    'a'
    """
    return stem.removesuffix(postfix)


def get_files_by_extension(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Return the files below a folder that have one of some endings, whatever the case, sorted by path.

    Hidden files and folders and unfinished files are passed over; links to folders are not followed.

    Parameters
    ----------
    folder
        Searched recursively; a folder that does not exist holds no files.
    endings
        With their dot, for example `.pkl`.
    """
    wanted = {ending.lower() for ending in endings}
    return sorted(path for path in _files(folder) if path.suffix.lower() in wanted)


def check_avi_pkl_mapping(output_root: Path) -> Pairs:
    """Pair the annotations and overlays below a folder by relative stem.

    Nothing is opened; see `tasks.mapping.verify.verify_mapping` for the check that opens the files.
    """
    annotations: dict[OutputKey, list[Path]] = defaultdict(list)
    overlays: dict[OutputKey, list[Path]] = defaultdict(list)
    # Sorted, so that findings come in the same order on every file system.
    for path in sorted(_files(output_root)):
        found = output_of(path.relative_to(output_root).as_posix())
        if found:
            key, kind = found
            (annotations if kind is OutputKind.ANNOTATION else overlays)[key].append(path)
    return Pairs(dict(annotations), dict(overlays))


def find_missing_files(clips: Iterable[Clip]) -> list[Clip]:
    """Return the clips that lack their annotation or their overlay, in the order given."""
    return [clip for clip in clips if not (clip.annotation_path.is_file() and clip.overlay_path.is_file())]


def output_of(relative: str) -> tuple[OutputKey, OutputKind] | None:
    """Return what a file below the output root is, by its relative path; None if it is none of a clip's outputs."""
    path = PurePosixPath(relative)
    # The first form that fits decides, as postfixes of earlier versions resemble today's.
    for postfix, endings, kind, earlier in _FORMS:
        if path.suffix.lower() in endings and path.stem.endswith(postfix):
            stem = path.with_name(remove_postfix(path.stem, postfix) or "_").as_posix()
            return OutputKey(normal(stem), earlier), kind
    return None


def _files(folder: Path) -> Iterator[Path]:
    """Yield every visible, finished file below a folder."""
    for parent, folders, names in os.walk(folder):
        # Assigned in place: that is how os.walk is told not to enter hidden folders.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and PARTIAL_MARK not in name:
                yield Path(parent, name)
