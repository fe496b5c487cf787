"""The stages of one clip as plain functions, without Prefect: what worker processes and the engine call.

    find_poses   probe, decode, the pose model            in the process that holds the model
    finish       tracking, ranking, annotation, overlay   in a worker process
    annotate_alone   both, one after the other            in a worker process of mode parallel

`flows.annotate_video` walks the same way as a chain of Prefect tasks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from flows.engine.jobs import ClipJob, RunKeys
from tasks.annotations.format import build_annotation, write_annotation
from tasks.clips.failures import resolve_failures
from tasks.core.progress import OVERLAY, POSES, Progress, report
from tasks.core.records import Involvement, Poses, Tracks, VideoInfo
from tasks.core.settings import ScoringSettings, Settings
from tasks.core.storage import sole_maker
from tasks.involvement import rank_involvement, select_people
from tasks.mapping.fingerprints import FileStamp, require_unchanged, stamp_of
from tasks.mapping.receipts import begin_outputs, begin_overlay, overlay_is_current, write_receipt
from tasks.mapping.summary import ClipSummary
from tasks.overlay.painter import write_overlay
from tasks.poses.extract import extract_poses
from tasks.poses.models import PoseModel, model_of
from tasks.poses.stored import poses_path, stored_poses
from tasks.poses.usage import Usage
from tasks.regions.camera_weights import start_weights
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tasks.tracking import track_people
from tasks.tracking.occlusion import end_at_nearer
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.kept_frames import FramesKept, KeptBudget, MoreFramesError, bytes_to_keep, frames_of, keeping
from tasks.video.limits import ClipLimits
from tasks.video.reading import Frame

logger = logging.getLogger(__name__)

OVERLAY_EVERY = 10
"""Frames between two reports of progress while an overlay is drawn."""

OnFrames = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What `find_poses` leaves for `finish`; small enough to be pickled, for the poses are in a file.

    Attributes
    ----------
    job, keys, limits
        The clip, what names its results, and its limits, whose clock is the machine's.
    video
        What the clip is; by its content the poses are found.
    seen
        State of the clip's file before it was read.
    extracted
        Whether the model ran, False if the poses were there.
    seconds
        Wall time of each step so far.
    kept
        The frames, where they were kept, else None.
    usage
        What the extraction took of the machine, where that was measured.
    """

    job: ClipJob
    keys: RunKeys
    limits: ClipLimits
    video: VideoInfo
    seen: FileStamp | None
    extracted: bool
    seconds: dict[str, float]
    kept: FramesKept | None = None
    usage: Usage | None = None


@contextmanager
def step(job: ClipJob, name: str, seconds: dict[str, float], total: int = 0) -> Iterator[None]:
    """Tell the display which step starts, and note the seconds that it took."""
    report(Progress(job.clip.relative, name, 0, total))
    start = time.perf_counter()
    yield
    # Not in a `finally`: a step that fails ends the clip, and the time of half a step would mislead.
    seconds[name] = time.perf_counter() - start
    logger.debug("%s: %s took %.2f s", job.clip.relative, name, seconds[name])


def find_poses(
    job: ClipJob, keys: RunKeys, model: PoseModel, budget: KeptBudget, held: ExitStack, check: Callable[[], None]
) -> tuple[Found, int | None]:
    """Probe a clip and find its people, unless that was done before.

    Parameters
    ----------
    job, keys
        The clip, with resolved settings, and what names its results.
    model
        A loaded model, which may be shared with other clips.
    budget
        Memory for frames that are kept for the overlay.
    held
        Keeps those frames until it is closed.
    check
        Called after every batch; what it raises ends the extraction.

    Returns
    -------
    tuple
        What was found, and the descriptor of the frames' memory where they are kept.

    Raises
    ------
    ClipError, OSError
        What makes the clip fail, and what may pass at another try.
    """
    seconds: dict[str, float] = {}
    limits = ClipLimits(job.clip.path, job.settings.limits)
    with step(job, "probe", seconds):
        # Before the clip is hashed: what replaces it from here on is noticed at the end.
        seen = stamp_of(job.clip.path)
        video = probe_guarded(limits)
    # Named by content, model and settings of poses: a clip that was renamed or ranked otherwise is found again.
    stored = poses_path(job.output_root, video, keys.model_key, job.settings.poses)
    # A copy of the same clip may be under way in another thread or process: its poses are awaited, not made twice.
    with step(job, POSES, seconds, video.header_frames), sole_maker(stored, check):
        if stored_poses(stored, "the model is run again") is not None:
            logger.debug("%s: poses are there already, the model is not run", job.clip.relative)
            return Found(job, keys, limits, video, seen, extracted=False, seconds=seconds), None

        def on_frames(done: int) -> None:
            """Report progress, and end where the clip takes too much or the run is stopped."""
            check()
            # The limit is the clip's own: it fails before the system runs short and kills some other process.
            limits.check_memory()
            report(Progress(job.clip.relative, POSES, done, video.header_frames))

        poses, kept, descriptor = _extracted(job.settings, video, model, limits, budget, held, on_frames)
        poses.save(stored)
    return Found(job, keys, limits, video, seen, extracted=True, seconds=seconds, kept=kept), descriptor


def _extracted(
    settings: Settings,
    video: VideoInfo,
    model: PoseModel,
    limits: ClipLimits,
    budget: KeptBudget,
    held: ExitStack,
    on_frames: OnFrames,
) -> tuple[Poses, FramesKept | None, int | None]:
    """Run the model over a clip; keep its frames if an overlay is wanted and they fit."""
    # Only an overlay needs the frames a second time; kept ones save it from decoding the clip again.
    size = bytes_to_keep(video, limits) if settings.overlay.save_overlayfile else None
    with ExitStack() as stack:
        if stack.enter_context(budget.part(size)):
            decoder = stack.enter_context(keeping(video, limits))
            try:
                poses = extract_poses(video, model, settings.poses, on_frames, limits.within(decoder.frames()))
            except MoreFramesError:
                # The header said too little. From the start again, as a stream: such clips are rare.
                logger.debug("%s has more frames than its header says", video.path)
            else:
                # The caller takes over decoder and memory, which have to outlive this call until the overlay is drawn.
                held.enter_context(stack.pop_all())
                return poses, decoder.kept, decoder.descriptor
    # No overlay wanted, no room for the frames, or a wrong header: an overlay then decodes the clip again.
    frames = limits.within(decode_guarded(video, limits))
    return extract_poses(video, model, settings.poses, on_frames, frames), None, None


def finish(found: Found, descriptor: int | None = None) -> ClipSummary:
    """Track, rank, annotate and draw one clip whose poses are found, and record that its outputs are complete.

    Parameters
    ----------
    found
        What `find_poses` returned.
    descriptor
        Of the memory of the frames, in this process; None where they were not kept.

    Raises
    ------
    ClipError, OSError
        What makes the clip fail, and what may pass at another try.
    """
    job, video, settings = found.job, found.video, found.job.settings
    clip, seconds = job.clip, dict(found.seconds)
    # From the file, not from the message: it may be of an earlier run, and pickling megabytes costs time.
    poses = Poses.load(poses_path(job.output_root, video, found.keys.model_key, settings.poses))
    with step(job, "tracking", seconds):
        # Limits are checked between the steps: tracking and ranking do not look at the clock themselves.
        tracks = track_people(poses, settings.tracking)
        found.limits.check()
    with step(job, "ranking", seconds):
        people = involved_people(job, tracks, settings.scoring)
        found.limits.check()
    with step(job, "annotation", seconds):
        # After the ranking, which is made for whole boxes: from here on boxes leave out hidden legs.
        tracks = end_at_nearer(tracks)
        provenance = found.keys.provenance(video.sha256)
        # From here to the receipt the annotation is vouched for by nothing: a crash in between is noticed.
        begin_outputs(clip, job.output_root)
        write_annotation(clip.annotation_path, [build_annotation(clip, tracks, people, settings, provenance)])
    wanted = settings.overlay.save_overlayfile
    # Drawing decodes and encodes the whole clip: an overlay of the same content and settings stays.
    if wanted and not overlay_is_current(clip, job.output_root, video.sha256, found.keys.settings):
        begin_overlay(clip, job.output_root)
        with step(job, OVERLAY, seconds, poses.frame_count):
            frames = _counted(job, _frames(found, descriptor), poses.frame_count)
            write_overlay(frames, video, tracks, people, clip.overlay_path, settings.overlay)
    top = [(int(i), float(s)) for i, s in zip(people.track_ids[:2], people.score[:2], strict=True)]
    summary = ClipSummary(
        poses.frame_count, len(people.track_ids), top, seconds, extracted=found.extracted, usage=found.usage
    )
    # A file that was replaced on the way would get outputs under the hash of the one before.
    seen = require_unchanged(clip.path, found.seen, video.sha256)
    # Last of all outputs: a clip counts as finished by its receipt.
    write_receipt(clip, job.output_root, video.sha256, found.keys.settings, wanted, summary, seen)
    resolve_failures(job.output_root, [clip.frame_dir])
    return summary


def involved_people(job: ClipJob, tracks: Tracks, settings: ScoringSettings) -> Involvement:
    """Return the people of a clip that reach its annotation, in rank order."""
    regions = score_regions(tracks)
    # Weights are learned per clip, starting from those of its camera.
    start = start_weights(settings.camera_weights, job.clip.frame_dir)
    weights = learn_region_weights(tracks, regions, settings, start)
    ranking = rank_involvement(tracks, regions, weights, settings)
    return select_people(ranking, job.settings.selection, job.clip.path)


def annotate_alone(work: tuple[ClipJob, RunKeys]) -> ClipSummary:
    """Walk one clip through all stages in this process; the model is loaded once per process."""
    job, keys = work
    with ExitStack() as held:
        # No check between batches: a run that is stopped kills this process. One clip has the whole budget.
        found, descriptor = find_poses(job, keys, model_of(job.settings.poses), KeptBudget(), held, lambda: None)
        return finish(found, descriptor)


def _frames(found: Found, descriptor: int | None) -> Iterator[Frame]:
    """Yield a clip's frames: those that were kept, or decoded again."""
    if found.kept is not None and descriptor is not None:
        return found.limits.within(frames_of(found.kept, descriptor))
    return found.limits.within(decode_guarded(found.video, found.limits))


def _counted(job: ClipJob, frames: Iterable[Frame], total: int) -> Iterator[Frame]:
    """Pass frames on and report how many were drawn."""
    for number, frame in enumerate(frames, 1):
        yield frame
        # After the yield: the painter asks for the next frame when it has drawn this one.
        if number % OVERLAY_EVERY == 0:
            report(Progress(job.clip.relative, OVERLAY, number, total))
