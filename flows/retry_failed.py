"""Annotate again what failed, or what a check found wrong.

Problem: after days of work some clips have no annotation, and doing everything again would cost days. Solution: the
failure log names them; each that has no valid annotation is run again, alone. Poses that were extracted before are
found by content, so that only the steps are repeated that did not end. The same way is open to clips that are named:
those whose outputs `verify-mapping` finds missing, stale or corrupt.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.annotate_dataset import Count, FailShare, InFlight, conclude, judged, run_jobs
from flows.engine.jobs import ClipJob
from flows.runs.merging import merge_if_wanted
from flows.runs.origin import require_model_poses
from flows.runs.pool import cancel_children
from flows.runs.results import DatasetSummary
from tasks.annotations.format import AnnotationError, only_annotation
from tasks.annotations.validate import validate_annotation
from tasks.clips.discovery import Clip, find_clip
from tasks.clips.failures import Failure, current_failures, read_failures
from tasks.clips.labels import group_rule, label_clips
from tasks.clips.manifest import read_manifests
from tasks.core.choices import FailOn, Mode
from tasks.core.errors import FightposeError
from tasks.core.settings import DatasetSettings, Settings
from tasks.core.storage import require_output_root
from tasks.core.text import normal
from tasks.mapping.receipts import distrust, recorded_settings
from tasks.mapping.run_lock import sole_run

logger = logging.getLogger(__name__)


@flow(name="retry-failed", flow_run_name="retry failed of {output_root.name!r}", on_cancellation=[cancel_children])
def retry_failed(
    output_root: Path,
    mode: Mode = Mode.SINGLE,
    settings: Settings | None = None,
    num_workers: Count | None = None,
    in_flight: InFlight = 20,
    fail_on: FailOn = FailOn.NONE,
    fail_share: FailShare = 0.1,
    clips: list[str] | None = None,
) -> DatasetSummary | State[DatasetSummary]:
    """Annotate again every clip of the failure log that has no valid annotation.

    Labels and splits are those of the last run, unless the settings name others.

    Args:
        output_root: Folder of an earlier run.
        mode: single runs clip after clip, parallel in worker processes, pool as runs of their own on the work pool.
        settings: Settings of this run; empty takes those that the last run over the folder recorded.
        num_workers: Most worker processes in mode parallel; empty means as many as cores and memory carry.
        in_flight: Most clips queued or running at once in mode pool.
        fail_on: When failed clips make this run a failed one: never, with any, or above a share of them.
        fail_share: The share for fail_on.
        clips: Identifiers of clips to annotate again, whatever the failure log says; empty follows the log.
    """
    require_output_root(output_root)
    require_model_poses(output_root)
    with sole_run(output_root):
        # A clip must not change its class or its split because it is done at another time.
        settings = _with_recorded_labels(settings, recorded_settings(output_root))
        # A file of groups that is gone is told before any work.
        group_rule(settings.dataset)
        jobs = failed_jobs(output_root, settings) if clips is None else named_jobs(clips, output_root, settings)
        logger.info("%d clips are to be annotated again", len(jobs))
        for job in jobs if clips is not None else ():
            # An overlay may have rotted without changing size or time: by its receipt it would be left as it is.
            distrust(job.clip, output_root)
        results = run_jobs(jobs, mode, num_workers, in_flight, total=len(jobs))
        summary = conclude(results, output_root, settings.dataset)
    merge_if_wanted(output_root)
    return judged(summary, fail_on, fail_share)


def failed_jobs(output_root: Path, settings: Settings) -> list[ClipJob]:
    """Return the clips whose failure is current or that have no valid annotation, in the order of their identifiers.

    A clip that failed under new settings may have the annotation of an earlier run, which counts no more.

    Parameters
    ----------
    output_root
        Folder of an earlier run.
    settings
        The settings under which the clips are to be run.
    """
    listed = {clip.frame_dir: clip for clip in read_manifests(output_root)}
    # The log keeps every failure for good: of each clip the last line is the one that counts.
    last = {failure.frame_dir: failure for failure in read_failures(output_root)}
    standing = {failure.frame_dir for failure in current_failures(output_root)}
    found = (listed.get(frame_dir) or _unlisted(failure, output_root) for frame_dir, failure in sorted(last.items()))
    # A failure may be over and its annotation damaged since: such a clip is done again, too.
    clips = [clip for clip in found if clip and (clip.frame_dir in standing or not _has_valid_annotation(clip))]
    return _jobs(clips, output_root, settings)


def named_jobs(names: Sequence[str], output_root: Path, settings: Settings) -> list[ClipJob]:
    """Return the clips that are named by their identifiers.

    Raises
    ------
    FightposeError
        If there is no such clip in the lists of inputs.
    """
    listed = {normal(clip.frame_dir): clip for clip in read_manifests(output_root)}
    unknown = [name for name in names if normal(name) not in listed]
    if unknown:
        raise FightposeError(f"{output_root} lists no input {unknown[0]!r}; run `fightpose annotate` over its folder")
    return _jobs([listed[normal(name)] for name in names], output_root, settings)


def _jobs(clips: Sequence[Clip], output_root: Path, settings: Settings) -> list[ClipJob]:
    """Return the jobs of clips, labelled as the settings say."""
    labelled, _ = label_clips(clips, settings.dataset)
    # The root is what remains of the path without the clip's relative part.
    return [ClipJob(clip, clip.path.parents[clip.relative.count("/")], output_root, settings) for clip in labelled]


def _with_recorded_labels(settings: Settings | None, recorded: Settings) -> Settings:
    """Return the settings of a run: those given, with labels and splits as before unless they name others."""
    if settings is None:
        return recorded
    # Anything but the defaults was chosen by the person who started this run.
    if settings.dataset != DatasetSettings():
        return settings
    return settings.model_copy(update={"dataset": recorded.dataset})


def _unlisted(failure: Failure, output_root: Path) -> Clip | None:
    """Return the clip of a run over one clip, which no manifest lists; None if its input folder cannot be told."""
    clip = find_clip(Path(failure.path), None, output_root)
    if clip.frame_dir == failure.frame_dir:
        return clip
    logger.warning("%s: in no list of inputs; run `fightpose annotate` over its folder", failure.path)
    return None


def _has_valid_annotation(clip: Clip) -> bool:
    """Tell whether a clip has an annotation that keeps the contract."""
    try:
        # A clip's own file holds one annotation; another number means that it is not the file that was written.
        return not validate_annotation(only_annotation(clip.annotation_path))
    except (OSError, AnnotationError):
        return False
