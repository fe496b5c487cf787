"""Check that every input has its annotation and its overlay, and that they belong together; mend what can be mended.

Problem: over months outputs are moved, cut short, made under other settings or lost. Solution: every file is opened and
held against the list of inputs. On request corrupt files are moved out of the way, and the clips that lack something
are annotated again by `retry-failed`, which repeats no extraction.
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.annotate_dataset import Count, InFlight
from flows.retry_failed import retry_failed
from flows.runs.artifacts import show_findings
from flows.runs.pool import cancel_children
from tasks import steps
from tasks.clips.manifest import read_manifests
from tasks.core.choices import Mode
from tasks.mapping.quarantine import clips_to_repair
from tasks.mapping.verify import MappingReport


@flow(name="verify-mapping", flow_run_name="verify {output_root.name}", on_cancellation=[cancel_children])
def verify_mapping_flow(
    output_root: Path,
    deep: bool = False,
    quarantine: bool = False,
    fix: bool = False,
    mode: Mode = Mode.SINGLE,
    num_workers: Count | None = None,
    in_flight: InFlight = 20,
) -> MappingReport:
    """Verify the outputs of earlier runs, publish what is wrong, and mend it if told so.

    Args:
        output_root: Folder below which the outputs were written.
        deep: Hold every annotation against every rule of the contract and its input's content, too.
        quarantine: Move corrupt outputs to the folder quarantine of the output root.
        fix: Annotate again what is missing, stale or corrupt, and verify once more.
        mode: How clips are annotated again - single, parallel, or pool as runs of their own on the work pool.
        num_workers: Most worker processes in mode parallel; empty means as many as cores and memory carry.
        in_flight: Most clips queued or running at once in mode pool.
    """
    report = steps.verify(output_root, deep)
    if quarantine:
        steps.set_aside(report)
    if fix and not report.ok:
        clips = clips_to_repair(report, read_manifests(output_root))
        retry_failed(output_root, mode, None, num_workers, in_flight, clips=[clip.frame_dir for clip in clips])
        report = steps.verify(output_root, deep)
    show_findings(report)
    return report
