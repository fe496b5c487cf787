"""Training, validation and test splits: the same ones on every machine, whatever the order of the clips.

Clips are dealt one group at a time to the split that lacks most of the group's labels, measured against the share that
each split is to have of each label's clips. Larger groups come first, because they are harder to place; groups of one
size follow in the order of a hash of their names, which is random but fixed. Without groups each clip is a group of its
own, and this is the method of largest remainders per label.

A split that is given (by folder, table or pattern: `tasks.clips.given_splits`) goes before everything. Clips of an
earlier split stay where they are, and draw the others of their group there; new ones fill what is lacking.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from tasks.core.text import shares_of

SHARES = shares_of("70/20/10")
"""Share of each split, in any unit: whole numbers, so that shares are compared exactly."""


def fold_shares(folds: int) -> dict[str, int]:
    """Return equal shares for a number of folds, called fold1, fold2 and so on."""
    return {f"fold{number}": 1 for number in range(1, folds + 1)}


def make_splits(
    labels: Mapping[str, int],
    group_of: Callable[[str], str] | None = None,
    seed: int = 0,
    keep: Mapping[str, Iterable[str]] | None = None,
    shares: Mapping[str, int] = SHARES,
    given: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:
    """Deal clips to splits.

    Parameters
    ----------
    labels
        Identifier (`frame_dir`) to label of every clip.
    group_of
        Gives the group of an identifier, for example its camera or source video; clips of one group are never in two
        splits, except where `given` says so. Without it every clip is a group of its own.
    seed
        Another seed gives other splits.
    keep
        An earlier split, whose clips stay where they are, except of a group that is in two of its splits.
    shares
        Split name to share, in any unit.
    given
        Identifier to split, for clips whose split is not to be chosen; the others of their group follow them.

    Returns
    -------
    dict
        The splits of `shares` and those that `keep` and `given` name besides, each a sorted list; every clip is in
        exactly one. With the usual shares the first clip of a label goes to train, the second to val, and a test clip
        comes with the fifth.
    """
    given = given or {}
    groups: dict[str, list[str]] = defaultdict(list)
    for frame_dir in labels:
        groups[group_of(frame_dir) if group_of else frame_dir].append(frame_dir)
    fixed = _kept_groups(groups, keep or {}) | _given_groups(groups, given)
    # Clips in splits without a share are in nobody's share.
    shared = (members for name, members in groups.items() if fixed.get(name) in {None, *shares})
    totals = Counter(labels[frame_dir] for members in shared for frame_dir in members)
    whole = sum(shares.values())
    # What each split still lacks of each label, in parts of a clip; `whole` parts make one clip.
    lacks = {split: {label: share * totals[label] for label in totals} for split, share in shares.items()}
    others = sorted({*fixed.values(), *given.values()} - {*shares})
    splits: dict[str, list[str]] = {split: [] for split in (*shares, *others)}
    for name, members in sorted(
        groups.items(), key=lambda item: (item[0] not in fixed, -len(item[1]), _hash(seed, item[0]))
    ):
        counts = Counter(labels[frame_dir] for frame_dir in members)
        # On a tie the smaller split wins: it is the one that would stay empty.
        split = fixed.get(name) or max(
            reversed([*shares]), key=lambda split: sum(n * lacks[split][label] for label, n in counts.items())
        )
        for frame_dir in members:
            # Where a given split divides a group, each clip goes where it was said to be.
            mine = given.get(frame_dir, split)
            splits[mine].append(frame_dir)
            if mine in lacks:
                lacks[mine][labels[frame_dir]] = lacks[mine].get(labels[frame_dir], 0) - whole
    return {split: sorted(members) for split, members in splits.items()}


def _kept_groups(groups: Mapping[str, Iterable[str]], keep: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the split of each group that an earlier split knows.

    A group that is in two splits there (the rule for groups, or a copy of a clip, came later) goes where most of its
    clips are: what is trained on must not be tested on. All others stay.

    Parameters
    ----------
    groups
        Group to identifiers.
    keep
        Split name to identifiers.
    """
    known = {name: split for split, members in keep.items() for name in members}
    counts = {group: Counter(known[name] for name in members if name in known) for group, members in groups.items()}
    # On a tie the split that comes first, training as a rule, has it.
    return {group: sides.most_common(1)[0][0] for group, sides in counts.items() if sides}


def _given_groups(groups: Mapping[str, Iterable[str]], given: Mapping[str, str]) -> dict[str, str]:
    """Return the split of each group that has a clip whose split is given; of several the first by name."""
    found = {group: sorted({given[name] for name in members if name in given}) for group, members in groups.items()}
    return {group: sides[0] for group, sides in found.items() if sides}


def _hash(seed: int, name: str) -> str:
    """Return a fixed random order key; Python's own hash differs from process to process."""
    # A name may hold lone surrogates (file names that are no UTF-8).
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()
