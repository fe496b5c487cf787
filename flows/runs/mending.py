"""Check the outputs of runs and mend what is wrong, once for the flow and for the command line.

Prefect-free: the caller says how clips are annotated again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flows.runs.results import DatasetSummary
from tasks.clips.failures import current_failures
from tasks.clips.manifest import read_manifests, restore_manifests
from tasks.core.text import normal
from tasks.mapping.findings import MappingReport
from tasks.mapping.quarantine import clips_to_repair
from tasks.mapping.quarantine import quarantine as set_aside
from tasks.mapping.verify import verify_mapping

Rerun = Callable[[list[str]], DatasetSummary]
"""Annotates clips again, given their identifiers."""


def verify_and_mend(
    output_root: Path,
    deep: bool,
    quarantine: bool,
    rerun: Rerun | None,
    tell: Callable[[str], None] = lambda line: None,
) -> MappingReport:
    """Check an output root and mend what is wrong: the one rule for the flow and for the command line.

    Parameters
    ----------
    output_root, deep
        See `tasks.mapping.verify.verify_mapping`.
    quarantine
        Whether corrupt outputs and orphans are moved away.
    rerun
        Annotates clips again; None where nothing is to be mended.
    tell
        Is given a line about each thing that is done.

    Returns
    -------
    MappingReport
        Of the last check. Clips that could not be mended are in its `unmended`, those that failed included: such a
        report is not ok, and a run of the command line ends with 1.
    """
    report = verify_mapping(output_root, deep)
    for source, target in set_aside(report) if quarantine else ():
        tell(f"moved {source} to {target}")
    # Moved files are still in this report: they were found wrong, whatever was done about them.
    if rerun is None or report.ok:
        return report
    # Before the manifests are read: a lost one would hide its clips from the mend.
    restore_manifests(output_root)
    clips = [clip.frame_dir for clip in clips_to_repair(report, read_manifests(output_root))]
    tell(f"{report.headline()}; clips to be annotated again: {len(clips)}")
    # Also without clips: the data set is merged again.
    rerun(clips)
    # Checked again and not assumed: a mend may fail, or bring something else to light.
    after = verify_mapping(output_root, deep)
    failed = {failure.frame_dir for failure in current_failures(output_root)}
    # A clip that fails is accounted for in the next check; that its mend failed is said now.
    unmended = sorted({*after.unmended, *(normal(name) for name in clips if name in failed)})
    return replace(after, unmended=unmended)
