"""Proof that every input has its annotation and its overlay, and that they belong together.

The inputs are those that the runs listed beside their outputs (`tasks.clips.manifest`); a clip that the failure log
names is accounted for without outputs. Every annotation is read, through the safe reader, and every overlay is decoded
to its end: both must have as many frames. An overlay that did not change since it was decoded is not decoded again,
except by the deep check, which also decodes every input, once for each content, and compares each output with the hash
in its receipt (`tasks.mapping.receipts`) and the data set with the record of its merge (`tasks.mapping.merged`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tasks.annotations.dataset import content_digest, contents_of, read_split, split_path
from tasks.annotations.format import Annotation, AnnotationError, is_excluded, only_annotation, read_annotation
from tasks.annotations.validate import validate_annotation
from tasks.annotations.validate_dataset import validate_dataset
from tasks.clips.discovery import Clip
from tasks.clips.failures import Failure, current_failures
from tasks.clips.labels import group_rule
from tasks.clips.manifest import Request, lost_inputs, read_manifests, read_requests
from tasks.clips.same_content import contradictions, joined_groups
from tasks.core.errors import FightposeError
from tasks.core.storage import file_sha256, require_output_root
from tasks.core.text import normal
from tasks.mapping.findings import REPAIRABLE, Finding, FindingKind, MappingReport
from tasks.mapping.frame_counts import DecodedVideos, input_problem
from tasks.mapping.merged import DATASET_NAME, read_record
from tasks.mapping.pairs import OutputKey, Pairs, check_avi_pkl_mapping
from tasks.mapping.receipts import (
    Recorded,
    distrust,
    input_changed,
    made_under,
    outputs_as_recorded,
    receipt_fits,
    recorded_outputs,
    recorded_settings,
)

logger = logging.getLogger(__name__)

RATE_TOLERANCE = 0.05
"""Share by which the frame rates of clip and overlay may differ; containers round it."""

AGAIN = "run annotate again"


def verify_mapping(output_root: Path, deep: bool = False) -> MappingReport:
    """Check every output below an output root against the inputs and against each other.

    A clip with a finding that another run would mend is marked in its receipt, so that the next run over it does so.

    Parameters
    ----------
    output_root
        Folder that runs wrote to.
    deep
        Hold every annotation against every rule of the contract and against its input's content, compare every output
        with the hash that was recorded when it was written, and check the merged data set and the frame rates.

    Returns
    -------
    MappingReport
        Its `ok` says whether every input is accounted for.

    Raises
    ------
    FightposeError
        If the folder does not exist or holds neither outputs nor a list of inputs, or a list of inputs is damaged.
    """
    require_output_root(output_root)
    check = _Check(output_root, deep)
    keys = sorted({*check.clips, *check.pairs.annotations, *check.pairs.overlays})
    if not keys:
        raise FightposeError(f"nothing to verify in {output_root}: no outputs and no list of inputs are there")
    findings = list(check.inputs())
    matched, undrawn, unmended = 0, 0, []
    try:
        for key in keys:
            wrong = _most_telling(list(check.clip(key)))
            # A failed clip is accounted for, but not matched.
            good = not wrong and not check.failed(key)
            matched += good
            undrawn += good and key not in check.pairs.overlays
            if wrong and check.noted(key, wrong):
                unmended.append(key.stem)
                wrong = [replace(finding, info=_same_again(finding)) for finding in wrong]
            findings += wrong
    finally:
        # Also where the check was broken off: what is decoded needs not be decoded again.
        check.videos.save()
    findings += check.dataset()
    return MappingReport(output_root, len(check.clips), matched, undrawn, sorted(check.failures), findings, unmended)


class _Check:
    """One check of an output root: what is known about it, and the rules.

    Parameters
    ----------
    output_root, deep
        As in `verify_mapping`.
    """

    def __init__(self, output_root: Path, deep: bool) -> None:
        self.root, self.deep = output_root, deep
        self.lost = lost_inputs(output_root)
        listed = [*read_manifests(output_root), *self.lost]
        self.clips = {OutputKey(normal(clip.frame_dir)): clip for clip in listed}
        self.failures: dict[str, Failure] = {
            normal(failure.frame_dir): failure for failure in current_failures(output_root)
        }
        self.pairs: Pairs = check_avi_pkl_mapping(output_root)
        self.videos = DecodedVideos(output_root, afresh=deep)
        self.record = read_record(output_root)
        self._requests: dict[str, Request] = read_requests(output_root)
        # Of each annotation that belongs into the merged data set: a hash of its content.
        self._digests: dict[str, str] = {}

    def inputs(self) -> Iterator[Finding]:
        """Yield the clips that were struck from the lists of inputs, or whose list is gone."""
        for clip in self.lost:
            info = f"the list of inputs no longer names it; --fix restores the list, or {AGAIN}"
            yield Finding(FindingKind.INPUT_LIST, normal(clip.frame_dir), info)

    def failed(self, key: OutputKey) -> bool:
        """Tell whether the failure log accounts for a clip."""
        return key.stem in self.failures and not key.earlier

    def noted(self, key: OutputKey, wrong: list[Finding]) -> bool:
        """Mark a clip for its next run; tell whether it was annotated again for these findings and gave them again."""
        clip = self.clips.get(key)
        # Not for a failure alone: the next run finds the clip finished and takes the failure back.
        kinds = {finding.kind.name for finding in wrong if finding.kind in REPAIRABLE - {FindingKind.FAILURE_LOG}}
        if clip is None or not kinds:
            return False
        recorded = recorded_outputs(clip, self.root)
        if recorded and kinds <= recorded.redone_for and outputs_as_recorded(clip, self.root):
            return True
        try:
            distrust(clip, self.root, kinds)
        except OSError as error:
            logger.warning("%s: cannot be marked for its next run (%s)", clip.relative, error)
        return False

    def clip(self, key: OutputKey) -> Iterator[Finding]:
        """Yield what is wrong with the outputs of one clip."""
        annotations, overlays = self.pairs.annotations.get(key, []), self.pairs.overlays.get(key, [])
        clip = self.clips.get(key)
        if self.failed(key):
            contradicted = clip is not None and self._is_finished(clip)
            if not contradicted:
                yield from self._failed_outputs(key, clip)
                return
            yield Finding(FindingKind.FAILURE_LOG, key.stem, f"its outputs are complete; {AGAIN}")
        # Earlier scripts left no list of inputs, so nothing can be said about theirs.
        if self.clips and clip is None and not key.earlier:
            info = "no input has this name any more; --quarantine moves it away"
            yield Finding(FindingKind.ORPHAN, key.stem, info, (*annotations, *overlays))
            return
        if not annotations and not overlays:
            yield Finding(FindingKind.UNACCOUNTED, key.stem)
            return
        yield from _duplicates(key, annotations, overlays)
        if not annotations:
            yield Finding(FindingKind.MISSING_ANNOTATION, key.stem, overlays[0].name)
        elif not key.earlier:
            yield from self._annotation(key, clip, _preferred(annotations, clip.annotation_path if clip else None))
        elif not overlays:
            # The content of earlier annotations is not ours to judge.
            yield Finding(FindingKind.MISSING_OVERLAY, key.stem)

    def _is_finished(self, clip: Clip) -> bool:
        """Tell whether a receipt vouches for a clip's outputs under what the last run asked for."""
        # Outputs under other settings do not answer the last request, however whole they are.
        made, asked = made_under(clip, self.root), self._requests.get(clip.frame_dir)
        recorded = recorded_outputs(clip, self.root)
        return (
            made is not None
            and asked is not None
            and made.key == asked.key
            and recorded is not None
            and not recorded.doubted
            and not input_changed(clip, self.root)
            and receipt_fits(clip, self.root)
        )

    def _failed_outputs(self, key: OutputKey, clip: Clip | None) -> Iterator[Finding]:
        """Yield outputs of a failed clip that changed: those of an earlier run stay as they were when it fails."""
        recorded = recorded_outputs(clip, self.root) if clip and self.deep else None
        if clip is not None and recorded is not None:
            yield from self._against_receipt(key, clip, recorded)

    def _annotation(self, key: OutputKey, clip: Clip | None, path: Path) -> Iterator[Finding]:
        """Yield what opening an annotation and its overlay brings to light."""
        # A file that cannot be read gets one finding: every later check needs its content.
        try:
            annotation = only_annotation(path)
        except AnnotationError as error:
            yield Finding(FindingKind.UNREADABLE_ANNOTATION, key.stem, str(error), (path,))
            return
        # Names are compared in normal form: a copy between systems can change how accents are stored.
        name = annotation.get("frame_dir")
        if not isinstance(name, str) or normal(name) != key.stem:
            info = f"it says {name!r:.200}" if isinstance(name, str) else ""
            yield Finding(FindingKind.WRONG_CLIP, key.stem, info, (path,))
        # The rules of the whole annotation cost time for each clip, so only a deep check applies them.
        for problem in validate_annotation(annotation) if self.deep else []:
            yield Finding(FindingKind.INVALID, key.stem, f"{problem.rule}: {problem.text}", (path,))
        if clip is not None:
            yield from self._against_input(key, clip, annotation, path)
            yield from self._receipt(key, clip)
        overlays = self.pairs.overlays.get(key, [])
        if overlays:
            yield from self._overlay(key, annotation, path, _preferred(overlays, clip.overlay_path if clip else None))
        elif _wants_overlay(annotation):
            yield Finding(FindingKind.MISSING_OVERLAY, key.stem)
        # Excluded and failed clips have no place in the data set, so their absence is no finding.
        if not is_excluded(annotation) and not self.failed(key):
            yield from self._membership(key)
            if self.deep:
                self._digests[key.stem] = content_digest(annotation)

    def _receipt(self, key: OutputKey, clip: Clip) -> Iterator[Finding]:
        """Yield a receipt that is gone, and outputs that are not as it has them."""
        recorded = recorded_outputs(clip, self.root)
        if recorded is None:
            # Only where it is known that there was one: what merged the clip had it.
            if clip.frame_dir in self.record.members:
                yield Finding(FindingKind.NO_RECEIPT, key.stem, f"its receipt is gone; {AGAIN}")
        elif self.deep:
            yield from self._against_receipt(key, clip, recorded)

    def _against_receipt(self, key: OutputKey, clip: Clip, recorded: Recorded) -> Iterator[Finding]:
        """Yield outputs whose content is not what it was when the receipt was written."""
        for path, sha256, what in (
            (clip.annotation_path, recorded.annotation, "annotation"),
            (clip.overlay_path, recorded.overlay, "overlay"),
        ):
            try:
                if sha256 and file_sha256(path) != sha256:
                    info = f"the {what} is not as it was written; {AGAIN}"
                    yield Finding(FindingKind.CHANGED, key.stem, info, (path,))
            except OSError:
                # Missing or unreadable files are findings of their own.
                continue

    def _membership(self, key: OutputKey) -> Iterator[Finding]:
        """Yield an annotation that the last merge should have taken and did not."""
        record, clip = self.record, self.clips.get(key)
        if record.files and clip and clip.frame_dir not in record.members | record.left_out:
            info = f"{key.stem} has an annotation, but is not in it; {AGAIN}"
            yield Finding(FindingKind.DATASET, DATASET_NAME, info)

    def _against_input(self, key: OutputKey, clip: Clip, annotation: Annotation, path: Path) -> Iterator[Finding]:
        """Yield what makes an annotation stale: another input, or settings that changed since."""
        # A changed input makes all else stale too; one finding says it.
        if input_changed(clip, self.root):
            yield Finding(FindingKind.STALE, key.stem, f"the input changed; {AGAIN}", (path,))
            return
        # The times tell settings that are still to be applied from ones that were replaced since.
        made, asked = made_under(clip, self.root), self._requests.get(clip.frame_dir)
        if made and asked and asked.key and made.key != asked.key and made.time < asked.time:
            info = f"it was made under other settings than the last run asked for; {AGAIN}"
            yield Finding(FindingKind.STALE, key.stem, info, (path,))
        # The hash and the frame count need the whole video to be read, hence only in a deep check.
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

    def dataset(self) -> Iterator[Finding]:
        """Yield what is wrong with the merged data set."""
        wrong = [*self._dataset_files()]
        path = self.root / DATASET_NAME
        if self.deep and path.exists():
            wrong += self._dataset_content(path)
        for info in wrong:
            yield Finding(FindingKind.DATASET, path.name, info, (path,))

    def _dataset_files(self) -> Iterator[str]:
        """Yield how the files of the data set differ from what the last merge wrote."""
        for name, (size, sha256) in self.record.files.items():
            path = self.root / name
            try:
                # The size is compared always, the hash only in a deep check, as it reads the whole file.
                same = path.stat().st_size == size and (not self.deep or file_sha256(path) == sha256)
            except OSError:
                yield f"{name} is gone; {AGAIN}"
                continue
            if not same:
                yield f"{name} is not as it was written; {AGAIN}"

    def _dataset_content(self, path: Path) -> Iterator[str]:
        """Yield what is wrong with the data set of itself, and against the annotations that it was made of."""
        try:
            data = read_annotation(path)
        except AnnotationError as error:
            yield str(error)
            return
        # Without readable settings the groups are unknown; the rest of the content can still be checked.
        groups = None
        try:
            groups = group_rule(recorded_settings(self.root).dataset)
        except FightposeError as error:
            yield f"whether its splits part groups cannot be known: {error}"
        # Clips with the same content have to be in one split, so they are joined as a group is.
        contents = contents_of(data["annotations"])
        labels = {str(one.get("frame_dir")): one.get("label", 0) for one in data["annotations"]}
        groups = joined_groups(labels, groups, contents)
        yield from contradictions(contents, labels)
        yield from (f"{problem.rule}: {problem.text}" for problem in validate_dataset(data, groups))
        if split_path(path).exists() and read_split(path) != data["split"]:
            yield f"{split_path(path).name} holds other splits; {AGAIN}"
        merged = {
            normal(str(annotation.get("frame_dir"))): content_digest(annotation) for annotation in data["annotations"]
        }
        # Clips that the merge left out on purpose have an annotation but are no difference.
        left_out = {normal(name) for name in self.record.left_out}
        for stem in sorted(merged.keys() ^ (self._digests.keys() - left_out)):
            if stem in merged:
                yield f"{stem} is in it, but has no annotation; {AGAIN}"
            else:
                yield f"{stem} has an annotation, but is not in it; {AGAIN}"
        for stem in sorted(merged.keys() & self._digests.keys()):
            if merged[stem] != self._digests[stem]:
                yield f"{stem} is not in it as its own file has it; {AGAIN}"


def _most_telling(findings: list[Finding]) -> list[Finding]:
    """Leave out that a file changed where another finding says what is wrong with it."""
    explained = {path for finding in findings if finding.kind != FindingKind.CHANGED for path in finding.files}
    return [
        finding for finding in findings if finding.kind != FindingKind.CHANGED or not explained & set(finding.files)
    ]


def _same_again(finding: Finding) -> str:
    """Return the details of a finding that a mend does not take away."""
    if not finding.info:
        return "annotating it again gave the same result, so it is not tried another time"
    return f"{finding.info}; annotating it again gave the same result, so it is not tried another time"


def _duplicates(key: OutputKey, annotations: list[Path], overlays: list[Path]) -> Iterator[Finding]:
    """Yield outputs of a kind that a clip has several of."""
    for files in (annotations, overlays):
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            yield Finding(FindingKind.DUPLICATE, key.stem, f"{names}; keep one of them", tuple(files))


def _preferred(files: list[Path], expected: Path | None) -> Path:
    """Return the file that is where the clip's output belongs, else the first."""
    return expected if expected in files and expected is not None else files[0]


def _wants_overlay(annotation: Annotation) -> bool:
    """Tell whether the run that wrote an annotation was to write an overlay as well."""
    settings = annotation.get("settings")
    overlay = settings.get("overlay") if isinstance(settings, dict) else None
    return not (isinstance(overlay, dict) and overlay.get("save_overlayfile") is False)
