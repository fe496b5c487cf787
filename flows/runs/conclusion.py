"""The end of every run: merge, verify, analyse what an output root holds; and when that need not be repeated.

Prefect-free: the flow passes in its tasks, so that the UI shows them, the command line the plain functions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flows.runs.origin import mark_extracted
from flows.runs.plan import Plan
from flows.runs.results import ClipResult, DatasetSummary
from tasks.clips.failures import JSON_LOG, resolve_failures
from tasks.clips.manifest import read_manifests, write_manifest
from tasks.core.settings import DatasetSettings, Settings
from tasks.core.storage import WORK_FOLDER, key_of, write_json
from tasks.mapping.findings import MappingReport
from tasks.mapping.merged import DATASET_NAME, RECORD_NAME, merge_outputs
from tasks.mapping.receipts import receipt_path, record_settings
from tasks.mapping.run_lock import sole_run
from tasks.mapping.verify import verify_mapping
from tasks.review.log import LOG_NAME, standing_exclusions

logger = logging.getLogger(__name__)

CONCLUDED_NAME = "concluded.json"
"""What the last conclusion that found everything in order saw of the outputs, below the work folder."""


def begin(plan: Plan, output_root: Path, settings: Settings) -> list[ClipResult]:
    """Record what a run is about to do, and return the results of the clips that need no work.

    Has to be called with the output folder locked (`tasks.mapping.run_lock`).
    """
    # Before any clip ends: a run that is killed leaves a folder that verify can hold against its inputs.
    write_manifest(output_root, plan.root, plan.clips, plan.key)
    record_settings(output_root, settings)
    # From here on the folder's clips are done by a model, also where another program's poses were imported before.
    mark_extracted(output_root)
    # A clip may be finished although it failed last: under other settings, or while its file was broken for a while.
    resolve_failures(output_root, [clip.frame_dir for clip, _ in plan.finished])
    return plan.results()


def conclude(
    results: Sequence[ClipResult],
    output_root: Path,
    splitting: DatasetSettings,
    verify: Callable[[Path], MappingReport] = verify_mapping,
    analyse: Callable[[Path], Any] | None = None,
) -> DatasetSummary:
    """Merge, verify and analyse what an output root holds.

    No clip changes its side: the splits of an earlier merge are kept, and clips that are new are added to them.

    Parameters
    ----------
    results
        What became of the clips of this run.
    output_root, splitting
        Where the outputs are, and how clips are grouped in the splits.
    verify, analyse
        The functions that check and analyse, or tasks around them.
    """
    summary = DatasetSummary(sorted(results, key=lambda result: result.clip))
    # Merged before it is verified, since the check covers the data set as well.
    merged = merge_outputs(output_root, splitting, standing_exclusions(output_root))
    summary.warnings = merged.warnings
    report = verify(output_root)
    summary.mapping_ok, summary.mapping_lines = report.ok, report.lines()
    (analyse or _analyse)(output_root)
    # Only outputs in order are remembered: after anything else the next run has to look again.
    if report.ok:
        write_json(
            output_root / WORK_FOLDER / CONCLUDED_NAME,
            # Taken last: the merge has just written some of the files that it covers.
            {"seen": seen(output_root, splitting), "warnings": merged.warnings},
        )
    return summary


def end_without_work(plan: Plan, output_root: Path, settings: Settings) -> DatasetSummary:
    """End a run that has nothing to annotate; quick where nothing changed since the outputs were last in order.

    Raises
    ------
    FightposeError
        If another run holds the output folder.
    """
    with sole_run(output_root):
        results = begin(plan, output_root, settings)
        # After `begin`, which may clear the failure log, one of the files that are compared.
        concluded = _concluded(output_root)
        if concluded is not None and concluded.get("seen") == seen(output_root, settings.dataset):
            summary = DatasetSummary(sorted(results, key=lambda result: result.clip))
            # Warnings of the last merge still hold: without them a second run would look better than the first.
            summary.warnings = [str(line) for line in concluded.get("warnings", [])]
        else:
            summary = conclude(results, output_root, settings.dataset)
    summary.problems = list(plan.problems)
    summary.warnings = plan.warnings + summary.warnings
    return summary


def seen(output_root: Path, splitting: DatasetSettings) -> str:
    """Return a key of all that a conclusion depends on: settings, clips, and size and time of each of their files.

    Contents are not read: that is what `fightpose verify` is for.
    """
    tables = [path for path in (splitting.labels, splitting.groups) if path is not None and path.is_file()]
    # People edit these tables by hand, and a label that changed there changes the data set.
    changed = [(path.stat().st_size, path.stat().st_mtime_ns) for path in tables]
    return key_of(splitting.model_dump(mode="json"), changed, list(_stats(output_root)))


def _stats(output_root: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of change (ns) of each file that a conclusion depends on; zeros for absent ones."""
    names = (DATASET_NAME, "dataset_split.json", JSON_LOG, LOG_NAME, f"{WORK_FOLDER}/{RECORD_NAME}")
    files = [output_root / name for name in names]
    for clip in read_manifests(output_root):
        files += [clip.annotation_path, clip.overlay_path, receipt_path(clip, output_root)]
    files += sorted((output_root / WORK_FOLDER / "review").rglob("*"))
    for path in files:
        # Relative, so that an output folder that was moved as a whole is still known.
        name = path.relative_to(output_root).as_posix()
        try:
            status = path.stat()
        except OSError:
            yield name, 0, 0
            continue
        yield name, status.st_size, status.st_mtime_ns


def _concluded(output_root: Path) -> dict[str, Any] | None:
    """Return what the last conclusion recorded, None where there is none that can be read."""
    try:
        value = json.loads((output_root / WORK_FOLDER / CONCLUDED_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _analyse(output_root: Path) -> None:
    """Write the analysis; imported here, because its tables and charts take a second to load."""
    from tasks.report.write import write_report
    from tasks.review.index import refresh_index

    refresh_index(output_root)
    write_report(output_root)
