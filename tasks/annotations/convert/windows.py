"""Windows of a long clip: annotations of a fixed number of frames, each with a label of its own.

STGCN++ samples a fixed number of frames from a clip, whatever its length; in minutes of footage a fight of seconds is
hardly sampled at all, and the label of the whole is wrong for most of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks.annotations.format import Annotation
from tasks.core.errors import FightposeError

WindowLabel = Callable[[Annotation, int, int], int]
"""Gives the label of the frames from one number up to another, the latter excluded."""


@dataclass(frozen=True, slots=True)
class WindowReport:
    """What windows came to.

    Attributes
    ----------
    path
        The file.
    classes
        Number of windows of each label.
    people
        Number of windows with so many people.
    empty, unsure
        Windows left out, because nobody is in them or because they are unsure.
    problems
        Clips that could not be cut, or not from all their tracks, a line each.
    """

    path: Path
    classes: Counter[int]
    people: Counter[int]
    empty: int = 0
    unsure: int = 0
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the numbers in words."""
        # Numbers alone in the lists: what they count is said before, in whatever language.
        by_class = ", ".join(f"{label} ({count})" for label, count in sorted(self.classes.items()))
        by_people = ", ".join(f"{number} ({count})" for number, count in sorted(self.people.items()))
        return [
            f"windows: {self.classes.total()}, by class: {by_class}",
            f"windows by number of people: {by_people}",
            *([f"left out, with nobody in them: {self.empty}"] if self.empty else []),
            *([f"left out, unsure: {self.unsure}"] if self.unsure else []),
        ]


def report_of(path: Path, parts: Sequence[Annotation], empty: int, unsure: int, problems: list[str]) -> WindowReport:
    """Return the report on windows that were written."""
    labels = Counter(int(part["label"]) for part in parts)
    return WindowReport(path, labels, Counter(len(part["keypoint"]) for part in parts), empty, unsure, problems)


def cut_windows(annotation: Annotation, window: int, stride: int, label_of: WindowLabel) -> list[Annotation]:
    """Cut an annotation into windows of equal length.

    Parameters
    ----------
    annotation
        Of any length; one that is shorter than a window gives itself as the only one.
    window, stride
        Frames of a window, and from the start of one to the start of the next. The last window ends with the clip and
        overlaps the one before it as far as needed.
    label_of
        Label of each window.

    Returns
    -------
    list of dict
        With the contract's keys, boxes, IDs and scores; `frame_dir` ends in `#` and the first frame. People who are in
        no frame of a window are left out, and windows with nobody too.

    Raises
    ------
    FightposeError
        If window or stride are not positive.
    """
    if window < 1 or stride < 1:
        raise FightposeError(f"a window of {window} frames at a stride of {stride} is none; both must be 1 or more")
    frames = annotation["total_frames"]
    starts = starts_of(frames, window, stride)
    windows = (_window(annotation, start, min(start + window, frames), label_of) for start in starts)
    return [part for part in windows if part is not None]


def starts_of(frames: int, window: int, stride: int) -> list[int]:
    """Return the first frame of each window; the last window ends with the clip.

    >>> starts_of(230, 100, 50)
    [0, 50, 100, 130]
    """
    last = max(frames - window, 0)
    return sorted({*range(0, last, stride), last})


def label_by_involvement(share: float = 0.5) -> WindowLabel:
    """Return a rule: a window has the clip's label where somebody is about as involved as the clip's peak.

    Parameters
    ----------
    share
        The highest involvement in the window, as a share of the highest in the clip, from which on the window has the
        clip's label; below it is 0. An annotation without window scores gives all its windows the clip's label.
    """

    def rule(annotation: Annotation, start: int, stop: int) -> int:
        """Compare the window's highest involvement with the clip's."""
        label = int(annotation["label"])
        if "window_scores" not in annotation or annotation["window_scores"].size == 0:
            return label
        edges, scores = annotation["window_frames"], annotation["window_scores"]
        # Every time window of the ranking that touches these frames: its edges need not be theirs.
        inside = scores[:, (edges[:-1] < stop) & (edges[1:] > start)]
        return label if inside.max(initial=0) >= share * scores.max() else 0

    return rule


def _window(annotation: Annotation, start: int, stop: int, label_of: WindowLabel) -> Annotation | None:
    """Return the annotation of some frames, None if nobody is in them."""
    # People who are elsewhere in the clip would be rows of zeros in places that training could use.
    present = annotation["keypoint_score"][:, start:stop].any((1, 2))
    if not present.any():
        return None
    part: Annotation = {
        "frame_dir": f"{annotation['frame_dir']}#{start:06d}",
        "total_frames": stop - start,
        "img_shape": annotation["img_shape"],
        "original_shape": annotation["original_shape"],
        "label": label_of(annotation, start, stop),
    }
    for key in ("keypoint", "keypoint_score", "bbox", "filled"):
        if key in annotation:
            part[key] = np.ascontiguousarray(annotation[key][present, start:stop])
    # One value for each person; breakdowns and window scores are of the whole clip and would mislead here.
    for key in ("track_ids", "composite_scores", "track_quality"):
        if key in annotation:
            part[key] = annotation[key][present]
    return part
