"""Removing what shows people: every file of an output folder that holds pixels of the clips.

Annotations, stored poses, tables and logs hold numbers and names, no pictures, and stay. The clips themselves are not
ours and are never touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.clips.output_names import OVERLAY_POSTFIXES
from tasks.core.errors import FightposeError
from tasks.core.storage import require_output_root
from tasks.mapping.pairs import check_avi_pkl_mapping
from tasks.mapping.quarantine import QUARANTINE_FOLDER
from tasks.mapping.receipts import WORK_FOLDER

PICTURE_FOLDERS = ("review/thumbnails", "review/previews")
"""Folders below the work folder that hold nothing but pictures of clips, made again when they are asked for."""

LEFT = (
    "left: annotations, dataset.pkl, stored poses, tables, reports without pictures, corrections and logs; they hold "
    "joints and names, no pictures",
    "not in this folder: the clips themselves, cards in the database of a Prefect server (each holds a small picture), "
    "and files that were exported or copied elsewhere",
    "annotate again with --overlay-privacy skeleton for overlays without pictures, or with --no-save-overlayfile",
)
"""What a purge leaves, in words."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge removed.

    Attributes
    ----------
    files
        The files, relative to the output root.
    bytes
        How much they held.
    """

    files: list[str]
    bytes: int


def pictures_of(output_root: Path) -> list[Path]:
    """Return every file of an output folder that holds pixels of clips, sorted.

    Raises
    ------
    FightposeError
        If the folder does not exist or is none that a run wrote to.
    """
    require_output_root(output_root)
    pairs = check_avi_pkl_mapping(output_root)
    # Files will be deleted: a folder without traces of a run is taken for a mistyped path.
    if not (output_root / WORK_FOLDER).is_dir() and not pairs.annotations and not pairs.overlays:
        raise FightposeError(f"{output_root} is not an output folder: there is nothing of a run in it")
    found = {path for files in pairs.overlays.values() for path in files}
    return sorted(found | set(_others(output_root)))


def purge(output_root: Path) -> Purged:
    """Remove every file of an output folder that holds pixels of clips.

    Raises
    ------
    FightposeError
        If the folder is none that a run wrote to, or a file cannot be removed; those before it are gone then.
    """
    files, size = [], 0
    for path in pictures_of(output_root):
        try:
            held = path.lstat().st_size
            # A link is removed, never the file that it leads to.
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise FightposeError(f"cannot remove {path}: {error.strerror or error}; fix its permissions") from error
        files.append(path.relative_to(output_root).as_posix())
        size += held
    for name in PICTURE_FOLDERS:
        # What is left of these are empty folders.
        shutil.rmtree(output_root / WORK_FOLDER / name, ignore_errors=True)
    return Purged(files, size)


def _others(output_root: Path) -> Iterator[Path]:
    """Yield pictures of the review page, reports with pictures, and overlays in quarantine or never finished."""
    for name in PICTURE_FOLDERS:
        yield from (path for path in (output_root / WORK_FOLDER / name).rglob("*") if not path.is_dir())
    # Quarantined overlays show people as much as the ones in use.
    for path in (output_root / QUARANTINE_FOLDER).rglob("*"):
        if any(postfix in path.name for postfix in OVERLAY_POSTFIXES) and not path.is_dir():
            yield path
    # A report may hold its pictures inside itself.
    for path in output_root.glob("*.html"):
        if b"data:image/" in path.read_bytes():
            yield path
