"""Finding clips: filters, orders and counts of the review page's gallery, over the rows of `tasks.review.index`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from tasks.core.text import name_key, printable
from tasks.regions.camera_weights import camera_of
from tasks.review.index import Row, review_key
from tasks.review.log import Entry, SetChecked, SetExcluded, SetLabel

PAGE_SIZE = 60
"""Clips on one page."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said about one clip as a whole.

    Attributes
    ----------
    corrections
        Number of corrections that count.
    label
        The label that a person gave, None where none did.
    excluded, checked
        Whether the clip was taken out of the data set, and whether someone has looked at it.
    key
        Of all corrections (`tasks.review.index.review_key`): an annotation of another key does not hold them yet.
    """

    corrections: int = 0
    label: int | None = None
    excluded: bool = False
    checked: bool = False
    key: str = ""


NO_VERDICT = Verdict()


def verdict_of(entries: Sequence[Entry]) -> Verdict:
    """Return what the standing corrections of one clip say about it as a whole."""
    label, excluded, checked = None, False, False
    # Oldest first, so that the last word of each kind counts.
    for entry in entries:
        match entry.change:
            case SetLabel():
                label = entry.change.label
            case SetExcluded():
                excluded = entry.change.excluded
            case SetChecked():
                checked = entry.change.checked
    # In the form that annotations hold, so that equal corrections get equal keys.
    changes = [entry.change.model_dump(mode="json") for entry in entries]
    return Verdict(len(entries), label, excluded, checked, review_key(changes))


Item = tuple[Row, Verdict]


def label_of(item: Item) -> int | None:
    """Return the label of a clip: a person's before the automatic one."""
    row, verdict = item
    return row.get("label") if verdict.label is None else verdict.label


def is_waiting(item: Item) -> bool:
    """Tell whether a clip has corrections that its annotation does not hold, or holds some that were taken back."""
    row, verdict = item
    return row["status"] == "annotated" and row.get("review", "") != verdict.key


STATES: dict[str, Callable[[Item], bool]] = {
    "annotated": lambda item: item[0]["status"] == "annotated",
    "failed": lambda item: item[0]["status"] in ("failed", "unreadable"),
    "unread": lambda item: item[0]["status"] == "unread",
    "corrected": lambda item: item[1].corrections > 0,
    "checked": lambda item: item[1].checked,
    "unchecked": lambda item: not item[1].checked and item[0]["status"] == "annotated",
    "excluded": lambda item: item[1].excluded,
    "waiting": is_waiting,
}
"""What the filter `state` takes."""

FLAGS: dict[str, Callable[[Item], bool]] = {
    "uncertain": lambda item: bool({"one_person", "close_ranks"} & set(item[0].get("uncertain", ()))),
    "low_quality": lambda item: "low_quality" in item[0].get("uncertain", ()),
    "seldom_seen": lambda item: "seldom_seen" in item[0].get("uncertain", ()),
    "much_filled": lambda item: "much_filled" in item[0].get("uncertain", ()),
    "switches": lambda item: bool(item[0].get("suspects")),
}
"""What the filter `flag` takes; see `tasks.report.tables.UNCERTAIN`, and `tasks.review.id_switches` for switches."""


def _has_label(item: Item, wanted: str) -> bool:
    """Tell whether a clip is of a class: its number, or `fight` and `other` as in addresses of earlier versions."""
    label = label_of(item)
    if wanted in ("fight", "other"):
        return label is not None and (label == 1) == (wanted == "fight")
    return label is not None and str(label) == wanted


def _number(item: Item, name: str, absent: float = math.inf) -> float:
    """Return a number of a row; what is not known comes last."""
    value = item[0].get(name)
    return absent if value is None else float(value)


ORDERS: dict[str, Callable[[Item], Any]] = {
    "name": lambda item: item[0]["clip"],
    "uncertain": lambda item: (-len(item[0].get("uncertain", ())), _number(item, "gap"), item[0]["clip"]),
    # One sum of doubts: each reason counts 1, the likeliest lost identity its probability.
    "teach": lambda item: (
        -len(item[0].get("uncertain", ())) - _number(item, "likely", 0.0),
        _number(item, "gap"),
        item[0]["clip"],
    ),
    "quality": lambda item: (_number(item, "quality"), item[0]["clip"]),
    "lead": lambda item: (_number(item, "gap"), item[0]["clip"]),
    "switches": lambda item: (-_number(item, "likely", 0.0), -_number(item, "suspects", 0.0), item[0]["clip"]),
    "score": lambda item: (-max((score for _, score in item[0].get("top", ())), default=0.0), item[0]["clip"]),
    "people": lambda item: (-_number(item, "people", 0.0), item[0]["clip"]),
}
"""What `sort` takes."""


def find_clips(rows: Iterable[Row], verdicts: Mapping[str, Verdict], query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page of the clips that a query asks for.

    Parameters
    ----------
    rows
        Of `tasks.review.index`.
    verdicts
        By clip; clips without any may lack.
    query
        `text` (part of the name), `label`, `split`, `state`, `reason`, `flag`, `sort` and `page` (from 0), all of them
        optional; a value that does not exist finds nothing, an order that does not exist is that by name.

    Returns
    -------
    dict
        "clips" of the page; "found" and "page"; "pages"; "counts" of every filter's values over all clips.
    """
    items = [(row, verdicts.get(row["clip"], NO_VERDICT)) for row in rows]
    found = [item for item in items if _fits(item, query)]
    # Not an order of single clips: it depends on all that were found.
    if query.get("sort") == "teach":
        found = teaching_order(found)
    else:
        found.sort(key=ORDERS.get(query.get("sort", ""), ORDERS["name"]))
    # One at least, so that an empty answer has a page to show.
    pages = max(1, math.ceil(len(found) / PAGE_SIZE))
    wanted = query.get("page", "0")
    # Only ASCII digits: `isdigit` alone takes characters that `int` refuses.
    page = min(int(wanted), pages - 1) if wanted.isascii() and wanted.isdigit() and len(wanted) < 9 else 0
    return {
        "clips": [card(item) for item in found[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]],
        "found": len(found),
        "page": page,
        "pages": pages,
        "page_size": PAGE_SIZE,
        "counts": _counts(items),
    }


def teaching_order(items: Iterable[Item]) -> list[Item]:
    """Return clips so that the first ones teach most when they are reviewed, whatever number of them is.

    Cameras take turns, because settings are judged on cameras left out; within a camera the clips come first whose
    ranking and identities are least certain. Clips that say something already, and those without people, come last.
    """
    cameras: dict[str, list[Item]] = {}
    rest: list[Item] = []
    for item in sorted(items, key=ORDERS["teach"]):
        row, verdict = item
        open_ = row["status"] == "annotated" and not verdict.checked and not verdict.corrections
        (cameras.setdefault(camera_of(row["clip"]), []) if open_ else rest).append(item)
    # Cameras with fewer clips give None in later rounds.
    rounds = zip_longest(*cameras.values())
    return [item for turn in rounds for item in turn if item is not None] + rest


def card(item: Item) -> dict[str, Any]:
    """Return what the gallery shows of a clip."""
    row, verdict = item
    # Left out is what the page does not use, or gets in another form below.
    shown = {name: value for name, value in row.items() if name not in ("stat", "clip", "review", "label")}
    return shown | {
        "name": printable(row["clip"]),
        "info": printable(row.get("info", "")),
        "label": label_of(item),
        "relabelled": verdict.label is not None and verdict.label != row.get("label"),
        "corrections": verdict.corrections,
        "excluded": verdict.excluded,
        "checked": verdict.checked,
        "waiting": is_waiting(item),
    }


def _fits(item: Item, query: Mapping[str, str]) -> bool:
    """Tell whether a clip is asked for."""
    row = item[0]
    # A value that does not exist finds nothing: an old address must not show every clip.
    for name, known in (("state", STATES), ("flag", FLAGS)):
        value = query.get(name)
        if value and not (value in known and known[value](item)):
            return False
    if (label := query.get("label")) and not _has_label(item, label):
        return False
    if (split := query.get("split")) and row.get("split", "") != ("" if split == "none" else split):
        return False
    if (reason := query.get("reason")) and row.get("reason") != reason:
        return False
    text = query.get("text")
    return not text or name_key(text) in name_key(row["clip"])


def _counts(items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """Return how many clips each value of each filter finds on its own."""
    # Over all clips, not those found: a figure says what its filter would find alone.
    counts = {
        name: {value: sum(map(fits, items)) for value, fits in known.items()}
        for name, known in (("state", STATES), ("flag", FLAGS))
    }
    labels = Counter(label for item in items if (label := label_of(item)) is not None)
    counts["label"] = {str(label): count for label, count in sorted(labels.items())}
    counts["split"] = dict(sorted(Counter(row.get("split", "") or "none" for row, _ in items).items()))
    counts["reason"] = dict(Counter(row["reason"] for row, _ in items if row.get("reason")).most_common())
    return counts
