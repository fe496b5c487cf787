"""Clips that show the same video, though their files differ: recompressed, resized, at another frame rate, or cut.

On two sides of a split such a copy lets the test see what was trained on, and its bytes do not betray it. Compared are
fingerprints (`tasks.poses.fingerprint`): 16 x 16 grey values, eight times a second. Clips of one fixed camera have the
same background, so that is taken out first, and what is left is what moves:

    r_t = cells_t - median over t of cells,   less its mean
    likeness(a, b) = max over shifts d of  sum_t <a_(t+d), b_t> / sqrt(sum_t |a_(t+d)|^2 * sum_t |b_t|^2)

Measured on 43 clips, recompressed and shrunk, squeezed to 352x288, cut by .4 s, or at half the frame rate: the likeness
is above `SAME` for .98 of each kind. None of 14,676 pairs of different clips is above it, though 795 of them are from
one camera (the highest .715).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tasks.clips.same_content import MOST_NAMED

SAME = 0.75
"""Likeness from which on two clips are copies of one video."""

LEAST_SHARED = 8
"""Cells in time that have to overlap: one second. Of less, different clips may look alike by chance."""

SAME_SCENE = 0.6
"""Correlation of the mean pictures below which two clips are not compared: copies have .9 and more."""

SAME_PLACES = 0.4
"""The same for the mean amount of motion in each cell, by which most clips of one camera are told apart at once."""

Floats = npt.NDArray[np.float32]
Cells = npt.NDArray[np.uint8]


def near_copies(clips: Mapping[str, Cells]) -> list[tuple[str, str]]:
    """Return pairs of clips that show the same video.

    Parameters
    ----------
    clips
        Identifier to its fingerprint, (S, 16, 16).
    """
    # Of a still picture nothing moves, so that nothing tells it from others of its camera.
    moving = {name: motion for name, cells in clips.items() if (motion := _motion(cells)) is not None}
    names = sorted(moving)
    pairs = _candidates([clips[name] for name in names], [moving[name] for name in names])
    return [(names[i], names[j]) for i, j in pairs if likeness(moving[names[i]], moving[names[j]]) > SAME]


def near_warnings(pairs: Sequence[tuple[str, str]], labels: Mapping[str, int]) -> list[str]:
    """Return the lines about near copies: those with contradicting labels by name, and how many pairs there are."""
    if not pairs:
        return []
    torn = [(a, b) for a, b in pairs if labels[a] != labels[b]]
    lines = [
        f"{a} and {b} seem to be the same video, and have the labels {labels[a]} and {labels[b]}"
        for a, b in torn[:MOST_NAMED]
    ]
    if len(torn) > MOST_NAMED:
        lines.append(f"{len(torn) - MOST_NAMED} more such pairs have different labels")
    return [
        *lines,
        f"pairs of clips that seem to show the same video, recompressed or cut, and so share a split: {len(pairs)}; "
        f"the first: {pairs[0][0]} and {pairs[0][1]}",
    ]


def likeness(one: Floats, other: Floats) -> float:
    """Return how much two clips move alike at their best shift in time, -1 to 1, from `_motion` of each."""
    products = one @ other.T
    energy, other_energy = (one**2).sum(axis=1), (other**2).sum(axis=1)
    shared = min(LEAST_SHARED, *products.shape)
    best = -1.0
    # A shift is a diagonal of the products: all times of the one against those of the other.
    for shift in range(shared - len(one), len(other) - shared + 1):
        first, second = max(0, -shift), max(0, shift)
        count = min(len(one) - first, len(other) - second)
        whole = energy[first : first + count].sum() * other_energy[second : second + count].sum()
        best = max(best, float(np.trace(products, offset=shift)) / max(float(np.sqrt(whole)), 1e-6))
    return best


def _motion(cells: Cells) -> Floats | None:
    """Return what moves in a clip, (S, 256); None where too little is there, or nothing moves."""
    if len(cells) < LEAST_SHARED:
        return None
    values = cells.reshape(len(cells), -1).astype(np.float32)
    rest: Floats = (values - np.median(values, axis=0)).astype(np.float32)
    # Without its mean: a camera that adapts its exposure changes all cells at once.
    rest -= rest.mean(axis=1, keepdims=True)
    return rest if np.abs(rest).max() >= 1 else None


def _candidates(cells: Sequence[Cells], motion: Sequence[Floats]) -> Iterator[tuple[int, int]]:
    """Yield the pairs i < j that are worth a close look: the same scene, and motion in the same places."""
    if not cells:
        return
    scene = _standardised(np.array([one.mean(axis=0).ravel() for one in cells], np.float32))
    places = _standardised(np.array([np.abs(one).mean(axis=0) for one in motion], np.float32))
    # One row at a time: a matrix of ten thousand clips against each other would take a gigabyte.
    for i in range(len(cells) - 1):
        alike = (scene[i + 1 :] @ scene[i] > SAME_SCENE) & (places[i + 1 :] @ places[i] > SAME_PLACES)
        for j in np.flatnonzero(alike).tolist():
            yield i, i + 1 + j


def _standardised(rows: Floats) -> Floats:
    """Return rows less their mean and of length 1, so that a product of two is their correlation."""
    rest = rows - rows.mean(axis=1, keepdims=True)
    found: Floats = rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-6)
    return found
