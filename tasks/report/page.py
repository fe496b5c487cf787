"""The report as one page that works offline: no script, no font, no picture from anywhere else.

The page is made from `templates/report.html.j2`. Everything that comes from a file (names, reasons) is escaped there,
and the page's own policy lets nothing run in case one escape is ever forgotten.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.core.errors import FightposeError
from tasks.core.region_layout import LAYOUT
from tasks.language import translated
from tasks.report.charts import Chart, layout_of
from tasks.report.rendering import render
from tasks.report.tables import UNCERTAIN
from tasks.video.thumbnails import jpeg_of

MOST_ROWS = 2000
"""Most rows of one table of the page; browsers grow slow beyond. The CSV holds all."""

MOST_PICTURES = 120
"""Most clips with a picture, the uncertain ones first: each takes some 4 kB of the page and a seek in its overlay."""

PICTURE_SIZE = (128, 72)
"""Pixels; a frame of another shape is placed into it on black."""

MOST_MAPS = 24
"""Most folders with a map of regions, the largest first."""

_Column = tuple[str, str, str]
"""Heading, column of the table, and how to show it: name, text, said (words of ours), warn or a format for numbers."""

CLIPS: list[_Column] = [
    ("Clip", "clip", "name"), ("Class", "class", "text"), ("Split", "split", "text"), ("Frames", "frames", ".0f"),
    ("People", "people", ".0f"), ("First ID", "first_id", ".0f"), ("Score", "first_score", ".2f"),
    ("Second ID", "second_id", ".0f"), ("Score", "second_score", ".2f"), ("Lead on rank 3", "gap", ".2f"),
    ("Quality", "quality", ".2f"), ("Identity", "identity", ".2f"), ("Seen", "seen", ".0%"),
    ("Filled", "filled", ".0%"), ("Best region", "best_region", "text"),
]  # fmt: skip
UNCERTAIN_CLIPS: list[_Column] = [*CLIPS[:12], ("Why", "uncertain", "warn")]
FAILED: list[_Column] = [("Clip", "clip", "name"), ("Reason", "reason", "warn"), ("What", "info", "said")]
CHANGES: list[_Column] = [("Clip", "clip", "name"), ("What changed", "what", "text")]


@dataclass(frozen=True, slots=True)
class Page:
    """What the page shows beside the table of clips.

    Attributes
    ----------
    title
        Heading, plain text.
    charts
        Drawn in the order given; those without any bar are left out.
    uncertain
        The uncertain clips, the most uncertain first.
    changes
        What differs from an earlier run, with a column `what` in words; None where there is none to compare with.
    classes
        Name of each class number.
    splits
        Names of the splits, and the number of clips of each class in each of them.
    made
        Lines that say with what model and settings, and when.
    posters
        Clip to the frame of its overlay that shows it best.
    """

    title: str
    charts: Sequence[Chart]
    uncertain: pd.DataFrame
    changes: pd.DataFrame | None
    classes: Mapping[int, str] = field(default_factory=dict)
    splits: tuple[list[str], list[tuple[str, list[int]]]] = ((), ())  # type: ignore[assignment]
    made: Sequence[str] = ()
    posters: Mapping[str, int] = field(default_factory=dict)


def report_page(clips: pd.DataFrame, page: Page, output_root: Path) -> str:
    """Return the whole page.

    Parameters
    ----------
    clips
        `OutputTables.clips`.
    page
        What else it shows.
    output_root
        Where the overlays are from which pictures are taken.
    """
    done, failed = clips[clips["status"] == "annotated"], clips[clips["status"] != "annotated"]
    # Unreadable files have no reason of their own; their status is shown in its place.
    failed = failed.assign(reason=failed["reason"].where(failed["reason"] != "", failed["status"]))
    changes = pd.DataFrame(columns=["clip", "what"]) if page.changes is None else page.changes
    # Each change is a message of its own; a class whose name has a comma stays as it is.
    changes = changes.assign(what=[", ".join(map(translated, what.split(", "))) for what in changes["what"]])
    # Two annotations of one clip share its overlay.
    overlays = clips.drop_duplicates("clip").set_index("clip")["overlay"]
    # What people look at first gets a picture first.
    wanted = [*page.uncertain["clip"], *changes["clip"], *done["clip"]]
    return render(
        "report.html.j2",
        title=page.title,
        tiles=_tiles(done, failed, len(page.uncertain), page.classes),
        made=page.made,
        splits={"names": page.splits[0], "rows": page.splits[1]},
        legend="; ".join(f"{name}: {translated(meaning)}" for name, meaning in UNCERTAIN.items()),
        uncertain=_table(page.uncertain, UNCERTAIN_CLIPS, page.classes),
        failed=_table(failed, FAILED, page.classes),
        changes=_table(changes.assign(overlay=changes["clip"].map(overlays).fillna("")), CHANGES, page.classes),
        compared=page.changes is not None,
        charts=[layout_of(chart) for chart in page.charts if chart.has_bars],
        maps=_region_maps(done),
        done=_table(done, CLIPS, page.classes),
        pictures=_pictures(list(dict.fromkeys(wanted)), overlays, page.posters, output_root),
        most_rows=MOST_ROWS,
    )


def _tiles(done: pd.DataFrame, failed: pd.DataFrame, uncertain: int, classes: Mapping[int, str]) -> list[Any]:
    """Return the figures at the top, as name and value."""
    counts = done["label"].value_counts()
    # Every class has a tile, also one without clips.
    named = [(name, int(counts.get(number, 0))) for number, name in classes.items()]
    return [
        # Here and not in the template: a class may be called like one of these.
        (translated("annotated"), len(done)),
        (translated("without annotation"), len(failed)),
        (translated("uncertain"), uncertain),
        *named,
        (translated("people"), int(done["people"].sum())),
        (translated("frames"), int(done["frames"].sum())),
    ]


def _table(rows: pd.DataFrame, columns: list[_Column], classes: Mapping[int, str]) -> dict[str, Any]:
    """Return what the template shows of a table: its first rows as dicts, its columns, and how many rows there are."""
    shown = rows.head(MOST_ROWS).to_dict("records")
    for row in shown:
        label = row.get("label")
        # Pandas keeps labels as floats, NaN for clips that have none.
        known = isinstance(label, float) and not math.isnan(label)
        row["class"] = classes.get(int(label), f"class {label:.0f}") if known and label is not None else ""
        # The template takes a name that is missing for an error.
        row.setdefault("overlay", "")
    return {"rows": shown, "columns": columns, "count": len(rows)}


def _pictures(clips: list[str], overlays: pd.Series, posters: Mapping[str, int], output_root: Path) -> dict[str, str]:
    """Return a picture of each of the first clips that have an overlay, as data addresses by clip."""
    pictures: dict[str, str] = {}
    for clip in clips:
        if len(pictures) == MOST_PICTURES:
            break
        overlay = overlays.get(clip, "")
        if not overlay:
            continue
        try:
            data = jpeg_of(output_root / overlay, posters.get(clip, 0), PICTURE_SIZE)
        except (FightposeError, OSError):
            # An overlay that cannot be read is a finding of `verify`; here it costs its picture.
            continue
        pictures[clip] = "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
    return pictures


_MAP = (200, 120)
"""Width and height of a map of the regions in its own units, as `templates/parts.html.j2` draws it."""


def _region_maps(done: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a map of the five regions for each folder, as folders usually are cameras or classes."""
    maps = []
    # With hundreds of folders the page would be nothing else; the largest come first.
    for folder, count in done["folder"].value_counts().head(MOST_MAPS).items():
        part = done[done["folder"] == folder]
        cells = []
        for region in LAYOUT:
            # Other programs' annotations have no weights.
            weight = part[f"weight_{region.name}"].dropna()
            cells.append(
                {
                    "x": round(region.left * _MAP[0]),
                    "y": round(region.top * _MAP[1]),
                    "width": round(region.width * _MAP[0]),
                    "height": round(region.height * _MAP[1]),
                    "text_x": round(region.text[0] * _MAP[0]),
                    "text_y": round(region.text[1] * _MAP[1]),
                    "share": float((part["best_region"] == region.name).mean()),
                    "weight": float(weight.mean()) if len(weight) else None,
                }
            )
        # The output root itself has an empty name.
        maps.append({"folder": str(folder) or ".", "count": int(count), "cells": cells})
    return maps
