"""What was found in a clip, in the few numbers that tables, cards and receipts show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.poses.usage import Usage


@dataclass(frozen=True, slots=True)
class ClipSummary:
    """What was found in a clip, for tables and reports.

    Attributes
    ----------
    frames
        Decoded frames.
    people
        People in the annotation.
    top
        Track ID and composite score of the first two people.
    seconds
        Wall time of each step, seconds.
    extracted
        Whether the pose model ran; False if the poses were found in the store.
    usage
        What the extraction took of the machine; None if the model did not run.
    """

    frames: int
    people: int
    top: list[tuple[int, float]]
    seconds: dict[str, float]
    extracted: bool
    usage: Usage | None = None


def summary_of(value: dict[str, Any]) -> ClipSummary:
    """Return the summary that plain values hold, as JSON and `dataclasses.asdict` give them.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is none.
    """
    top = [(int(track_id), float(score)) for track_id, score in value["top"]]
    seconds = {str(step): float(seconds) for step, seconds in value["seconds"].items()}
    # Absent in receipts of earlier versions.
    usage = Usage(**value["usage"]) if value.get("usage") else None
    return ClipSummary(int(value["frames"]), int(value["people"]), top, seconds, bool(value["extracted"]), usage)
