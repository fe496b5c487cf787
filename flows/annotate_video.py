"""Annotate one clip: the unit of retry.

Problem: a clip takes seconds to minutes of model time, and anything may fail on the way. Solution: each step is a
Prefect task; a retry of the run repeats only what is not finished, because finished poses and overlays are found by
content.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from flows.prefect_server.leases import device_lease
from flows.prefect_server.shutdown import ends_between_steps
from flows.runs.artifacts import show_card
from flows.runs.merging import merge_soon
from flows.runs.results import recorded_failure
from tasks import steps
from tasks.clips.discovery import Clip, find_clip
from tasks.clips.failures import resolve_failures
from tasks.clips.labels import label_clips
from tasks.core.settings import LARGEST_LABEL, Settings
from tasks.core.text import printable
from tasks.involvement.ranking import busiest_frame
from tasks.mapping.fingerprints import require_unchanged, stamp_of
from tasks.mapping.receipts import begin_outputs, begin_overlay, overlay_is_current, settings_key, write_receipt
from tasks.mapping.summary import ClipSummary
from tasks.poses import entry_of, model_key
from tasks.poses.models import ModelEntry
from tasks.report.clip_card import clip_card, failure_card
from tasks.tracking.occlusion import end_at_nearer
from tasks.video.limits import ClipLimits

logger = logging.getLogger(__name__)

Label = Annotated[int, Field(ge=0, le=LARGEST_LABEL)]


@flow(name="annotate-video", flow_run_name="annotate {video.name!r}")
def annotate_video(
    video: Path,
    output_root: Path,
    input_root: Path | None = None,
    settings: Settings | None = None,
    label: Label | None = None,
) -> ClipSummary | State[ClipSummary]:
    """Annotate one clip: poses, tracks, ranking, annotation and overlay.

    A clip that cannot be annotated is recorded in the failure log, and the run ends as Failed with one line that says
    why.

    Args:
        video: The clip.
        output_root: Folder below which the outputs are written.
        input_root: Folder whose tree the outputs mirror; the clip's own folder if empty.
        settings: Settings of the run; what is left empty follows the model.
        label: Class number; empty follows the settings, and then 1 below a folder Fight and 0 elsewhere.
    """
    # Not in the block below: without a clip there is no identifier under which a failure could be recorded.
    clip = find_clip(video, input_root, output_root)
    entry = entry_of((settings or Settings()).poses)
    resolved = (settings or Settings()).resolve(entry.thresholds)
    try:
        clip = _labelled(clip, label, resolved)
        # The whole run and not the extraction alone: the model stays on the GPU until the process ends.
        with device_lease(resolved.poses.device), ends_between_steps() as between:
            ended: ClipSummary | State[ClipSummary] = annotate_clip(clip, output_root, resolved, entry, between)
    except Exception as error:
        ended = recorded(error, clip, output_root)
    # A run over the folder merges at its end; after that a clip that is retried does so itself.
    merge_soon(output_root)
    return ended


def _labelled(clip: Clip, label: int | None, settings: Settings) -> Clip:
    """Return a clip with the label that was given, or else what the settings' rules say."""
    if label is not None:
        return replace(clip, label=label)
    return label_clips([clip], settings.dataset)[0][0]


def annotate_clip(
    clip: Clip, output_root: Path, settings: Settings, entry: ModelEntry, between: Callable[[], None]
) -> ClipSummary:
    """Walk one clip through the steps, and record that its outputs are complete."""
    made_by = model_key(settings.poses)
    key = settings_key(settings, made_by)
    seconds: dict[str, float] = {}
    limits = ClipLimits(clip.path, settings.limits)

    @contextmanager
    def step(name: str) -> Iterator[None]:
        """End here if that was asked for, else time the step."""
        between()
        with steps.timed(clip, name, seconds):
            yield

    with step("probe"):
        # Before the clip is hashed: what replaces it from here on is noticed at the end.
        seen = stamp_of(clip.path)
        video = steps.probe(limits)
    with step("poses"):
        poses = steps.extract(clip, video, output_root, settings, limits)
    with step("tracking"):
        tracks = steps.track(poses, settings.tracking)
        limits.check()
    with step("ranking"):
        regions = steps.regions(tracks)
        weights = steps.region_weights(clip, tracks, regions, settings.scoring)
        ranking = steps.rank(tracks, regions, weights, settings.scoring)
        people = steps.select(clip, ranking, settings.selection)
        limits.check()
    with step("annotation"):
        # Only now: the ranking takes the whole boxes, as a body is no smaller for being half hidden.
        tracks = end_at_nearer(tracks)
        provenance = {
            "model": entry.name,
            "model_sha256": entry.sha256,
            "model_key": made_by,
            "video_sha256": video.sha256,
        }
        # From here to the receipt the clip counts as unfinished, so that a crash leaves no old receipt for a new file.
        begin_outputs(clip, output_root)
        steps.annotate(clip, output_root, tracks, ranking, people, settings, provenance)
    wanted = settings.overlay.save_overlayfile
    # Drawing is a second pass over the video: an overlay of the same content and settings is taken over.
    if wanted and not overlay_is_current(clip, output_root, video.sha256, key):
        begin_overlay(clip, output_root)
        with step("overlay"):
            steps.overlay(clip, video, tracks, people, settings.overlay, limits)
    top = [(int(i), float(s)) for i, s in zip(people.track_ids[:2], people.score[:2], strict=True)]
    summary = ClipSummary(poses.frames, len(people.track_ids), top, seconds, poses.extracted, poses.usage)
    # Last before the receipt, which must not vouch for a clip that was replaced while it was read.
    seen = require_unchanged(clip.path, seen, video.sha256)
    write_receipt(clip, output_root, video.sha256, key, wanted, summary, seen)
    resolve_failures(output_root, [clip.frame_dir])
    show_card(clip_card(clip, output_root, summary, busiest_frame(people.window_frames, people.window_score)))
    return summary


def recorded(error: Exception, clip: Clip, output_root: Path) -> State[ClipSummary]:
    """Write an error of one clip to the failure logs and return the state in which its run ends."""
    failure = recorded_failure(error, clip, output_root)
    logger.warning("%s", failure)
    show_card(failure_card(clip, failure))
    # Prefect's commands print the message as it is.
    return Failed(message=printable(str(failure)), data=failure)
