"""What to do about the findings of a mapping check: which clips to run again, and where corrupt files go.

A clip whose outputs are set aside counts as not annotated, so the next run over its folder makes them again. Clips that
were annotated again for the same findings before are left alone (`MappingReport.unmended`): the next round would move
the same files and make them once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tasks.clips.discovery import Clip
from tasks.core.errors import FightposeError
from tasks.core.text import normal
from tasks.mapping.findings import CORRUPT, REPAIRABLE, FindingKind, MappingReport

QUARANTINE_FOLDER = "quarantine"

QUARANTINE_ENDING = ".quarantined"
"""Follows the whole file name: nothing that looks for annotations or overlays by their ending finds the file."""

MOVED = CORRUPT | {FindingKind.ORPHAN}
"""Findings whose files are moved: corrupt ones, and outputs of inputs that were renamed, moved or removed."""


def clips_to_repair(report: MappingReport, clips: Iterable[Clip]) -> list[Clip]:
    """Return the clips that another run would mend, in the order given.

    Parameters
    ----------
    report
        Of `tasks.mapping.verify.verify_mapping`.
    clips
        The clips of the output root (`tasks.clips.manifest.read_manifests`).
    """
    wrong = {finding.clip for finding in report.findings if finding.kind in REPAIRABLE} - set(report.unmended)
    return [clip for clip in clips if normal(clip.frame_dir) in wrong]


def quarantine(report: MappingReport) -> list[tuple[Path, Path]]:
    """Move corrupt outputs and orphans out of the way, to `<output root>/quarantine/<relative path>.quarantined`.

    Parameters
    ----------
    report
        Of `tasks.mapping.verify.verify_mapping`; only files of findings in `MOVED` are moved, never inputs or the
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
    unmended = set(report.unmended)
    findings = [finding for finding in report.findings if finding.kind in MOVED and finding.clip not in unmended]
    moved = []
    for path in sorted({path for finding in findings for path in finding.files}):
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
    # An earlier quarantined file of the same name is evidence too, and is not overwritten.
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}.{number}{QUARANTINE_ENDING}")
    return candidate
