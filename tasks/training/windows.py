"""Windows of long clips as clips of their own: each ranks its own people, from all tracks of the video.

STGCN++ samples a fixed number of frames from a clip, whatever its length. In minutes of footage a fight of seconds is
hardly sampled at all, the label of the whole is wrong for most of it, and the few people that the ranking of the whole
video keeps are not those who fight in a given window. So the stored poses are tracked over the whole video once; then
each window is ranked by itself, by the same scorer, with region weights that start from those of the whole video.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from tasks.annotations.convert.windows import (
    WindowLabel,
    WindowReport,
    cut_windows,
    label_by_involvement,
    starts_of,
)
from tasks.annotations.dataset import read_split
from tasks.annotations.format import Annotation, build_annotation, is_excluded, only_annotation
from tasks.annotations.streamed import AnnotationStream, Draft, draft_of, stream_annotations
from tasks.clips.discovery import Clip
from tasks.clips.manifest import clips_to_merge
from tasks.core.errors import ClipError, FightposeError
from tasks.core.records import Poses, Tracks
from tasks.core.settings import Settings
from tasks.involvement import rank_involvement, select_people
from tasks.mapping.merged import DATASET_NAME, named_classes
from tasks.mapping.receipts import recorded_settings
from tasks.poses.stored import kept_poses, model_key_in
from tasks.regions.camera_weights import start_weights
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tasks.tracking import track_people
from tasks.tracking.occlusion import end_at_nearer

LABEL_THRESHOLD = 0.5
"""Share of a video's highest involvement from which on a window has the video's label."""

UNSURE = 0.5
"""Windows between this share of the threshold and the threshold are unsure: something happens, but less than there."""


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How clips are cut.

    Attributes
    ----------
    length, stride
        Of windows: a number of frames, or of seconds if `in_seconds`.
    in_seconds
        The unit.
    label_of
        Rule for labels, such as one by a table of intervals; by involvement if None.
    threshold
        For labels by involvement, see `LABEL_THRESHOLD`.
    leave_unsure
        Leave unsure windows out.
    max_persons
        At most so many people per window, in rank order; None for as many as a clip of the run keeps.
    """

    length: float
    stride: float
    in_seconds: bool = False
    label_of: WindowLabel | None = None
    threshold: float = LABEL_THRESHOLD
    leave_unsure: bool = False
    max_persons: int | None = None

    def frames(self, fps: float) -> tuple[int, int]:
        """Return length and stride in frames."""
        factor = fps if self.in_seconds else 1.0
        # At least one frame: a short span at a low frame rate would be rounded to none.
        return max(1, round(self.length * factor)), max(1, round(self.stride * factor))


def span_of(text: str) -> tuple[float, bool]:
    """Return a number of frames (`100`) or of seconds (`4s`, `2.5s`), and whether it is seconds.

    >>> span_of("4s")
    (4.0, True)

    Raises
    ------
    FightposeError
        If it is neither.
    """
    # Only seconds may have a fraction: there is no half frame to cut at.
    found = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)\s*s", text.strip().lower())
    value = float(found[1] or found[2]) if found else 0.0
    if found is None or value <= 0:
        raise FightposeError(f"{text!r} is neither a number of frames, such as 100, nor of seconds, such as 4s")
    return value, found[2] is not None


def windows_of_outputs(output_root: Path, destination: Path, plan: WindowPlan) -> WindowReport:
    """Cut every clip of an output root into windows that are clips of their own, and write them as one data set.

    The windows of a clip are in the split that the clip is in.

    Raises
    ------
    FightposeError
        If there is nothing to cut, or the file cannot be written.
    """
    split = {name: key for key, names in read_split(output_root / DATASET_NAME).items() for name in names}
    problems: list[str] = []
    # Splits whose clips give no window stay, in the order of the data set.
    sides: dict[str, list[str]] = {name: [] for name in dict.fromkeys(split.values())}
    empty = unsure = 0
    # Written one by one, and one video at a time: neither long nor many videos take more memory.
    with stream_annotations(destination) as stream:
        for clip in clips_to_merge(output_root):
            # Listed, but not done yet.
            if not clip.annotation_path.is_file():
                continue
            # The people of the whole video are seldom needed, and of hours they take hundreds of megabytes.
            annotation = only_annotation(clip.annotation_path, large_arrays=False)
            # A clip that is not in the merged data set has no split that its windows could go to.
            if is_excluded(annotation) or annotation["frame_dir"] not in split:
                continue
            found, nobody, doubtful = _cut(clip, output_root, annotation, plan, problems, stream)
            empty, unsure = empty + nobody, unsure + doubtful
            sides[split[annotation["frame_dir"]]] += found
        if not stream.labels:
            raise FightposeError(f"{output_root}: has no clips in its data set to cut; run fightpose annotate first")
        stream.finish(sides, named_classes(recorded_settings(output_root).dataset, set(stream.labels)))
    return WindowReport(destination, stream.labels, stream.people, empty, unsure, problems)


def _cut(
    clip: Clip,
    output_root: Path,
    annotation: Annotation,
    plan: WindowPlan,
    problems: list[str],
    stream: AnnotationStream,
) -> tuple[list[str], int, int]:
    """Write the windows of one clip; return their names, and how many were left out as empty and as unsure."""
    settings = _settings_of(annotation)
    # People who were corrected by hand are not to be chosen again by the program.
    poses = None if "review" in annotation else _all_poses(output_root, annotation, settings, stream.folder)
    length, stride = plan.frames(float(annotation["fps"]))
    if poses is None or settings is None:
        annotation = only_annotation(clip.annotation_path)
        if "review" not in annotation:
            name = annotation["frame_dir"]
            problems.append(f"{name}: its poses are not stored any more; its windows hold its annotated people")
        rule = plan.label_of or label_by_involvement(plan.threshold)
        starts = starts_of(annotation["total_frames"], length, stride)
        parts = cut_windows(annotation, length, stride, rule)
        if plan.max_persons is not None:
            name = annotation["frame_dir"]
            problems.append(f"{name}: its windows keep all of its annotated people, whatever --max-persons says")
        for part in parts:
            stream.add(draft_of(part), part["label"])
        return [part["frame_dir"] for part in parts], len(starts) - len(parts), 0
    if plan.max_persons is not None:
        fewer = settings.selection.model_copy(update={"max_persons": plan.max_persons})
        settings = settings.model_copy(update={"selection": fewer})
    tracks = track_people(poses, settings.tracking)
    kept: list[str] = []
    count = 0
    with tempfile.TemporaryFile(dir=stream.folder) as shelf:
        windows = ranked_windows(clip, tracks, annotation, settings, length, stride)
        for start, score, draft in _shelved(windows, shelf):
            count += 1
            if plan.label_of is not None:
                label = plan.label_of(annotation, start, min(start + length, annotation["total_frames"]))
            else:
                label = int(annotation["label"]) if score >= plan.threshold else 0
                # Of a video that shows none all windows show none, however much people move in it.
                if plan.leave_unsure and annotation["label"] and UNSURE * plan.threshold <= score < plan.threshold:
                    continue
            stream.add(draft, label)
            kept.append(draft.frame_dir)
    # What `ranked_windows` did not yield had nobody in it.
    starts = starts_of(annotation["total_frames"], length, stride)
    return kept, len(starts) - count, count - len(kept)


def _shelved(windows: Iterable[tuple[int, Annotation]], shelf: IO[bytes]) -> Iterator[tuple[int, float, Draft]]:
    """Yield the first frame, the involvement and the draft of each window, once all of them are known.

    Involvement is a share of the highest of the video; until that is known, the windows wait in a file.
    """
    waiting: list[tuple[int, float, Draft]] = []
    sizes: list[int] = []
    for start, part in windows:
        draft = draft_of(part)
        shelf.write(draft.instructions)
        # The first person of each window has the highest score.
        waiting.append((start, float(part["composite_scores"][0]), replace(draft, instructions=b"")))
        sizes.append(len(draft.instructions))
    highest = max((score for _, score, _ in waiting), default=0.0)
    shelf.seek(0)
    for (start, score, draft), size in zip(waiting, sizes, strict=True):
        # Where nothing scores, no window is less involved than another.
        share = score / highest if highest > 0 else 1.0
        yield start, share, replace(draft, instructions=shelf.read(size))


def ranked_windows(
    clip: Clip, tracks: Tracks, annotation: Annotation, settings: Settings, length: int, stride: int
) -> Iterator[tuple[int, Annotation]]:
    """Yield the first frame and the annotation of each window that has people in it.

    Parameters
    ----------
    clip
        The video.
    tracks
        All its tracks.
    annotation
        Its annotation, for label and provenance.
    settings
        Those that the annotation was made with.
    length, stride
        In frames.
    """
    scoring = settings.scoring
    # Those learned for the clip's camera, if the run had any.
    start = start_weights(scoring.camera_weights, clip.frame_dir)
    # Learned over the whole video, where each window goes on from: of four seconds alone little can be learned.
    whole = learn_region_weights(tracks, score_regions(tracks), scoring, start).weights.astype(np.float64)
    provenance: dict[str, Any] = dict(annotation["provenance"])
    for first in starts_of(annotation["total_frames"], length, stride):
        # Only a video shorter than a window gives one of another length.
        part = _within(tracks, first, min(first + length, annotation["total_frames"]))
        regions = score_regions(part)
        weights = learn_region_weights(part, regions, scoring, whole)
        ranking = rank_involvement(part, regions, weights, scoring)
        # A track may not be longer than the window it is in.
        shortest = min(settings.selection.min_track_length, part.poses.frame_count)
        selection = settings.selection.model_copy(update={"min_track_length": shortest})
        try:
            people = select_people(ranking, selection, clip.path)
        except ClipError:
            # Nobody can be followed in this window; the caller counts it as empty.
            continue
        # The same form of name that `cut_windows` gives: the clip, `#` and the first frame.
        named = replace(clip, frame_dir=f"{annotation['frame_dir']}#{first:06d}", label=int(annotation["label"]))
        # Boxes are cut for what is written only: the ranking has seen whole ones.
        yield first, build_annotation(named, end_at_nearer(part), people, settings, provenance)
        tracks.let_go()


def _within(tracks: Tracks, start: int, stop: int) -> Tracks:
    """Return the rows of a window, its first frame being 0."""
    # Rows are sorted by frame: no need to look at those of the whole video for each window, nor to copy them, as
    # numpy does to compare them with numbers of another type.
    low, high = np.searchsorted(tracks.poses.frame_index, np.array([start, stop], np.int32))
    poses = tracks.poses
    part = poses.select(np.arange(low, high))
    # Replaced and not built: whatever else a record says of its clip (the shape of its pixels) holds for a window.
    part = replace(
        part,
        frame_index=(part.frame_index - start).astype(np.int32),
        frame_count=stop - start,
        times=None if poses.times is None else poses.times[start:stop] - poses.times[start],
    )
    return Tracks(part, tracks.track_id[low:high], tracks.filled[low:high])


def _settings_of(annotation: Annotation) -> Settings | None:
    """Return the settings that an annotation was made with, None where another version wrote them."""
    try:
        return Settings.model_validate(annotation.get("settings"))
    except ValueError:
        # Settings that were renamed or removed since cannot be tracked with again.
        return None


def _all_poses(output_root: Path, annotation: Annotation, settings: Settings | None, scratch: Path) -> Poses | None:
    """Return the stored poses of a clip; None where they are gone, cannot be read or are not of its frames.

    Those of a long video are kept in the folder `scratch` instead of in memory.
    """
    made = annotation.get("provenance", {})
    if settings is None or "video_sha256" not in made:
        return None
    stored = kept_poses(output_root, str(made["video_sha256"]), model_key_in(made), settings.poses)
    try:
        poses = Poses.load(stored, scratch)
    except (OSError, ValueError):
        return None
    # Poses of another number of frames come from another decoding, which the annotation does not fit.
    return poses if poses.frame_count == annotation["total_frames"] else None
