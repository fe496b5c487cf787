"""Training, validation and test splits: the same ones on every machine, whatever the order of the clips.

Clips are dealt one group at a time to the split that lacks most of the group's labels, measured against .7/.2/.1 of
each label's clips. Larger groups come first, because they are harder to place; groups of one size follow in the order
of a hash of their names, which is random but fixed. Without groups each clip is a group of its own, and this is the
method of largest remainders per label.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

# In tenths, so that shares are compared exactly.
SHARES = {"train": 7, "val": 2, "test": 1}


def make_splits(
    labels: Mapping[str, int], group_of: Callable[[str], str] | None = None, seed: int = 0
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

    Returns
    -------
    dict
        "train", "val" and "test", each a sorted list; every clip is in exactly one. Of a label's clips the first goes
        to train, the second to val; a test clip comes with the fifth.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for frame_dir in labels:
        groups[group_of(frame_dir) if group_of else frame_dir].append(frame_dir)
    totals = Counter(labels.values())
    # What each split still lacks of each label, in tenths of a clip.
    lacks = {split: {label: share * totals[label] for label in totals} for split, share in SHARES.items()}
    splits: dict[str, list[str]] = {split: [] for split in SHARES}
    for _, members in sorted(groups.items(), key=lambda item: (-len(item[1]), _hash(seed, item[0]))):
        counts = Counter(labels[frame_dir] for frame_dir in members)
        # On a tie the smaller split wins: it is the one that would stay empty.
        split = max(reversed(SHARES), key=lambda name: sum(n * lacks[name][label] for label, n in counts.items()))
        splits[split] += members
        for label, n in counts.items():
            lacks[split][label] -= 10 * n
    return {split: sorted(members) for split, members in splits.items()}


def _hash(seed: int, name: str) -> str:
    """Return a fixed random order key; Python's own hash differs from process to process."""
    # A name may hold lone surrogates (file names that are no UTF-8).
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()
