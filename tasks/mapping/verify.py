"""Proof that every input has its annotation and its overlay, and that they belong together.

The inputs are those that the runs listed beside their outputs (`tasks.clips.manifest`); a clip that the failure log
names is accounted for without outputs. Every annotation is read, through the safe reader, and every overlay is decoded
to its end: both must have as many frames. An overlay that did not change since it was decoded is not decoded again,
except by the deep check, which also decodes every input, once for each content.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from tasks.annotations.format import Annotation, AnnotationError, is_excluded, read_annotation
from tasks.annotations.validate import CONTRACT_KEYS, validate_annotation, validate_dataset
from tasks.clips.discovery import Clip, normal
from tasks.clips.failures import current_failures, escaped
from tasks.clips.labels import group_rule
from tasks.clips.manifest import Request, read_manifests, read_requests
from tasks.core.errors import FightposeError
from tasks.mapping.frame_counts import DecodedVideos, input_problem
from tasks.mapping.pairs import (
    OutputKey,
    Pairs,
    check_avi_pkl_mapping,
    find_missing_files,
    get_files_by_extension,
    remove_postfix,
)
from tasks.mapping.receipts import made_under, recorded_settings

__all__ = [
    "DATASET_NAME",
    "Finding",
    "FindingKind",
    "MappingReport",
    "check_avi_pkl_mapping",
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
    STALE = "output out of date"
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
        Hold every annotation against every rule of the contract and against its input's content, and check the merged
        data set and the frame rates.

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
    check = _Check(output_root, deep)
    keys = sorted({*check.clips, *check.pairs.annotations, *check.pairs.overlays})
    if not keys:
        raise FightposeError(f"nothing to verify in {output_root}: no outputs and no list of inputs are there")
    failed = {normal(failure.frame_dir) for failure in current_failures(output_root)}
    findings: list[Finding] = []
    matched = 0
    try:
        for key in keys:
            if key.stem in failed and not key.earlier:
                continue
            wrong = list(check.clip(key))
            findings += wrong
            matched += not wrong
    finally:
        # Also where the check was broken off: what is decoded needs not be decoded again.
        check.videos.save()
    if deep and (output_root / DATASET_NAME).exists():
        findings += check.dataset(output_root / DATASET_NAME)
    return MappingReport(output_root, len(check.clips), matched, sorted(failed), findings)


class _Check:
    """One check of an output root: what is known about it, and the rules.

    Parameters
    ----------
    output_root, deep
        As in `verify_mapping`.
    """

    def __init__(self, output_root: Path, deep: bool) -> None:
        self.root, self.deep = output_root, deep
        self.clips = {OutputKey(normal(clip.frame_dir)): clip for clip in read_manifests(output_root)}
        self.pairs: Pairs = check_avi_pkl_mapping(output_root)
        self.videos = DecodedVideos(output_root, afresh=deep)
        self._requests: dict[str, Request] = read_requests(output_root)
        # Of each annotation that was read: what the merged data set must hold of it.
        self._digests: dict[str, str] = {}

    def clip(self, key: OutputKey) -> Iterator[Finding]:
        """Yield what is wrong with the outputs of one clip."""
        annotations, overlays = self.pairs.annotations.get(key, []), self.pairs.overlays.get(key, [])
        # Earlier scripts left no list of inputs, so nothing can be said about theirs.
        if self.clips and key not in self.clips and not key.earlier:
            yield Finding(FindingKind.ORPHAN, key.stem, files=(*annotations, *overlays))
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
            clip = self.clips.get(key)
            yield from self._annotation(key, clip, _preferred(annotations, clip.annotation_path if clip else None))
        elif not overlays:
            # The content of earlier annotations is not ours to judge.
            yield Finding(FindingKind.MISSING_OVERLAY, key.stem)

    def _annotation(self, key: OutputKey, clip: Clip | None, path: Path) -> Iterator[Finding]:
        """Yield what opening an annotation and its overlay brings to light."""
        try:
            annotation = _only_annotation(path)
        except AnnotationError as error:
            yield Finding(FindingKind.UNREADABLE_ANNOTATION, key.stem, str(error), (path,))
            return
        name = annotation.get("frame_dir")
        if not isinstance(name, str) or normal(name) != key.stem:
            info = f"it says {name!r:.200}" if isinstance(name, str) else ""
            yield Finding(FindingKind.WRONG_CLIP, key.stem, info, (path,))
        for problem in validate_annotation(annotation) if self.deep else []:
            yield Finding(FindingKind.INVALID, key.stem, f"{problem.rule}: {problem.text}", (path,))
        if clip is not None:
            yield from self._against_input(key, clip, annotation, path)
        overlays = self.pairs.overlays.get(key, [])
        if overlays:
            yield from self._overlay(key, annotation, path, _preferred(overlays, clip.overlay_path if clip else None))
        elif _wants_overlay(annotation):
            yield Finding(FindingKind.MISSING_OVERLAY, key.stem)
        if self.deep and not is_excluded(annotation):
            self._digests[key.stem] = _digest(annotation)

    def _against_input(self, key: OutputKey, clip: Clip, annotation: Annotation, path: Path) -> Iterator[Finding]:
        """Yield what makes an annotation stale: a newer or another input, or settings that changed since."""
        if _newer(clip.path, path):
            yield Finding(FindingKind.STALE, key.stem, "the input is newer; run annotate again", (path,))
            return
        made, asked = made_under(clip, self.root), self._requests.get(clip.frame_dir)
        if made and asked and asked.key and made.key != asked.key and made.time < asked.time:
            info = "it was made under other settings than the last run asked for; run annotate again"
            yield Finding(FindingKind.STALE, key.stem, info, (path,))
        if self.deep:
            provenance = annotation.get("provenance")
            sha256 = provenance.get("video_sha256") if isinstance(provenance, dict) else None
            problem = input_problem(clip.path, sha256, annotation.get("total_frames"), self.videos)
            if problem:
                kind = FindingKind.STALE if problem[0] else FindingKind.FRAME_COUNT
                yield Finding(kind, key.stem, problem[1], (path,))

    def _overlay(self, key: OutputKey, annotation: Annotation, path: Path, overlay: Path) -> Iterator[Finding]:
        """Yield what decoding an overlay brings to light."""
        try:
            frames, fps = self.videos.overlay(overlay)
        except (FightposeError, OSError) as error:
            yield Finding(FindingKind.UNREADABLE_OVERLAY, key.stem, str(error), (overlay,))
            return
        total = annotation.get("total_frames")
        if type(total) is not int or frames != total:
            info = f"overlay {frames}, annotation {total if isinstance(total, int) else 'none'}"
            yield Finding(FindingKind.FRAME_COUNT, key.stem, info, (path, overlay))
        expected = annotation.get("fps")
        # One frame has no rate.
        if not self.deep or frames <= 1 or not isinstance(expected, float):
            return
        if not math.isclose(fps, expected, rel_tol=RATE_TOLERANCE):
            info = f"overlay {fps:.3f}, annotation {expected:.3f} frames per second"
            yield Finding(FindingKind.FRAME_RATE, key.stem, info, (path, overlay))

    def dataset(self, path: Path) -> Iterator[Finding]:
        """Yield what is wrong with the merged data set: of itself, and against the annotations it was made of."""
        try:
            data = read_annotation(path)
        except AnnotationError as error:
            yield Finding(FindingKind.DATASET, path.name, str(error), (path,))
            return
        groups, wrong = None, []
        try:
            groups = group_rule(recorded_settings(self.root).dataset)
        except FightposeError as error:
            wrong.append(f"whether its splits part groups cannot be told: {error}")
        wrong += [f"{problem.rule}: {problem.text}" for problem in validate_dataset(data, groups)]
        merged = {normal(str(annotation.get("frame_dir"))): _digest(annotation) for annotation in data["annotations"]}
        for stem in sorted(merged.keys() ^ self._digests.keys()):
            side = "is in it, but has no annotation" if stem in merged else "has an annotation, but is not in it"
            wrong.append(f"{stem} {side}; run annotate again")
        wrong += [
            f"{stem} is not in it as its own file has it; run annotate again"
            for stem in sorted(merged.keys() & self._digests.keys())
            if merged[stem] != self._digests[stem]
        ]
        for info in wrong:
            yield Finding(FindingKind.DATASET, path.name, info, (path,))


def _digest(annotation: Annotation) -> str:
    """Return a hash of what consumers read: label, sizes, keypoints and scores."""
    digest = hashlib.sha256()
    for key in CONTRACT_KEYS:
        value = annotation.get(key)
        digest.update(np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()


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
