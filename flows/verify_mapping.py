"""Check that every input has its annotation and its overlay, and that they belong together; mend what can be mended.

Problem: over months outputs are moved, cut short, made under other settings or lost. Solution: every file is opened and
held against the list of inputs. On request corrupt files are moved out of the way, and the clips that lack something
are annotated again by `retry-failed`, which repeats no extraction.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from prefect import flow

from flows.annotate_dataset import Count, InFlight
from flows.retry_failed import retry_failed
from flows.runs.artifacts import show_findings
from flows.runs.mending import verify_and_mend
from flows.runs.pool import cancel_children
from flows.runs.results import DatasetSummary
from tasks.core.choices import Mode
from tasks.mapping.findings import MappingReport


@flow(name="verify-mapping", flow_run_name="verify {output_root.name!r}", on_cancellation=[cancel_children])
def verify_mapping_flow(
    output_root: Path,
    deep: bool = False,
    quarantine: bool = False,
    fix: bool = False,
    mode: Mode = Mode.SINGLE,
    num_workers: Count | None = None,
    in_flight: InFlight = 20,
) -> MappingReport:
    """Verify the outputs of earlier runs, publish what is wrong, and mend it if asked to.

    Args:
        output_root: Folder below which the outputs were written.
        deep: Also check every rule of the contract, every input's content and every output's recorded hash.
        quarantine: Move corrupt outputs, and those whose input is gone, to the folder quarantine of the output root.
        fix: Annotate again what is missing, stale or corrupt, and verify once more.
        mode: How clips are annotated again - single, parallel, or pool as runs of their own on the work pool.
        num_workers: Most worker processes in mode parallel; empty means as many as cores and memory carry.
        in_flight: Most clips queued or running at once in mode pool.
    """

    def rerun(clips: list[str]) -> DatasetSummary:
        """Annotate the clips again as the run asks for."""
        # Without settings, those of the last run are taken, so that mended clips fit the rest of the folder.
        return cast(DatasetSummary, retry_failed(output_root, mode, None, num_workers, in_flight, clips=clips))

    report = verify_and_mend(output_root, deep, quarantine, rerun if fix else None)
    show_findings(report)
    return report
