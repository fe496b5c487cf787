"""Training, validation and test splits: the same ones on every machine, whatever the order of the clips.

Clips are dealt one group at a time to the split that lacks most of the group's labels, measured against .7/.2/.1 of
each label's clips. Larger groups come first, because they are harder to place; groups of one size follow in the order
of a hash of their names, which is random but fixed. Without groups each clip is a group of its own, and this is the
method of largest remainders per label.

Clips of an earlier split stay where they are, and draw the others of their group there; new ones fill what is lacking.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

# In tenths, so that shares are compared exactly.
SHARES = {"train": 7, "val": 2, "test": 1}


def make_splits(
    labels: Mapping[str, int],
    group_of: Callable[[str], str] | None = None,
    seed: int = 0,
    keep: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, list[str]]:
    """Deal clips to train, val and test.

    Parameters
    ----------
    labels
        Identifier (`frame_dir`) to label of every clip.
    group_of
        Gives the group of an identifier, for example its camera or source video; clips of one group never stand in two
        splits. Without it every clip stands alone.
    seed
        Another seed gives other splits.
    keep
        An earlier split, whose clips stay where they are. One that puts a group into two splits is not kept at all:
        what is trained on must not be tested on.

    Returns
    -------
    dict
        "train", "val" and "test", each a sorted list; every clip is in exactly one. Of a label's clips the first goes
        to train, the second to val; a test clip comes with the fifth. Splits of other names come from `keep`.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for frame_dir in labels:
        groups[group_of(frame_dir) if group_of else frame_dir].append(frame_dir)
    kept = _kept_groups(groups, keep or {})
    # Clips in splits of other names are nobody's share.
    shared = (members for name, members in groups.items() if kept.get(name, "train") in SHARES)
    totals = Counter(labels[frame_dir] for members in shared for frame_dir in members)
    # What each split still lacks of each label, in tenths of a clip.
    lacks = {split: {label: share * totals[label] for label in totals} for split, share in SHARES.items()}
    splits: dict[str, list[str]] = {split: [] for split in (*SHARES, *sorted({*kept.values()} - {*SHARES}))}
    for name, members in sorted(
        groups.items(), key=lambda item: (item[0] not in kept, -len(item[1]), _hash(seed, item[0]))
    ):
        counts = Counter(labels[frame_dir] for frame_dir in members)
        # On a tie the smaller split wins: it is the one that would stay empty.
        split = kept.get(name) or max(
            reversed(SHARES), key=lambda split: sum(n * lacks[split][label] for label, n in counts.items())
        )
        splits[split] += members
        for label, n in counts.items() if split in lacks else ():
            lacks[split][label] -= 10 * n
    return {split: sorted(members) for split, members in splits.items()}


def _kept_groups(groups: Mapping[str, Iterable[str]], keep: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the split of each group that an earlier split knows; of none where it puts a group into two.

    Parameters
    ----------
    groups
        Group to identifiers.
    keep
        Split name to identifiers.
    """
    known = {name: split for split, members in keep.items() for name in members}
    kept: dict[str, str] = {}
    for group, members in groups.items():
        sides = {known[name] for name in members if name in known}
        if len(sides) > 1:
            return {}
        if sides:
            kept[group] = sides.pop()
    return kept


def _hash(seed: int, name: str) -> str:
    """Return a fixed random order key; Python's own hash differs from process to process."""
    # A name may hold lone surrogates (file names that are no UTF-8).
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()
