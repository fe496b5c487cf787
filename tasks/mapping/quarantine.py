"""What to do about the findings of a mapping check: which clips to run again, and where corrupt files go.

A clip whose outputs are set aside counts as not annotated, so the next run over its folder makes them anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tasks.clips.discovery import Clip, normal
from tasks.core.errors import FightposeError
from tasks.mapping.verify import FindingKind, MappingReport

QUARANTINE_FOLDER = "quarantine"

QUARANTINE_ENDING = ".quarantined"
"""Follows the whole file name: nothing that looks for annotations or overlays by their ending finds the file."""

CORRUPT = frozenset(
    {
        FindingKind.UNREADABLE_ANNOTATION,
        FindingKind.UNREADABLE_OVERLAY,
        FindingKind.WRONG_CLIP,
        FindingKind.FRAME_COUNT,
        FindingKind.FRAME_RATE,
        FindingKind.INVALID,
    }
)
"""Findings that say that a file is not what it should be."""

REPAIRABLE = CORRUPT | {
    FindingKind.UNACCOUNTED,
    FindingKind.MISSING_ANNOTATION,
    FindingKind.MISSING_OVERLAY,
    FindingKind.STALE,
}
"""Findings that another run over the clip mends."""


def clips_to_repair(report: MappingReport, clips: Iterable[Clip]) -> list[Clip]:
    """Return the clips that another run would mend, in the order given.

    Parameters
    ----------
    report
        Of `tasks.mapping.verify.verify_mapping`.
    clips
        The clips of the output root (`tasks.clips.manifest.read_manifests`).
    """
    wrong = {finding.clip for finding in report.findings if finding.kind in REPAIRABLE}
    return [clip for clip in clips if normal(clip.frame_dir) in wrong]


def quarantine(report: MappingReport) -> list[tuple[Path, Path]]:
    """Move corrupt outputs out of the way, to `<output root>/quarantine/<relative path>.quarantined`.

    Parameters
    ----------
    report
        Of `tasks.mapping.verify.verify_mapping`; only files of findings in `CORRUPT` are moved, never inputs or the
        merged data set.

    Returns
    -------
    list of (Path, Path)
        What was moved, from where and where to.

    Raises
    ------
    FightposeError
        If a file cannot be moved.
    """
    files = {path for finding in report.findings if finding.kind in CORRUPT for path in finding.files}
    moved = []
    for path in sorted(files):
        target = _free(report.output_root / QUARANTINE_FOLDER / path.relative_to(report.output_root))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        except FileNotFoundError:
            # Someone else, or a run that is under way, has taken it away since the check.
            continue
        except OSError as error:
            raise FightposeError(f"cannot move {path} to {target}: {error.strerror or error}") from error
        moved.append((path, target))
    return moved


def _free(path: Path) -> Path:
    """Return a name for a file in quarantine that none of an earlier time has."""
    candidate = path.with_name(path.name + QUARANTINE_ENDING)
    number = 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}.{number}{QUARANTINE_ENDING}")
    return candidate
