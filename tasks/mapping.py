"""Proof that every input has its annotation and its overlay, and that they belong together.

The inputs are those that the runs listed beside their outputs (`tasks.manifest`); a clip that the failure log names is
accounted for without outputs. Every annotation is read, through the safe reader, and every overlay is decoded to its
end: both must have as many frames.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import av

from tasks.annotation import Annotation, AnnotationError, is_excluded, read_annotation
from tasks.errors import FightposeError
from tasks.failures import current_failures, escaped
from tasks.manifest import read_manifests
from tasks.output_pairs import (
    OutputKey,
    Pairs,
    check_avi_pkl_mapping,
    find_missing_files,
    get_files_by_extension,
    normal,
    remove_postfix,
)
from tasks.outputs import Clip
from tasks.validate import validate_annotation, validate_dataset

__all__ = [
    "DATASET_NAME",
    "Finding",
    "FindingKind",
    "MappingReport",
    "check_avi_pkl_mapping",
    "decode",
    "find_missing_files",
    "get_files_by_extension",
    "remove_postfix",
    "verify_mapping",
]

DATASET_NAME = "dataset.pkl"
"""The merged data set of an output root."""

RATE_TOLERANCE = 0.05
"""Share by which the frame rates of clip and overlay may differ; containers round it."""


class FindingKind(StrEnum):
    """What can be wrong with the outputs of a clip."""

    UNACCOUNTED = "input without outputs and without recorded failure"
    MISSING_ANNOTATION = "annotation missing"
    MISSING_OVERLAY = "overlay missing"
    ORPHAN = "output without input"
    DUPLICATE = "duplicate output"
    STALE = "input newer than its annotation"
    UNREADABLE_ANNOTATION = "annotation unreadable"
    UNREADABLE_OVERLAY = "overlay unreadable"
    WRONG_CLIP = "annotation of another clip"
    FRAME_COUNT = "frame counts differ"
    FRAME_RATE = "frame rates differ"
    INVALID = "annotation breaks the contract"
    DATASET = "merged data set is wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    kind
        What.
    clip
        The clip's identifier.
    info
        The details, possibly empty.
    files
        The outputs concerned.
    """

    kind: FindingKind
    clip: str
    info: str = ""
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class MappingReport:
    """What the check of an output root found.

    Attributes
    ----------
    output_root
        What was checked.
    inputs
        Number of inputs listed; 0 where no run left a list, so that outputs could only be compared with each other.
    matched
        Number of clips with a readable annotation and a matching overlay (or an annotation that wants none).
    failed
        Identifiers of the clips that the failure log accounts for.
    findings
        Everything that is wrong, by clip.
    """

    output_root: Path
    inputs: int
    matched: int
    failed: list[str]
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; recorded failures are accounted for."""
        return not self.findings

    def of(self, kind: FindingKind) -> list[str]:
        """Return the identifiers of the clips with a finding of one kind."""
        return [finding.clip for finding in self.findings if finding.kind == kind]

    def headline(self) -> str:
        """Return the outcome in one line."""
        inputs = f"{self.inputs} inputs" if self.inputs else "no list of inputs"
        return (
            f"{inputs}: {self.matched} with annotation and overlay, {len(self.failed)} recorded failures, "
            f"{len(self.findings)} findings"
        )

    def lines(self) -> list[str]:
        """Return one printable line for each finding."""
        return [
            f"{finding.kind}: {escaped(finding.clip)}" + (f" ({escaped(finding.info)})" if finding.info else "")
            for finding in self.findings
        ]

    def rows(self) -> list[dict[str, str]]:
        """Return the findings as rows of a table."""
        return [
            {"clip": escaped(finding.clip), "finding": str(finding.kind), "details": escaped(finding.info)}
            for finding in self.findings
        ]

    def to_value(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {
            "output_root": str(self.output_root),
            "ok": self.ok,
            "inputs": self.inputs,
            "matched": self.matched,
            "failed": self.failed,
            "counts": dict(Counter(finding.kind.name.lower() for finding in self.findings)),
            "findings": [
                {
                    "kind": finding.kind.name.lower(),
                    "clip": finding.clip,
                    "info": finding.info,
                    "files": [str(path) for path in finding.files],
                }
                for finding in self.findings
            ],
        }


def verify_mapping(output_root: Path, deep: bool = False) -> MappingReport:
    """Check every output below an output root against the inputs and against each other.

    Parameters
    ----------
    output_root
        Folder that runs wrote to.
    deep
        Hold every annotation against every rule of the contract, and check the merged data set and the frame rates.

    Returns
    -------
    MappingReport
        Its `ok` says whether every input is accounted for.

    Raises
    ------
    FightposeError
        If the folder does not exist or holds neither outputs nor a list of inputs, or a list of inputs is damaged.
    """
    if not output_root.is_dir():
        raise FightposeError(f"there is no output folder {output_root}; name the --output-root of an earlier run")
    clips = {OutputKey(normal(clip.frame_dir)): clip for clip in read_manifests(output_root)}
    pairs = check_avi_pkl_mapping(output_root)
    keys = sorted({*clips, *pairs.annotations, *pairs.overlays})
    if not keys:
        raise FightposeError(f"nothing to verify in {output_root}: no outputs and no list of inputs are there")
    failed = {normal(failure.frame_dir) for failure in current_failures(output_root)}
    findings: list[Finding] = []
    matched = 0
    for key in keys:
        if key.stem in failed and not key.earlier:
            continue
        wrong = list(_check_clip(key, clips.get(key), pairs, deep))
        # Earlier scripts left no list of inputs, so nothing can be said about theirs.
        if clips and key not in clips and not key.earlier:
            files = (*pairs.annotations.get(key, []), *pairs.overlays.get(key, []))
            wrong.insert(0, Finding(FindingKind.ORPHAN, key.stem, files=files))
        findings += wrong
        matched += not wrong
    if deep and (output_root / DATASET_NAME).exists():
        findings += _check_dataset(output_root / DATASET_NAME, pairs)
    return MappingReport(output_root, len(clips), matched, sorted(failed), findings)


def decode(path: Path) -> tuple[int, float]:
    """Decode a video to its end and return the number of frames and the frames per second that its header states.

    Raises
    ------
    FightposeError
        If it cannot be opened or decoded to the end.
    """
    try:
        with path.open("rb") as stream, av.open(stream, "r") as container:
            video = container.streams.video[0]
            video.thread_type = "AUTO"
            return sum(1 for _ in container.decode(video)), float(video.average_rate or 0)
    except OSError as error:
        # PyAV's errors are OSErrors or ValueErrors too; none of them names the file.
        raise FightposeError(f"{path}: cannot be decoded: {error.strerror or error}") from error
    except (IndexError, ValueError) as error:
        raise FightposeError(f"{path}: cannot be decoded: no video in it ({error})") from error


def _check_clip(key: OutputKey, clip: Clip | None, pairs: Pairs, deep: bool) -> Iterator[Finding]:
    """Yield what is wrong with the outputs of one clip."""
    annotations, overlays = pairs.annotations.get(key, []), pairs.overlays.get(key, [])
    if not annotations and not overlays:
        yield Finding(FindingKind.UNACCOUNTED, key.stem)
        return
    for files in (annotations, overlays):
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            yield Finding(FindingKind.DUPLICATE, key.stem, names, tuple(files))
    if not annotations:
        yield Finding(FindingKind.MISSING_ANNOTATION, key.stem, overlays[0].name)
    elif not key.earlier:
        yield from _check_annotation(key, clip, annotations, overlays, deep)
    elif not overlays:
        # The content of earlier annotations is not ours to judge.
        yield Finding(FindingKind.MISSING_OVERLAY, key.stem)


def _check_annotation(
    key: OutputKey, clip: Clip | None, annotations: list[Path], overlays: list[Path], deep: bool
) -> Iterator[Finding]:
    """Yield what opening an annotation and its overlay brings to light."""
    path = _preferred(annotations, clip.annotation_path if clip else None)
    if clip is not None and _newer(clip.path, path):
        yield Finding(FindingKind.STALE, key.stem, "run annotate again", (path,))
    try:
        annotation = _only_annotation(path)
    except AnnotationError as error:
        yield Finding(FindingKind.UNREADABLE_ANNOTATION, key.stem, str(error), (path,))
        return
    name = annotation.get("frame_dir")
    if not isinstance(name, str) or normal(name) != key.stem:
        yield Finding(
            FindingKind.WRONG_CLIP, key.stem, f"it says {name!r:.200}" if isinstance(name, str) else "", (path,)
        )
    for problem in validate_annotation(annotation) if deep else []:
        yield Finding(FindingKind.INVALID, key.stem, f"{problem.rule}: {problem.text}", (path,))
    if overlays:
        overlay = _preferred(overlays, clip.overlay_path if clip else None)
        yield from _check_overlay(key, annotation, path, overlay, deep)
    elif _wants_overlay(annotation):
        yield Finding(FindingKind.MISSING_OVERLAY, key.stem)


def _check_overlay(key: OutputKey, annotation: Annotation, path: Path, overlay: Path, deep: bool) -> Iterator[Finding]:
    """Yield what decoding an overlay brings to light."""
    try:
        frames, fps = decode(overlay)
    except FightposeError as error:
        yield Finding(FindingKind.UNREADABLE_OVERLAY, key.stem, str(error), (overlay,))
        return
    total = annotation.get("total_frames")
    if type(total) is not int or frames != total:
        info = f"overlay {frames}, annotation {total if isinstance(total, int) else 'none'}"
        yield Finding(FindingKind.FRAME_COUNT, key.stem, info, (path, overlay))
    expected = annotation.get("fps")
    # One frame has no rate.
    if deep and frames > 1 and isinstance(expected, float) and not math.isclose(fps, expected, rel_tol=RATE_TOLERANCE):
        info = f"overlay {fps:.3f}, annotation {expected:.3f} frames per second"
        yield Finding(FindingKind.FRAME_RATE, key.stem, info, (path, overlay))


def _check_dataset(path: Path, pairs: Pairs) -> Iterator[Finding]:
    """Yield what is wrong with the merged data set: of itself, and against the annotations it was made of."""
    try:
        data = read_annotation(path)
    except AnnotationError as error:
        yield Finding(FindingKind.DATASET, path.name, str(error), (path,))
        return
    for problem in validate_dataset(data):
        yield Finding(FindingKind.DATASET, path.name, f"{problem.rule}: {problem.text}", (path,))
    merged = {normal(str(annotation.get("frame_dir"))) for annotation in data["annotations"]}
    single = {key.stem: files[0] for key, files in pairs.annotations.items() if not key.earlier}
    for stem in sorted(merged ^ single.keys()):
        if stem in single and _left_out(single[stem]):
            continue
        side = "is in it, but has no annotation" if stem in merged else "has an annotation, but is not in it"
        yield Finding(FindingKind.DATASET, path.name, f"{stem} {side}; run annotate again", (path,))


def _left_out(path: Path) -> bool:
    """Tell whether a review excluded the clip of an annotation from the data set."""
    try:
        return all(is_excluded(annotation) for annotation in read_annotation(path)["annotations"])
    except AnnotationError:
        # Reported as unreadable elsewhere.
        return False


def _only_annotation(path: Path) -> Annotation:
    """Return the annotation of a single video's file."""
    annotations: list[Annotation] = read_annotation(path)["annotations"]
    if len(annotations) != 1:
        raise AnnotationError(f"{path}: holds {len(annotations)} annotations instead of one")
    return annotations[0]


def _preferred(files: list[Path], expected: Path | None) -> Path:
    """Return the file that stands where the clip's output belongs, else the first."""
    return expected if expected in files and expected is not None else files[0]


def _wants_overlay(annotation: Annotation) -> bool:
    """Tell whether the run that wrote an annotation was to write an overlay as well."""
    settings = annotation.get("settings")
    overlay = settings.get("overlay") if isinstance(settings, dict) else None
    return not (isinstance(overlay, dict) and overlay.get("save_overlayfile") is False)


def _newer(path: Path, other: Path) -> bool:
    """Tell whether a file changed after another; one that is gone did not."""
    try:
        return path.stat().st_mtime_ns > other.stat().st_mtime_ns
    except OSError:
        return False
