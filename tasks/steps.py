"""The steps of the pipeline as Prefect tasks: the only module of `tasks` that knows Prefect.

Each task is a thin wrapper around one pure function. What may pass by itself (input, output, a device that is busy) is
tried again with growing pauses; what cannot (no such codec, nobody in the clip) is not. The expensive results are files
named by content (`tasks.mapping.receipts`): a retry or a rerun finds them and repeats nothing. Prefect keeps references
to them as JSON.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from tasks.annotations.format import build_annotation, write_annotation
from tasks.annotations.other_tracks import other_tracks, save_other_tracks
from tasks.clips.discovery import Clip
from tasks.core.errors import FightposeError
from tasks.core.progress import OVERLAY, POSES, Progress, report
from tasks.core.records import Involvement, Poses, RegionScores, RegionWeights, Tracks, VideoInfo
from tasks.core.settings import (
    OverlaySettings,
    PoseSettings,
    ScoringSettings,
    SelectionSettings,
    Settings,
    TrackingSettings,
)
from tasks.core.storage import sole_maker
from tasks.core.text import keep_logs_printable
from tasks.involvement import rank_involvement, select_people
from tasks.mapping.findings import MappingReport
from tasks.mapping.receipts import tracks_path
from tasks.mapping.verify import verify_mapping
from tasks.overlay.painter import write_overlay
from tasks.poses import extract_poses, model_key, model_of
from tasks.poses.stored import poses_path, stored_poses
from tasks.poses.usage import Usage, measured
from tasks.regions.camera_weights import start_weights
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tasks.tracking import track_people
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.reading import Frame

logger = logging.getLogger(__name__)

# Prefect gives its extra loggers (`flows.prefect_server.server.ENVIRONMENT`) a handler and no level: all but warnings
# would be lost.
for _name in ("flows", "tasks"):
    logging.getLogger(_name).setLevel(logging.INFO)
# Here, too: the process of a run that a worker starts never sees the command line.
keep_logs_printable()


def may_pass(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect whether an error may be gone at the next try.

    Errors of the system (a share that is away, a full queue) and of a device (RuntimeError of a runtime) may pass.
    """
    error = state.result(raise_on_failure=False)
    permanent = (FightposeError, FileNotFoundError, IsADirectoryError, NotImplementedError, RecursionError)
    return isinstance(error, OSError | RuntimeError) and not isinstance(error, permanent)


OVERLAY_BATCH = 8
"""Frames of an overlay from one report of progress to the next."""

# The arrays that walk between the steps are neither hashed nor stored by Prefect: they come from the poses in
# milliseconds.
_quick: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
_retried: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": may_pass,
}


@dataclass(frozen=True, slots=True)
class PosesReference:
    """Where the poses of a clip are stored.

    Attributes
    ----------
    path
        The npz file.
    frames
        Decoded frames of the clip.
    people
        Number of detections.
    extracted
        Whether the model ran for it, False if the file was there.
    usage
        What the extraction took of the machine; None if the model did not run.
    """

    path: Path
    frames: int
    people: int
    extracted: bool
    usage: Usage | None = None


@contextmanager
def timed(clip: Clip, step: str, seconds: dict[str, float] | None = None) -> Iterator[None]:
    """Log the start and the end of a step with clip and seconds, and note the seconds under the step's name."""
    start = time.perf_counter()
    logger.debug("%s: %s starts", clip.relative, step)
    yield
    taken = time.perf_counter() - start
    if seconds is not None:
        seconds[step] = taken
    logger.info("%s: %s took %.2f s", clip.relative, step, taken)


@task(name="probe-video", **_retried, persist_result=False)
def probe(limits: ClipLimits) -> VideoInfo:
    """Read what the clip is."""
    return probe_guarded(limits)


@task(name="extract-poses", **_retried, persist_result=True, result_serializer="json")
def extract(clip: Clip, video: VideoInfo, output_root: Path, settings: Settings, limits: ClipLimits) -> PosesReference:
    """Find the people in every frame, or find that this was done before."""
    # Poses are the costly step: they are kept under a key of the settings that affect them.
    stored = poses_path(output_root, video, model_key(settings.poses), settings.poses)
    # A copy of the same clip may be under way in another process: its poses are awaited, not made twice.
    with sole_maker(stored, limits.check):
        return _stored(clip, stored) or _extracted(clip, video, stored, settings.poses, limits)


def _stored(clip: Clip, path: Path) -> PosesReference | None:
    """Return poses that were made before, None if there are none that are whole."""
    poses = stored_poses(path, "the model is run again")
    if poses is None:
        return None
    logger.info("%s: poses are there already, the model is not run", clip.relative)
    return PosesReference(path, poses.frame_count, len(poses), extracted=False)


def _extracted(clip: Clip, video: VideoInfo, path: Path, settings: PoseSettings, limits: ClipLimits) -> PosesReference:
    """Run the model over a clip and store what it found."""

    def on_frames(done: int) -> None:
        """Pass the number of frames on to the display, and check the memory that they took."""
        limits.check_memory()
        report(Progress(clip.relative, POSES, done, video.header_frames))

    model = model_of(settings)
    # The meter surrounds the extraction alone: writing the poses to the disk does not count.
    with measured(settings.device) as meter:
        poses = extract_poses(video, model, settings, on_frames, limits.within(decode_guarded(video, limits)))
    usage = meter.read()
    logger.info("%s: poses took %s", clip.relative, usage.words())
    # Saved before anything else uses them, so that a later failure does not cost the model's run again.
    poses.save(path)
    return PosesReference(path, poses.frame_count, len(poses), extracted=True, usage=usage)


@task(name="track-people", **_quick)
def track(poses: PosesReference, settings: TrackingSettings) -> Tracks:
    """Follow the people through the clip."""
    return track_people(Poses.load(poses.path), settings)


@task(name="score-regions", **_quick)
def regions(tracks: Tracks) -> RegionScores:
    """Score how much each track is in each of the five regions."""
    return score_regions(tracks)


@task(name="learn-region-weights", **_quick)
def region_weights(clip: Clip, tracks: Tracks, regions: RegionScores, settings: ScoringSettings) -> RegionWeights:
    """Learn from the most involved tracks which regions matter in this clip, starting from what its camera taught."""
    start = start_weights(settings.camera_weights, clip.frame_dir)
    return learn_region_weights(tracks, regions, settings, start)


@task(name="rank-involvement", **_quick)
def rank(tracks: Tracks, regions: RegionScores, weights: RegionWeights, settings: ScoringSettings) -> Involvement:
    """Rank the tracks by how much they take part in the fight."""
    return rank_involvement(tracks, regions, weights, settings)


@task(name="select-people", **_quick)
def select(clip: Clip, ranking: Involvement, settings: SelectionSettings) -> Involvement:
    """Keep the people that reach the annotation."""
    return select_people(ranking, settings, clip.path)


@task(name="write-annotation", **_retried, persist_result=True, result_serializer="json")
def annotate(
    clip: Clip,
    output_root: Path,
    tracks: Tracks,
    ranking: Involvement,
    people: Involvement,
    settings: Settings,
    provenance: dict[str, Any],
) -> Path:
    """Write the clip's annotation PKL, and before it the people that it leaves out."""
    annotation = build_annotation(clip, tracks, people, settings, provenance)
    # First, so that an annotation that is complete never has the other people of an earlier one beside it.
    others = other_tracks(tracks, ranking, people.track_ids)
    save_other_tracks(tracks_path(clip, output_root), others, annotation)
    write_annotation(clip.annotation_path, [annotation])
    return clip.annotation_path


@task(name="write-overlay", **_retried, persist_result=True, result_serializer="json")
def overlay(
    clip: Clip,
    video: VideoInfo,
    tracks: Tracks,
    people: Involvement,
    settings: OverlaySettings,
    limits: ClipLimits,
) -> Path:
    """Write the clip's overlay video in a second pass over its frames."""
    frames = _counted(limits.within(decode_guarded(video, limits)), clip, tracks.poses.frame_count)
    write_overlay(frames, video, tracks, people, clip.overlay_path, settings)
    return clip.overlay_path


def _counted(frames: Iterator[Frame], clip: Clip, total: int) -> Iterator[Frame]:
    """Pass frames on, and tell who shows progress how many those were."""
    for done, frame in enumerate(frames, start=1):
        yield frame
        # A few times a second is all that a display shows.
        if done % OVERLAY_BATCH == 0 or done == total:
            report(Progress(clip.relative, OVERLAY, done, total))


@task(name="verify-mapping", **_quick)
def verify(output_root: Path, deep: bool = False) -> MappingReport:
    """Compare annotations, overlays, inputs and recorded failures below an output root."""
    return verify_mapping(output_root, deep)
