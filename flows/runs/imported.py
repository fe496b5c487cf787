"""Annotate clips with the poses that another program found: everything but the pose model, without Prefect.

It takes seconds a clip, most of them for the overlay, so a clip that fails is simply imported again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flows.runs.origin import mark_imported
from tasks.annotations.format import build_annotation, write_annotation
from tasks.clips.choosing import chosen_clips
from tasks.clips.discovery import Clip, discover_clips
from tasks.clips.failures import log_failure, resolve_failures
from tasks.clips.labels import check_sources, label_clips
from tasks.clips.manifest import write_manifest
from tasks.core.errors import ClipError, FailureReason, FightposeError
from tasks.core.pixel_aspect import stored_size, to_display
from tasks.core.records import Tracks, VideoInfo
from tasks.core.settings import Settings, Thresholds
from tasks.core.storage import require_writable
from tasks.involvement import rank_involvement, select_people
from tasks.mapping.fingerprints import require_unchanged, stamp_of
from tasks.mapping.merged import merge_outputs
from tasks.mapping.receipts import begin_outputs, begin_overlay, record_settings, settings_key, write_receipt
from tasks.mapping.run_lock import sole_run
from tasks.mapping.summary import ClipSummary
from tasks.overlay.painter import write_overlay
from tasks.poses.fingerprint import Fingerprint
from tasks.poses.imports import Imported, find_pose_files, read_poses
from tasks.poses.stored import poses_path
from tasks.regions.camera_weights import start_weights
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tasks.review.log import standing_exclusions
from tasks.tracking import track_people
from tasks.tracking.occlusion import end_at_nearer
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.frame_times import usable_times
from tasks.video.limits import ClipLimits

MODEL = "imported"
"""Used in place of the model's name in keys and provenance."""


@dataclass(slots=True)
class ImportReport:
    """What an import came to.

    Attributes
    ----------
    annotated
        Identifiers of the clips that have their annotation.
    failed
        Identifier and reason of the others that have poses.
    without
        Identifiers of the clips for which there are no poses.
    warnings
        About labels, groups and the data set.
    """

    annotated: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def import_poses(
    folder: Path, input: Path, output_root: Path, settings: Settings, on_clip: Callable[[str], None] = lambda _: None
) -> ImportReport:
    """Annotate every clip for which another program found poses, and merge the data set.

    Parameters
    ----------
    folder
        Of files of poses; see `tasks.poses.imports`.
    input, output_root
        As for a run with a model.
    settings
        Those of poses are not used; open thresholds are those of scores from 0 to 1.
    on_clip
        Called with a line about each clip.

    Raises
    ------
    FightposeError
        If no file belongs to any clip, or a table or pattern of the settings does not fit.
    """
    # There is no model whose own thresholds could fill what is left open.
    resolved = settings.resolve(Thresholds())
    found = discover_clips(input, output_root)
    report = ImportReport(warnings=check_sources(found.clips, settings.dataset))
    clips, _ = label_clips(chosen_clips(found.clips, settings.dataset), settings.dataset)
    # Before the output root is touched: a wrong folder must neither make one nor change what it lists.
    files = find_pose_files(folder, [clip.frame_dir for clip in clips])
    if not files:
        raise FightposeError(f"{folder}: no file is named like a clip of {input}, such as {clips[0].stem}")
    require_writable(output_root)
    report.without = [clip.frame_dir for clip in clips if clip.frame_dir not in files]
    clips = [clip for clip in clips if clip.frame_dir in files]
    # The name in place of a model's hash: a later run with a model does these clips again.
    key = settings_key(resolved, MODEL)
    with sole_run(output_root):
        write_manifest(output_root, found.root, clips, key)
        record_settings(output_root, settings)
        mark_imported(output_root, folder, input)
        for clip in clips:
            try:
                people = _annotate(clip, files[clip.frame_dir], output_root, resolved, key)
            except FightposeError as error:
                # Files of poses raise errors without a reason of their own: the log needs one for each clip.
                failure = error if isinstance(error, ClipError) else None
                reason = failure.reason if failure else FailureReason.PROCESSING_ERROR
                info = failure.info if failure else str(error)
                log_failure(output_root, clip.path, clip.frame_dir, reason, info)
                report.failed.append((clip.frame_dir, info))
                on_clip(f"{clip.relative}: {reason}: {info}")
                continue
            report.annotated.append(clip.frame_dir)
            on_clip(f"{clip.relative}: {people} people")
        # Still under the lock, once for all clips: the merge reads every annotation.
        report.warnings += merge_outputs(output_root, settings.dataset, standing_exclusions(output_root)).warnings
    return report


def stored_pixels(video: VideoInfo) -> tuple[int, int]:
    """Return width and height of a clip's frames as other programs decode them: upright, not made square."""
    return stored_size((video.width, video.height), video.sample_aspect_ratio)


def in_clip(
    imported: Imported, video: VideoInfo, times: npt.NDArray[np.float64] | None, fingerprint: Fingerprint
) -> Imported:
    """Return imported poses in display geometry, as tracking and ranking need them, with what is known of the clip."""
    poses, stored, ratio = imported.poses, stored_pixels(video), video.sample_aspect_ratio
    return replace(
        imported,
        poses=replace(
            poses,
            bbox=to_display(poses.bbox, stored, ratio),
            keypoints=to_display(poses.keypoints, stored, ratio),
            width=video.width,
            height=video.height,
            sample_aspect_ratio=ratio,
            times=times,
            fingerprint=fingerprint.cells(),
        ),
    )


def _annotate(clip: Clip, files: list[Path], output_root: Path, settings: Settings, key: str) -> int:
    """Annotate one clip and return the number of its people."""
    limits = ClipLimits(clip.path, settings.limits)
    seen = stamp_of(clip.path)
    video = probe_guarded(limits)
    times: list[float | None] = []
    fingerprint = Fingerprint(video.fps)
    # Headers lie about the number of frames; the poses have to fit those that a run would see.
    for frame in limits.within(decode_guarded(video, limits)):
        times.append(frame.time)
        fingerprint.add(frame)
    frames = len(times)
    clock = usable_times(times, video.fps) if video.timed else None
    imported = in_clip(read_poses(files, frames, *stored_pixels(video), video.fps), video, clock, fingerprint)
    imported.poses.save(poses_path(output_root, video, MODEL, settings.poses))
    # Identities that the other program found are kept as they are, with no frame filled in.
    if imported.track_id is None:
        tracks = track_people(imported.poses, settings.tracking)
    else:
        tracks = Tracks(imported.poses, imported.track_id, np.zeros(len(imported.poses), np.bool_))
    regions = score_regions(tracks)
    start = start_weights(settings.scoring.camera_weights, clip.frame_dir)
    weights = learn_region_weights(tracks, regions, settings.scoring, start)
    ranking = rank_involvement(tracks, regions, weights, settings.scoring)
    people = select_people(ranking, settings.selection, clip.path)
    # After the ranking, as in a run with a model: it is made for whole boxes.
    tracks = end_at_nearer(tracks)
    made = {"model": MODEL, "model_key": MODEL, "video_sha256": video.sha256, "poses_from": files[0].name}
    # From here to the receipt the annotation is vouched for by nothing: a crash in between is noticed.
    begin_outputs(clip, output_root)
    write_annotation(clip.annotation_path, [build_annotation(clip, tracks, people, settings, made)])
    wanted = settings.overlay.save_overlayfile
    if wanted:
        begin_overlay(clip, output_root)
        # Decoded a second time: the first pass only counted, and frames take too much memory to be kept.
        pictures = limits.within(decode_guarded(video, limits))
        write_overlay(pictures, video, tracks, people, clip.overlay_path, settings.overlay)
    top = [(int(i), float(s)) for i, s in zip(people.track_ids[:2], people.score[:2], strict=True)]
    summary = ClipSummary(frames, len(people.track_ids), top, {}, extracted=False)
    # A file that was replaced on the way would get outputs under the hash of the one before.
    now = require_unchanged(clip.path, seen, video.sha256)
    write_receipt(clip, output_root, video.sha256, key, wanted, summary, now)
    resolve_failures(output_root, [clip.frame_dir])
    return len(people.track_ids)
