"""The merged data set of an output root, and the record of what went into it.

`<output root>/dataset.pkl` and `dataset_split.json` are made of the annotations of all clips that no failure and no
review keeps out. `.fightpose/dataset.json` records, for later runs and checks,

- `files`: size and hash of both files as they were written, by name;
- `sides`: the split of every clip that ever was in the data set. A clip that fails or is excluded for a while comes
  back to its side, also where the data set was renamed or deleted meanwhile;
- `contents`: the same by the hash of the clip's content, for clips that were renamed or moved to another label;
- `members`: the clips of the last merge;
- `left_out`: clips that have an annotation and are not in the data set, because a review excludes them.

- `asked`: the shares and the seed of the last merge.

A given split (`tasks.clips.given_splits`) goes before what is recorded, and copies of one clip are on one side. To deal
all clips to the splits again, delete `.fightpose/dataset.json` and `dataset_split.json`. With folds there is
`dataset.fold1.pkl` and so on, and `dataset_folds.json`, by which clips stay in their folds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.dataset import (
    Gathered,
    MergeReport,
    gather_annotations,
    read_split,
    read_split_file,
    split_path,
    write_dataset,
    write_folds,
)
from tasks.clips.discovery import FIGHT_FOLDER
from tasks.clips.given_splits import divided_groups, given_splits
from tasks.clips.labels import GroupRule, group_rule
from tasks.clips.manifest import clips_to_merge
from tasks.clips.near_copies import near_copies, near_warnings
from tasks.clips.same_content import copy_warnings, joined_groups
from tasks.clips.splits import fold_shares, make_splits
from tasks.core.records import fingerprint_of
from tasks.core.settings import DatasetSettings, Settings
from tasks.core.storage import file_sha256, write_text
from tasks.core.text import shares_of
from tasks.mapping.receipts import WORK_FOLDER
from tasks.poses.stored import kept_poses

logger = logging.getLogger(__name__)

DATASET_NAME = "dataset.pkl"
"""The merged data set of an output root."""

RECORD_NAME = "dataset.json"
"""The record of the last merge, below the work folder."""


@dataclass(frozen=True, slots=True)
class MergeRecord:
    """What is known of the merges of an output root.

    Attributes
    ----------
    files
        File name to size in bytes and hash of the last merge's files; empty where no merge is recorded.
    sides
        Identifier to split, of every clip that ever was merged.
    contents
        Hash of a clip's content to its split.
    members
        Identifiers of the clips of the last merge.
    left_out
        Identifiers of the clips that a review kept out of it.
    asked
        The shares and the seed by which its new clips were dealt; empty in records of earlier versions.
    """

    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    sides: dict[str, str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    asked: str = ""


def merge_outputs(output_root: Path, splitting: DatasetSettings, leave_out: Collection[str] = ()) -> MergeReport:
    """Merge the annotations of an output root into its data set, and record what went into it.

    No clip changes its side: clips of an earlier merge stay where they were, and new ones are added.

    Parameters
    ----------
    output_root
        Where runs wrote their outputs.
    splitting
        Which clips have to stay together.
    leave_out
        Identifiers of clips that a review excludes (`tasks.review.log.standing_exclusions`), applied or not.

    Raises
    ------
    FightposeError
        If the file of groups or a list of inputs cannot be read.
    """
    dataset, before = output_root / DATASET_NAME, read_record(output_root)
    # A record counts before the file beside the data set, which people edit and delete.
    known = _side_of(read_split(dataset)) | before.sides
    gathered = gather_annotations(clips_to_merge(output_root), leave_out)
    contents, labels, names = gathered.contents(), gathered.labels(), list(gathered.annotations)
    # Copies of one clip belong together, like those of one group.
    near = near_copies(_fingerprints(output_root, gathered))
    group_of = joined_groups(names, group_rule(splitting), contents, near)
    keep = _remembered(names, known, contents, before.contents, group_of)
    given = given_splits(names, splitting)
    shares = shares_of(splitting.split)
    split = make_splits(labels, group_of, splitting.split_seed, _by_side(keep), shares, given)
    record = _renewed(MergeRecord(before.files, known, before.contents), _side_of(split), contents, group_of)
    asked = f"{splitting.split} {splitting.split_seed}"
    record = replace(record, members=frozenset(names), left_out=frozenset(gathered.left_out), asked=asked)
    # Before the data set: were it written first and the run killed, a later run could deal its new clips otherwise.
    _write_record(output_root, record)
    classes = named_classes(splitting, labels.values())
    report = write_dataset(gathered, dataset, split, classes)
    if splitting.folds:
        _write_folds(gathered, dataset, splitting, group_of, given, classes)
    report.warnings[:0] = [
        *copy_warnings(contents, labels),
        *near_warnings([(a, b) for a, b in near if contents.get(a) != contents.get(b)], labels),
        *divided_groups(given, group_of),
    ]
    if before.asked not in ("", asked) and (stay := len(keep.keys() - given.keys())):
        report.warnings.append(
            f"{stay} clips keep the split of earlier runs, made by {before.asked.replace(' ', ', seed ')}: delete "
            f"{WORK_FOLDER}/{RECORD_NAME} and {split_path(dataset).name} to split all of them again"
        )
    files = {path.name: (path.stat().st_size, file_sha256(path)) for path in (dataset, split_path(dataset))}
    _write_record(output_root, replace(record, files=files))
    return report


def _fingerprints(output_root: Path, gathered: Gathered) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the fingerprint of each clip's pictures, of those whose poses are stored with one."""
    found = {}
    for name, annotation in gathered.annotations.items():
        try:
            # Annotations of other programs lack the keys or hold anything under them, and poses may be deleted: such
            # clips are not compared.
            made, settings = annotation["provenance"], Settings.model_validate(annotation["settings"])
            path = kept_poses(output_root, str(made["video_sha256"]), str(made["model_key"]), settings.poses)
            fingerprint = fingerprint_of(path)
        except (LookupError, TypeError, ValueError, OSError):
            continue
        if fingerprint is not None:
            found[name] = fingerprint
    return found


def named_classes(splitting: DatasetSettings, labels: Iterable[int]) -> dict[str, int]:
    """Return class number by name of a data set; without names of the user's those of the folder `Fight`, if they fit.

    >>> named_classes(DatasetSettings(), [0, 1])
    {'NonFight': 0, 'Fight': 1}
    """
    if splitting.classes:
        return dict(splitting.classes)
    return {"NonFight": 0, FIGHT_FOLDER: 1} if {*labels} <= {0, 1} else {}


def _write_folds(
    gathered: Gathered,
    dataset: Path,
    splitting: DatasetSettings,
    group_of: GroupRule,
    given: Mapping[str, str],
    classes: Mapping[str, int],
) -> None:
    """Write the files of a cross-validation; clips stay in the folds that they were in."""
    record = dataset.with_name(f"{dataset.stem}_folds.json")
    shares = fold_shares(splitting.folds)
    before = read_split_file(record)
    # Another number of folds is another cross-validation.
    keep = before if before.keys() == shares.keys() else {}
    # A test split that the data set brings along stays out: figures on it are compared with other people's.
    held_out = [name for name, split in given.items() if split == "test"]
    labels = {name: label for name, label in gathered.labels().items() if name not in held_out}
    folds = make_splits(labels, group_of, splitting.split_seed, keep, shares)
    write_folds(gathered, dataset, folds, held_out, classes)
    write_text(record, json.dumps(folds, indent=1) + "\n")


def _remembered(
    names: Iterable[str],
    known: Mapping[str, str],
    contents: Mapping[str, str],
    known_contents: Mapping[str, str],
    group_of: GroupRule | None,
) -> dict[str, str]:
    """Return the side of each clip that has one from earlier merges.

    Parameters
    ----------
    names
        Identifiers of the clips of this merge.
    known
        Identifier to side, of all clips that ever were merged.
    contents, known_contents
        Identifier to the hash of its content, and such a hash to the side that its clip had under another name.
    group_of
        Gives the group of an identifier: clips come to the side of their group, whether its other clips are in this
        merge or not.
    """
    keep = {name: known[name] for name in names if name in known}
    # Clips of this merge come last, so that they decide for their group.
    groups = {group_of(name): side for name, side in (*sorted(known.items()), *keep.items())} if group_of else {}
    for name in names:
        side = groups.get(group_of(name)) if group_of else None
        # A renamed clip would else go from train to test under its new name.
        side = side or known_contents.get(contents.get(name, ""))
        if side is not None:
            keep.setdefault(name, side)
            # Two renamed clips of one group must not bring two sides into it.
            groups |= {group_of(name): keep[name]} if group_of else {}
    return keep


def _renewed(
    before: MergeRecord, sides: Mapping[str, str], contents: Mapping[str, str], group_of: GroupRule | None
) -> MergeRecord:
    """Return a record with the sides of a merge added.

    Where the merge moved a clip after all (a new rule of groups puts clips together that were apart), the sides of
    clips that are not in it count no more: they would part groups again when they come back.
    """
    # Once a clip moved, the splits were chosen differently: earlier sides no longer bind.
    moved = any(before.sides.get(name, side) != side for name, side in sides.items())
    kept = {} if moved else dict(before.sides)
    if group_of and not moved:
        # A group stays in one split, so clips kept from before follow their group's side.
        group_sides = {group_of(name): side for name, side in sides.items()}
        kept = {name: group_sides.get(group_of(name), side) for name, side in kept.items()}
    by_content = {contents[name]: side for name, side in sides.items() if name in contents}
    return MergeRecord(before.files, kept | dict(sides), ({} if moved else before.contents) | by_content)


def _side_of(split: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the side of each clip of a split."""
    return {name: side for side, names in split.items() for name in names}


def _by_side(sides: Mapping[str, str]) -> dict[str, list[str]]:
    """Return a split, given the side of each clip."""
    split: dict[str, list[str]] = {}
    for name, side in sides.items():
        split.setdefault(side, []).append(name)
    return split


def read_record(output_root: Path) -> MergeRecord:
    """Return the record of the merges of an output root; an empty one where there is none that can be read."""
    path = output_root / WORK_FOLDER / RECORD_NAME
    # Each value is converted: a record edited by hand must not bring other types into the merge.
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        return MergeRecord(
            {str(name): (int(size), str(sha256)) for name, (size, sha256) in value["files"].items()},
            {str(name): str(side) for name, side in value["sides"].items()},
            {str(content): str(side) for content, side in value["contents"].items()},
            frozenset(map(str, value["members"])),
            frozenset(map(str, value["left_out"])),
            str(value.get("asked", "")),
        )
    except FileNotFoundError:
        # No record yet: the first merge, so there is nothing to warn about.
        return MergeRecord()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("the record %s cannot be read (%s); the splits in %s count", path, error, DATASET_NAME)
        return MergeRecord()


def _write_record(output_root: Path, record: MergeRecord) -> None:
    """Write the record, sorted, so that the same data set gives the same file."""
    value = {
        "version": 1,
        "files": {name: list(entry) for name, entry in sorted(record.files.items())},
        "sides": dict(sorted(record.sides.items())),
        "contents": dict(sorted(record.contents.items())),
        "members": sorted(record.members),
        "left_out": sorted(record.left_out),
        "asked": record.asked,
    }
    # ASCII, because a file name may hold bytes that are no UTF-8.
    write_text(output_root / WORK_FOLDER / RECORD_NAME, json.dumps(value, indent=1) + "\n")
