"""The merged data set: the annotations of many clips in one file, each clip in one split.

Beside `<name>.pkl` there is `<name>_split.json`, so that the splits can be read without the poses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tasks.annotations.format import Annotation, AnnotationError, is_excluded, read_annotation, write_annotation
from tasks.clips.discovery import Clip
from tasks.clips.labels import class_warnings
from tasks.clips.splits import make_splits
from tasks.core.storage import write_text


@dataclass(slots=True)
class Gathered:
    """The annotations that go into a merged data set.

    Attributes
    ----------
    annotations
        Identifier to annotation.
    skipped
        Files that could not be taken, each with the reason.
    left_out
        Identifiers of clips that a review excludes.
    """

    annotations: dict[str, Annotation] = field(default_factory=dict)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)

    def labels(self) -> dict[str, int]:
        """Return identifier to label."""
        return {name: annotation["label"] for name, annotation in self.annotations.items()}

    def contents(self) -> dict[str, str]:
        """Return identifier to the hash of the clip's content, of the clips whose annotations name it."""
        return contents_of(self.annotations.values())


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What went into a merged data set.

    Attributes
    ----------
    path
        The file.
    counts
        Split name to number of clips.
    skipped
        Files that could not be taken, each with the reason.
    warnings
        Classes that have too few clips, in words.
    """

    path: Path
    counts: dict[str, int]
    skipped: list[tuple[Path, str]]
    warnings: list[str]


def gather_annotations(clips: Iterable[Clip], leave_out: Collection[str] = ()) -> Gathered:
    """Read the annotations of clips that go into one data set.

    The list is in memory once, as a pickle of one object demands: about 230 bytes for each person and frame. A clip
    without annotation is skipped; a file that cannot be read, and a second one of the same identifier, cost only
    themselves.

    Parameters
    ----------
    clips
        The clips, for example `tasks.clips.manifest.read_manifests`.
    leave_out
        Identifiers of clips that stay out, beside those whose annotation says so.
    """
    gathered = Gathered()
    for clip in clips:
        path = clip.annotation_path
        try:
            # Clips that are not done yet have none, which is no fault of a file.
            if path.exists():
                _take(read_annotation(path)["annotations"], path, gathered, leave_out)
        except AnnotationError as error:
            gathered.skipped.append((path, str(error)))
    return gathered


def contents_of(annotations: Iterable[Annotation]) -> dict[str, str]:
    """Return identifier to the hash of the clip's content, of the annotations that name it."""
    hashes = ((str(annotation.get("frame_dir")), _content_of(annotation)) for annotation in annotations)
    return {name: sha256 for name, sha256 in hashes if sha256}


def write_dataset(
    gathered: Gathered, destination: Path, split: dict[str, list[str]], classes: Mapping[str, int] | None = None
) -> MergeReport:
    """Write a merged data set and its splits, also if there is nothing in it, so that no earlier one seems to be this.

    Parameters
    ----------
    gathered
        What goes into it.
    destination
        The merged file.
    split
        Split name to identifiers; each is in exactly one.
    classes
        See `tasks.annotations.format.write_annotation`.
    """
    annotations = gathered.annotations
    # Sorted, so that the file does not depend on the order in which clips were finished.
    write_annotation(destination, [annotations[name] for name in sorted(annotations)], split, classes)
    # ASCII, because a file name may hold bytes that are no UTF-8.
    write_text(split_path(destination), json.dumps(split, indent=1) + "\n")
    counts = {name: len(members) for name, members in split.items()}
    return MergeReport(destination, counts, gathered.skipped, class_warnings(gathered.labels(), split))


def write_folds(
    gathered: Gathered,
    destination: Path,
    folds: Mapping[str, Sequence[str]],
    held_out: Sequence[str] = (),
    classes: Mapping[str, int] | None = None,
) -> list[Path]:
    """Write a data set for each fold of a cross-validation, `<stem>.<fold>.pkl`, and return their paths.

    Parameters
    ----------
    gathered
        What goes into each.
    destination
        The merged file beside which they go.
    folds
        Fold to identifiers: in its own file they are the split `val`, and those of all others `train`.
    held_out
        Identifiers of a test split, which is in no fold and the same in every file.
    classes
        See `tasks.annotations.format.write_annotation`.
    """
    written = []
    for fold, members in folds.items():
        # Sorted, so that equal folds give equal files.
        others = sorted(name for other, names in folds.items() if other != fold for name in names)
        split = {"train": others, "val": sorted(members)}
        if held_out:
            split["test"] = sorted(held_out)
        path = destination.with_name(f"{destination.stem}.{fold}.pkl")
        names = sorted(name for names in split.values() for name in names)
        write_annotation(path, [gathered.annotations[name] for name in names], split, classes)
        written.append(path)
    return written


def merge_dataset(
    clips: Iterable[Clip],
    destination: Path,
    group_of: Callable[[str], str] | None = None,
    keep: Mapping[str, Sequence[str]] | None = None,
) -> MergeReport:
    """Merge the annotations of clips into one data set with train, val and test splits.

    For the data set of an output root see `tasks.mapping.merged.merge_outputs`, which remembers the splits.

    Parameters
    ----------
    clips, destination
        See `gather_annotations` and `write_dataset`.
    group_of, keep
        See `tasks.clips.splits.make_splits`; `keep` is what `read_split` gives.
    """
    gathered = gather_annotations(clips)
    return write_dataset(gathered, destination, make_splits(gathered.labels(), group_of, keep=keep))


def read_split(dataset: Path) -> dict[str, list[str]]:
    """Return the splits of a merged data set without reading its poses; empty where they are not known."""
    return read_split_file(split_path(dataset))


def read_split_file(path: Path) -> dict[str, list[str]]:
    """Return the splits that a JSON file holds; empty where it cannot be read or holds something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        # Missing, damaged or nested too deep: callers go on as if there were no earlier splits.
        return {}
    sound = isinstance(value, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in value.values()
    )
    return value if sound else {}


def split_path(dataset: Path) -> Path:
    """Return where the splits of a merged data set are."""
    return dataset.with_name(f"{dataset.stem}_split.json")


def content_digest(annotation: Annotation) -> str:
    """Return a hash of everything in an annotation, whatever the order of its keys."""
    digest = hashlib.sha256()
    _add(digest, annotation)
    return digest.hexdigest()


def _content_of(annotation: Annotation) -> str:
    """Return the hash of the clip that an annotation was made of, empty where it does not say."""
    provenance: Any = annotation.get("provenance")
    sha256 = provenance.get("video_sha256") if isinstance(provenance, dict) else None
    return sha256 if isinstance(sha256, str) else ""


def _take(annotations: list[Annotation], path: Path, gathered: Gathered, leave_out: Collection[str]) -> None:
    """Add the annotations of one file, all of them or none; those that a review excluded stay out."""
    names = [annotation.get("frame_dir") for annotation in annotations]
    # As text: identifiers of a damaged file may be values that cannot be hashed.
    if len(set(map(str, names))) != len(names):
        raise AnnotationError(f"{path}: holds an identifier twice")
    # All are checked before the first is taken, so that a file counts as a whole or not at all.
    for name, annotation in zip(names, annotations, strict=True):
        # Exact types, because `isinstance` takes True for a number.
        if type(name) is not str or type(annotation.get("label")) is not int:
            raise AnnotationError(f"{path}: an annotation lacks its frame_dir or label")
        if name in gathered.annotations:
            raise AnnotationError(f"{path}: the identifier {name} is already taken by another file")
    for annotation in annotations:
        name = annotation["frame_dir"]
        if is_excluded(annotation) or name in leave_out:
            gathered.left_out.add(name)
        else:
            gathered.annotations[name] = annotation


def _add(digest: Any, value: Any) -> None:
    """Add a value of an annotation to a hash: type, shape and content, so that nothing runs into its neighbour."""
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        # Equal arrays give equal bytes, whatever their memory order.
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, dict):
        digest.update(f"dict{len(value)}".encode())
        # By their text: keys of several types cannot be compared.
        for name in sorted(value, key=repr):
            _add(digest, name)
            _add(digest, value[name])
    elif isinstance(value, list | tuple):
        digest.update(f"list{len(value)}".encode())
        for part in value:
            _add(digest, part)
    else:
        digest.update(json.dumps(value, default=repr).encode())
