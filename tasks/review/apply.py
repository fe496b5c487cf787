"""Corrections put into effect over a whole output root.

The annotation that the run made is copied to `<output root>/.fightpose/automatic/<frame_dir>.pkl` before the corrected
one takes its place, and corrected annotations are always made from that copy again: corrections never add up, and a
clip whose corrections are all taken back gets its automatic annotation again, byte for byte. An annotation without the
key `review` is automatic, so one that a later run wrote becomes the new copy. Overlays follow in a second step, which
takes seconds a clip: `tasks.review.overlays`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.annotations.format import Annotation, AnnotationError, write_annotation
from tasks.annotations.other_tracks import OtherTracks, load_other_tracks
from tasks.annotations.validate import sound_annotation
from tasks.clips.discovery import Clip
from tasks.clips.failures import current_failures, keep_failure
from tasks.clips.manifest import read_manifests
from tasks.core.errors import FightposeError
from tasks.core.storage import atomic_path, one_at_a_time, require_output_root
from tasks.mapping.merged import merge_outputs
from tasks.mapping.receipts import (
    WORK_FOLDER,
    input_changed,
    overlay_shows,
    receipt_fits,
    recorded_settings,
    renew_receipt,
    tracks_path,
)
from tasks.review.corrections import apply_changes
from tasks.review.log import Change, SetExcluded, read_review, standing_changes, standing_exclusions


@dataclass(slots=True)
class ReviewReport:
    """What applying the corrections of an output root came to; clips are named by their identifiers.

    Attributes
    ----------
    corrected
        Clips whose annotation was rewritten from corrections.
    restored
        Clips that got their automatic annotation back, as no correction of theirs holds any more.
    unchanged
        Number of clips whose corrections were in effect already.
    excluded
        Clips that stay out of the data set.
    problems
        Clips whose corrections could not be applied, or not all of them, each with the reason.
    counts
        Split name to number of clips in the data set.
    redrawn
        Clips whose overlay was drawn again; filled in by the code that draws them.
    """

    corrected: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    unchanged: int = 0
    excluded: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    redrawn: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what was done as lines of text; the problems are not in them."""
        lines = [
            f"{len(self.corrected)} annotations corrected, {len(self.restored)} restored, "
            f"{self.unchanged} as they were, {len(self.excluded)} clips excluded"
        ]
        if self.redrawn:
            lines.append(f"{len(self.redrawn)} overlays drawn again")
        parts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        lines.append(f"Data set: {parts}")
        return lines


def automatic_path(clip: Clip, output_root: Path) -> Path:
    """Return where the automatic annotation of a corrected clip is kept."""
    # No ending is added to the stem but this: it may take the file system's whole limit with the usual postfix.
    return output_root / WORK_FOLDER / "automatic" / f"{clip.frame_dir}.pkl"


def is_reviewed(annotation: Annotation) -> bool:
    """Tell whether an annotation was made from corrections."""
    return "review" in annotation


def automatic_annotation(clip: Clip, output_root: Path) -> Annotation:
    """Return the annotation of a clip as the run made it, corrected by now or not.

    Raises
    ------
    AnnotationError
        If it cannot be read.
    """
    annotation = sound_annotation(clip.annotation_path)
    if not is_reviewed(annotation):
        return annotation
    try:
        return sound_annotation(automatic_path(clip, output_root))
    except AnnotationError as error:
        raise AnnotationError(
            f"{clip.annotation_path}: is a corrected annotation, and the automatic one cannot be read ({error}); "
            "delete the corrected one and run annotate again"
        ) from error


def other_people(clip: Clip, output_root: Path, automatic: Annotation) -> OtherTracks | None:
    """Return the people that the automatic annotation of a clip leaves out; None where a run did not keep them."""
    return load_other_tracks(tracks_path(clip, output_root), automatic)


def waiting_corrections(output_root: Path) -> list[str]:
    """Return the clips whose annotations do not hold the corrections that count, in the order of their identifiers."""
    standing = standing_changes(read_review(output_root))
    return [
        clip.frame_dir
        for clip in clips_under_review(output_root, standing.keys())
        if not in_effect(clip, [entry.change for entry in standing.get(clip.frame_dir, [])])
    ]


def in_effect(clip: Clip, changes: Sequence[Change]) -> bool:
    """Tell whether the annotation on disk is what these corrections give; True where there is none to correct."""
    try:
        return _applied_changes(sound_annotation(clip.annotation_path)) == _dumped(changes)
    except AnnotationError:
        return not clip.annotation_path.exists()


def apply_review(output_root: Path) -> ReviewReport:
    """Make the annotations of an output root and its data set what the corrections say.

    Only annotations whose corrections changed are written. Splits stay as they are, so that no clip wanders from
    training to test because of a review.

    Raises
    ------
    FightposeError
        If the folder is none of an earlier run, the log is damaged, or something cannot be written.
    """
    require_output_root(output_root)
    report = ReviewReport()
    with one_at_a_time(lock_path(output_root)):
        standing = standing_changes(read_review(output_root))
        # Clips whose corrections were all taken back are among them: they get their automatic annotation again.
        clips = clips_under_review(output_root, standing.keys())
        # Read before anything is written: a failure counts as over once its clip has another annotation.
        failed = {failure.frame_dir: failure for failure in current_failures(output_root)}
        for clip in clips:
            changes = [entry.change for entry in standing.get(clip.frame_dir, [])]
            try:
                _apply(clip, output_root, changes, report)
            except AnnotationError as error:
                report.problems.append((clip.frame_dir, str(error)))
            except OSError as error:
                raise FightposeError(
                    f"cannot write {clip.annotation_path}: {error.strerror or error}; "
                    "free disk space or fix its permissions, and apply again"
                ) from error
            # A corrected annotation is still of a run before the one that failed, so the failure is not over.
            if clip.frame_dir in failed:
                keep_failure(output_root, failed[clip.frame_dir])
        # The log may name clips that the output root no longer has: that is said, not passed over.
        known = {clip.frame_dir for clip in clips}
        report.problems += [(name, "there is no such clip here") for name in sorted(standing.keys() - known)]
        # Exclusions come from the log: a clip whose corrections could not be applied is kept out all the same.
        merged = merge_outputs(output_root, recorded_settings(output_root).dataset, standing_exclusions(output_root))
        report.counts = merged.counts
        report.problems += [(str(path), reason) for path, reason in merged.skipped]
    return report


def _apply(clip: Clip, output_root: Path, changes: list[Change], report: ReviewReport) -> None:
    """Write the annotation that the corrections of one clip give."""
    if not clip.annotation_path.exists():
        report.problems.append((clip.frame_dir, "has no annotation to correct"))
        return
    current = sound_annotation(clip.annotation_path)
    automatic = automatic_annotation(clip, output_root)
    kept = automatic_path(clip, output_root)
    # A rerun passes over a clip whose receipt fits; a clip that was outdated before stays so.
    fits = receipt_fits(clip, output_root)
    if not changes:
        _restore(clip, output_root, current, fits, report)
        return
    applied = apply_changes(automatic, changes, other_people(clip, output_root, automatic))
    if _applied_changes(current) != _dumped(changes) and input_changed(clip, output_root):
        # Corrections are about people of a clip that is another one by now.
        report.problems.append((clip.frame_dir, "the clip changed since; run annotate again, then apply"))
        return
    report.problems += [(clip.frame_dir, misfit) for misfit in applied.misfits]
    if applied.excluded:
        report.excluded.append(clip.frame_dir)
    if _applied_changes(current) == _dumped(changes):
        report.unchanged += 1
        return
    # Kept before the corrected one takes its place, so that a crash between the two loses nothing.
    if not is_reviewed(current):
        _copy(clip.annotation_path, kept)
    write_annotation(clip.annotation_path, [applied.annotation or _empty(automatic, changes)])
    if fits:
        renew_receipt(clip, output_root)
    report.corrected.append(clip.frame_dir)


def _restore(clip: Clip, output_root: Path, current: Annotation, fits: bool, report: ReviewReport) -> None:
    """Give a clip without corrections its automatic annotation again."""
    kept = automatic_path(clip, output_root)
    # One that a later run wrote is automatic already: then only the kept copy is out of date.
    if is_reviewed(current):
        _copy(kept, clip.annotation_path)
        report.restored.append(clip.frame_dir)
        if fits:
            renew_receipt(clip, output_root)
    if overlay_shows(clip, output_root) is None:
        # Else the copy says that the overlay is still to be drawn again.
        kept.unlink(missing_ok=True)


def _empty(automatic: Annotation, changes: list[Change]) -> Annotation:
    """Return the annotation of a clip in which nobody is left: the automatic people, and out of the data set.

    An annotation without people would load and predict noise; a missing one would be taken for an unfinished clip.
    """
    annotation = apply_changes(automatic, [SetExcluded(excluded=True)]).annotation
    assert annotation is not None  # noqa: S101 - an exclusion takes nobody away
    annotation["review"]["changes"] = _dumped(changes)
    return annotation


def clips_under_review(output_root: Path, named: Iterable[str]) -> list[Clip]:
    """Return the clips that have corrections, or had some when they were last applied."""
    wanted = set(named)
    clips = read_manifests(output_root)
    return [clip for clip in clips if clip.frame_dir in wanted or automatic_path(clip, output_root).exists()]


def _applied_changes(annotation: Annotation) -> list[Any] | None:
    """Return the corrections that an annotation holds, None where it is automatic or someone else's."""
    review = annotation.get("review", {"changes": []})
    return review.get("changes") if isinstance(review, dict) else None


def _dumped(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Return corrections as an annotation has them: plain values, tuples as lists."""
    return [change.model_dump(mode="json") for change in changes]


def _copy(source: Path, target: Path) -> None:
    """Copy a file's bytes, so that the target is there whole or not at all."""
    with atomic_path(target) as partial:
        # The time of change goes along: by it an annotation is known to be older than its clip.
        shutil.copy2(source, partial)


def lock_path(output_root: Path) -> Path:
    """Return the lock file for changes of annotations and receipts of an output root."""
    # A file of its own: the log has its own lock, and saving a correction need not wait for clips to be applied.
    return output_root / WORK_FOLDER / "review" / "apply.lock"
