"""Overlay videos drawn again, so that they show the people as corrected.

The corrected annotation gives the people with their ranks, scores and roles; the clip gives the pictures. Nothing is
extracted again: people who are not in the annotation come from the stored poses, tracked as they were for it, and stay
away where those poses are gone. The receipt of a clip says what its overlay shows
(`tasks.mapping.receipts.overlay_shows`), so that only the clips whose picture would change are drawn, and one that was
interrupted is drawn at the next time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from tasks.annotations.format import Annotation, AnnotationError, in_display
from tasks.annotations.validate import sound_annotation
from tasks.clips.discovery import Clip
from tasks.core.errors import ClipError, FightposeError
from tasks.core.records import Involvement, Poses, RegionWeights, Tracks, VideoInfo
from tasks.core.region_layout import REGIONS
from tasks.core.settings import OverlaySettings, Settings
from tasks.core.storage import one_at_a_time
from tasks.mapping.receipts import overlay_shows, record_overlay, recorded_settings
from tasks.overlay.painter import write_overlay
from tasks.poses.stored import model_key_in, poses_path, stored_poses
from tasks.review.apply import (
    ReviewReport,
    automatic_path,
    clips_under_review,
    is_reviewed,
    lock_path,
    other_people,
)
from tasks.review.log import Role, read_review, standing_changes
from tasks.tracking import track_people
from tasks.tracking.occlusion import end_at_nearer
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits

logger = logging.getLogger(__name__)

# Boxes that tracking gives again are equal to the last bit on one machine; another one may round otherwise.
_SAME_PLACE_PX = 0.5


def outdated_overlays(output_root: Path) -> list[Clip]:
    """Return the clips whose overlay shows other people, ranks or roles than their annotation holds.

    Clips without an overlay or without a readable annotation are not among them: the one was not asked for, the other
    is for `annotate` to mend.
    """
    named = standing_changes(read_review(output_root))
    return [clip for clip in clips_under_review(output_root, named) if _is_outdated(clip, output_root)]


def redraw_overlays(
    output_root: Path, report: ReviewReport, on_clip: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Draw every outdated overlay again, and add to a report what came of it; a clip that fails costs only itself.

    Parameters
    ----------
    output_root
        The output root.
    report
        Of `tasks.review.apply.apply_review`.
    on_clip
        Called before each clip with the number of clips that are done, and of all.
    """
    clips = outdated_overlays(output_root)
    for number, clip in enumerate(clips):
        on_clip(number, len(clips))
        try:
            redraw_overlay(clip, output_root)
            report.redrawn.append(clip.frame_dir)
        except FightposeError as error:
            report.problems.append((clip.frame_dir, str(error)))


def redraw_overlay(clip: Clip, output_root: Path) -> None:
    """Draw the overlay of a clip again from its annotation, corrected or automatic.

    Raises
    ------
    FightposeError
        If the clip is gone, unreadable or another one by now, or the overlay cannot be written; the old one stays.
    """
    try:
        annotation = sound_annotation(clip.annotation_path)
        settings = _settings_of(annotation)
        limits = ClipLimits(clip.path, recorded_settings(output_root).limits)
        video = probe_guarded(limits)
        # Annotations that lack the hash are taken to be of this clip.
        known = annotation.get("provenance", {}).get("video_sha256", video.sha256)
        if known != video.sha256:
            raise FightposeError("the clip is not the one that was annotated; run annotate again, then apply")
        tracks, involvement = overlay_records(annotation)
        others = _others(clip, output_root, video, annotation, settings)
        if others is not None:
            tracks = _joined(tracks, others)
        shown_by = settings.overlay if settings else OverlaySettings()
        frames = limits.within(decode_guarded(video, limits))
        write_overlay(frames, video, tracks, involvement, clip.overlay_path, shown_by)
    except ClipError as error:
        raise FightposeError(f"its overlay is not drawn again: {error.info}") from error
    except OSError as error:
        raise FightposeError(f"its overlay is not drawn again: {error.filename}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FightposeError(
            f"its overlay is not drawn again: its annotation is not this program's ({error})"
        ) from error
    # Locked only now: drawing takes seconds, for which applying need not wait.
    with one_at_a_time(lock_path(output_root)):
        record_overlay(clip, output_root, _shown_key(annotation) if is_reviewed(annotation) else None)
        if not is_reviewed(annotation) and not is_reviewed(sound_annotation(clip.annotation_path)):
            # Kept up to now so that the clip would be found again if drawing failed.
            automatic_path(clip, output_root).unlink(missing_ok=True)


def overlay_records(annotation: Annotation) -> tuple[Tracks, Involvement]:
    """Return the people of an annotation as the records that an overlay is drawn from.

    People marked as bystanders have no share in the fight: their involvement over time is shown as none, so that they
    are never the fighters of the moment.
    """
    scores = annotation["keypoint_score"]
    # Frame by frame, and within a frame in rank order.
    frame, person = np.nonzero((scores.max(axis=2) > 0).T)
    # The overlay is drawn where pixels are square.
    annotation = in_display(annotation)
    height, width = annotation["img_shape"]
    poses = Poses(
        frame.astype(np.int32),
        annotation["bbox"][person, frame],
        # The model's score of a person is not kept in annotations, and is not drawn.
        scores[person, frame].mean(axis=1),
        annotation["keypoint"][person, frame],
        scores[person, frame],
        int(annotation["total_frames"]),
        int(width),
        int(height),
        float(annotation["fps"]),
    )
    tracks = Tracks(poses, annotation["track_ids"][person], annotation["filled"][person, frame])
    fights = np.array([role != Role.BYSTANDER for role in _roles(annotation)])
    weights = np.array([annotation["region_weights"][name] for name in REGIONS], np.float32)
    return tracks, Involvement(
        track_ids=annotation["track_ids"],
        score=annotation["composite_scores"],
        components=annotation["score_breakdown"],
        quality=annotation["track_quality"],
        length=annotation["track_length"],
        best_partner=annotation["best_partner"],
        region_scores=np.stack([annotation["region_breakdown"][name] for name in REGIONS], axis=1),
        region_weights=RegionWeights(weights, annotation["region_weights_path"]),
        window_frames=annotation["window_frames"],
        window_score=annotation["window_scores"] * fights[:, None],
    )


def _roles(annotation: Annotation) -> list[str | None]:
    """Return what was said of each person of an annotation, None where nothing was."""
    said = annotation.get("review", {}).get("roles", {})
    return [said.get(str(track_id)) for track_id in annotation["track_ids"].tolist()]


def _is_outdated(clip: Clip, output_root: Path) -> bool:
    """Tell whether the overlay of a clip shows something else than the annotation."""
    if not clip.overlay_path.is_file():
        return False
    try:
        current = sound_annotation(clip.annotation_path)
        wanted = None
        if is_reviewed(current):
            wanted = _shown_key(current)
            if wanted == _shown_key(sound_annotation(automatic_path(clip, output_root))):
                # A label or a note changes nothing in the picture.
                wanted = None
    except (AnnotationError, KeyError, TypeError, ValueError):
        return False
    return overlay_shows(clip, output_root) != wanted


def _shown_key(annotation: Annotation) -> str:
    """Return a key of all that an overlay shows of an annotation."""
    digest = hashlib.sha256()
    for name in ("track_ids", "composite_scores", "window_scores", "keypoint", "bbox", "filled"):
        digest.update(np.ascontiguousarray(annotation[name]).tobytes())
    # Of the roles, only a bystander's changes the picture.
    digest.update(repr([role == Role.BYSTANDER for role in _roles(annotation)]).encode())
    return digest.hexdigest()[:32]


def _settings_of(annotation: Annotation) -> Settings | None:
    """Return the settings that an annotation was made with, None where another version wrote them."""
    try:
        return Settings.model_validate(annotation.get("settings"))
    except ValidationError:
        return None


def _others(
    clip: Clip, output_root: Path, video: VideoInfo, annotation: Annotation, settings: Settings | None
) -> Tracks | None:
    """Return the tracks that no person of the annotation is made of, None where they cannot be had any more."""
    # The kept tracks were stored with the automatic annotation, and are recognised by it.
    automatic = sound_annotation(automatic_path(clip, output_root)) if is_reviewed(annotation) else annotation
    kept = other_people(clip, output_root, automatic)
    others = kept.tracks if kept else _tracked_again(clip, output_root, video, automatic, settings)
    if others is None:
        return None
    # People that a review took into the annotation, or joined to somebody in it, are drawn with it.
    others = others.select(~np.isin(others.track_id, annotation.get("review", {}).get("joined", [])))
    # A split may have given an ID that is free in the annotation only: the person in the annotation keeps it.
    taken = set(annotation["track_ids"].tolist())
    free = max(taken | set(others.ids.tolist()))
    renamed = others.track_id.copy()
    for number, track_id in enumerate(sorted(taken & set(others.ids.tolist())), 1):
        renamed[others.track_id == track_id] = free + number
    return Tracks(others.poses, renamed, others.filled)


def _tracked_again(
    clip: Clip, output_root: Path, video: VideoInfo, automatic: Annotation, settings: Settings | None
) -> Tracks | None:
    """Return the other tracks of a clip of an earlier version, which kept poses only; None where they differ by now."""
    if settings is None:
        return None
    stored = poses_path(output_root, video, model_key_in(automatic["provenance"]), settings.poses)
    poses = stored_poses(stored, "the overlay shows the annotated people only")
    if poses is None:
        return None
    tracks = end_at_nearer(track_people(poses, settings.tracking))
    if not _same_people(tracks, automatic):
        logger.warning("%s: is tracked otherwise by now; its overlay shows the annotated people only", clip.relative)
        return None
    return tracks.select(~np.isin(tracks.track_id, automatic["track_ids"]))


def _same_people(tracks: Tracks, annotation: Annotation) -> bool:
    """Tell whether tracks hold the people of an automatic annotation under the same IDs."""
    annotation = in_display(annotation)
    for track_id, boxes in zip(annotation["track_ids"].tolist(), annotation["bbox"], strict=True):
        # As in `build_annotation`: without a joint a person is missing there.
        rows = (tracks.track_id == track_id) & (tracks.poses.keypoint_scores > 0).any(axis=1)
        again = np.zeros_like(boxes)
        again[tracks.poses.frame_index[rows]] = tracks.poses.bbox[rows]
        if not np.allclose(again, boxes, rtol=0, atol=_SAME_PLACE_PX):
            return False
    return True


def _joined(first: Tracks, second: Tracks) -> Tracks:
    """Return the rows of two records of one clip as one, sorted by frame."""
    # Stable: within a frame people of the annotation stay before the others.
    order = np.argsort(np.concatenate([first.poses.frame_index, second.poses.frame_index]), kind="stable")

    def both(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Join one array of the two."""
        return np.concatenate([one, other])[order]

    # Size, length and rate are the clip's, and so the same in both.
    a, b = first.poses, second.poses
    poses = replace(
        a,
        frame_index=both(a.frame_index, b.frame_index),
        bbox=both(a.bbox, b.bbox),
        score=both(a.score, b.score),
        keypoints=both(a.keypoints, b.keypoints),
        keypoint_scores=both(a.keypoint_scores, b.keypoint_scores),
    )
    return Tracks(poses, both(first.track_id, second.track_id), both(first.filled, second.filled))
