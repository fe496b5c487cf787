"""The order of clips in which reviewing teaches most, and classes by number."""

from __future__ import annotations

from typing import Any

from tasks.review.gallery import Verdict, find_clips

CHECKED = Verdict(corrections=1, checked=True)


def row(clip: str, reasons: int = 0, likely: float = 0.0, status: str = "annotated", label: int = 1) -> dict[str, Any]:
    """Return a row of the index."""
    uncertain = ["close_ranks", "low_quality", "seldom_seen"][:reasons]
    return {
        "id": clip,
        "clip": clip,
        "status": status,
        "uncertain": uncertain,
        "likely": likely,
        "gap": 0.1,
        "label": label,
    }


def names(rows: list[dict[str, Any]], verdicts: dict[str, Verdict], **query: str) -> list[str]:
    """Return the clips that a query finds, in order."""
    return [clip["id"] for clip in find_clips(rows, verdicts, query)["clips"]]


def test_cameras_take_turns_and_the_least_certain_come_first() -> None:
    """What says something already, and what failed, comes last."""
    rows = [
        row("a/sure"),
        row("a/unsure", reasons=2),
        row("a/switch", likely=0.9),
        row("b/sure"),
        row("b/said", reasons=3),
        row("c/failed", reasons=3, status="failed"),
    ]
    order = names(rows, {"b/said": CHECKED}, sort="teach")
    assert order[:4] == ["a/unsure", "b/sure", "a/switch", "a/sure"]
    assert set(order[4:]) == {"b/said", "c/failed"}


def test_every_class_can_be_asked_for() -> None:
    """By number, and as earlier addresses did it; counts are per class."""
    rows = [row("a", label=0), row("b", label=1), row("c", label=2)]
    assert [names(rows, {}, label=wanted) for wanted in ("0", "1", "2", "fight", "other", "x")] == [
        ["a"],
        ["b"],
        ["c"],
        ["b"],
        ["a", "c"],
        [],
    ]
    assert find_clips(rows, {"a": Verdict(label=2)}, {})["counts"]["label"] == {"1": 1, "2": 2}
