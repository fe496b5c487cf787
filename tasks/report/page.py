"""The report as one page that works offline: no script, no font, no picture from anywhere else.

Everything that comes from a file (names, reasons) is escaped, and the page's own policy lets nothing run in case one
escape is ever forgotten.
"""

from __future__ import annotations

import html
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd

from tasks.core.region_layout import REGIONS
from tasks.report.charts import Chart, svg_chart
from tasks.report.tables import UNCERTAIN

MOST_ROWS = 2000
"""Most rows of one table of the page; browsers grow slow beyond. The CSV holds all."""

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #ffffff; --ink: #22282f; --soft: #6a737d; --line: #dfe2e6;
  --bar0: #2f78be; --bar1: #e0823d; --warn: #a5500a; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --card: #1d2126; --ink: #e3e6e9; --soft: #98a1ab;
  --line: #333a42; --bar0: #5ba3e6; --bar1: #f0a062; --warn: #f0b070; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 84rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Noto Sans KR", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 1.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .8rem; }
p { color: var(--soft); margin: .2rem 0 .8rem; }
.tiles, .charts { display: grid; gap: .9rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); margin-top: .9rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; }
.tiles b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font-size: 12px; text-anchor: middle; }
svg .title { font-size: 14px; font-weight: 600; }
svg .title, svg .legend { text-anchor: start; }
svg .label, svg .value, svg .legend { fill: var(--soft); }
svg .axis { stroke: var(--line); }
svg .bar0 { fill: var(--bar0); } svg .bar1 { fill: var(--bar1); }
.scroll { overflow: auto; max-height: 24rem; padding: 0; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { padding: .35rem .8rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { position: sticky; top: 0; background: var(--card); color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { overflow-wrap: anywhere; min-width: 14rem; }
td.warn { color: var(--warn); }
a { color: var(--bar0); }
.map { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .9rem; }
.map svg { margin-top: .4rem; } .map .cell { stroke: var(--line); fill: var(--bar0); }
.map div { overflow-wrap: anywhere; font-size: 13.5px; }
.map .ground { fill: var(--card); }
.map svg text { font-size: 11px; fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
"""

_Column = tuple[str, str, str]
"""Heading, column of the table, and how to show it: name, text, warn, number or a format for numbers."""

_CLIPS: list[_Column] = [
    ("Clip", "clip", "name"), ("Frames", "frames", ".0f"), ("People", "people", ".0f"), ("First ID", "first_id", ".0f"),
    ("Score", "first_score", ".2f"), ("Second ID", "second_id", ".0f"), ("Score", "second_score", ".2f"),
    ("Lead on rank 3", "gap", ".2f"), ("Quality", "quality", ".2f"), ("Seen", "seen", ".0%"),
    ("Filled", "filled", ".0%"), ("Best region", "best_region", "text"),
]  # fmt: skip
_UNCERTAIN: list[_Column] = [*_CLIPS[:9], ("Why", "uncertain", "warn")]
_FAILED: list[_Column] = [("Clip", "clip", "name"), ("Reason", "reason", "warn"), ("What", "info", "text")]
_CHANGES: list[_Column] = [
    ("Clip", "clip", "name"), ("Before", "status_before", "text"), ("After", "status_after", "text"),
    ("People before", "people_before", ".0f"), ("after", "people_after", ".0f"),
    ("Score before", "first_score_before", ".2f"), ("after", "first_score_after", ".2f"),
    ("Quality before", "quality_before", ".2f"), ("after", "quality_after", ".2f"),
]  # fmt: skip


def report_page(
    title: str, clips: pd.DataFrame, charts: Sequence[Chart], uncertain: pd.DataFrame, changes: pd.DataFrame | None
) -> str:
    """Return the whole page.

    Parameters
    ----------
    title
        Heading, plain text.
    clips
        `OutputTables.clips`.
    charts
        Drawn in the order given; those without any bar are left out.
    uncertain
        The uncertain clips, the most uncertain first.
    changes
        What differs from an earlier run, None where there is none to compare with.
    """
    done, failed = clips[clips["status"] == "annotated"], clips[clips["status"] != "annotated"]
    failed = failed.assign(reason=failed["reason"].where(failed["reason"] != "", failed["status"]))
    known = [chart for chart in charts if any(value for _, values in chart.series for value in values)]
    sections = [
        _tiles(done, failed, len(uncertain)),
        _section("Uncertain clips", _legend(), _table(uncertain, _UNCERTAIN), len(uncertain)),
        _section("Clips without annotation", "", _table(failed, _FAILED), len(failed)),
    ]
    if changes is not None:
        sections.append(
            _section(
                "Different from the earlier run", "Clips whose outcome is not the same.", _table(changes, _CHANGES), 1
            )
        )
    bars = "".join(f"<div class=card>{svg_chart(chart)}</div>" for chart in known)
    sections.append(_section("Figures", "", f'<div class="charts">{bars}</div>', len(known)))
    sections.append(_section("Regions by folder", _REGION_TEXT, _region_maps(done), len(done)))
    sections.append(_section("All annotated clips", "", _table(done, _CLIPS), len(done)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{html.escape(title)}</h1>{''.join(sections)}</body></html>\n"
    )


_REGION_TEXT = (
    "Share of clips whose first person scores best in each region, and in brackets the mean learned weight. "
    "The stronger the colour, the larger the share."
)


def _tiles(done: pd.DataFrame, failed: pd.DataFrame, uncertain: int) -> str:
    """Return the figures at the top."""
    figures = {
        "annotated": len(done),
        "without annotation": len(failed),
        "uncertain": uncertain,
        "Fight": int((done["label"] == 1).sum()),
        "people": int(done["people"].sum()),
        "frames": int(done["frames"].sum()),
    }
    cards = (f'<div class="card"><b>{value}</b><span>{name}</span></div>' for name, value in figures.items())
    return f'<div class="tiles">{"".join(cards)}</div>'


def _legend() -> str:
    """Return what the reasons of uncertainty mean."""
    return "; ".join(f"{name}: {meaning}" for name, meaning in UNCERTAIN.items())


def _section(heading: str, text: str, body: str, count: int) -> str:
    """Return a section, or nothing where there is nothing in it."""
    if not count:
        return ""
    paragraph = f"<p>{html.escape(text)}</p>" if text else ""
    return f"<section><h2>{html.escape(heading)}</h2>{paragraph}{body}</section>"


def _table(rows: pd.DataFrame, columns: Sequence[_Column]) -> str:
    """Return rows as a table; a clip's name links to its overlay where there is one."""
    head = "".join(f'<th class="{_kind(how)}">{html.escape(name)}</th>' for name, _, how in columns)
    body = "".join(_row(row, columns) for row in rows.head(MOST_ROWS).to_dict("records"))
    more = f"<p>{len(rows) - MOST_ROWS} more rows stand in the CSV.</p>" if len(rows) > MOST_ROWS else ""
    return f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}'


def _row(row: Mapping[Hashable, Any], columns: Iterable[_Column]) -> str:
    """Return one row of a table."""
    cells = []
    for _, name, how in columns:
        value = row[name]
        text = _number(value, how) if isinstance(value, float) else _visible(str(value))
        overlay = str(row.get("overlay", "")) if how == "name" else ""
        if overlay:
            # The dot keeps a folder called `javascript:` from being read as a scheme.
            address = "./" + quote(overlay, safe="/", errors="surrogateescape")
            text = f'<a href="{html.escape(address)}">{text}</a>'
        cells.append(f'<td class="{_kind(how)}">{text}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _number(value: float, how: str) -> str:
    """Return a number in a format, nothing for what is not known."""
    return "" if math.isnan(value) else format(value, how)


def _visible(text: str) -> str:
    """Return text for the page: escaped, with what cannot be shown written as an escape."""
    return html.escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text))


def _kind(how: str) -> str:
    """Return the style class of a column."""
    return how if how in ("name", "text", "warn") else "number"


# Place of each region's cell and of its text in a map of 200x120.
_CELLS = {
    "top_left": ((0, 0, 100, 60), (25, 26)),
    "top_right": ((100, 0, 100, 60), (175, 26)),
    "bottom_left": ((0, 60, 100, 60), (25, 94)),
    "bottom_right": ((100, 60, 100, 60), (175, 94)),
    "center_overlap": ((50, 30, 100, 60), (100, 58)),
}


def _region_maps(done: pd.DataFrame) -> str:
    """Return a map of the five regions for each folder, as folders usually stand for cameras or classes."""
    maps = []
    # With hundreds of folders the page would be nothing else; the largest come first.
    sizes = done["folder"].value_counts().head(24)
    for folder, count in sizes.items():
        part = done[done["folder"] == folder]
        maps.append(
            f'<div class="card"><div>{_visible(str(folder)) or "."} ({count} clips)</div>{_region_map(part)}</div>'
        )
    return f'<div class="map">{"".join(maps)}</div>'


def _region_map(part: pd.DataFrame) -> str:
    """Return the map of some clips: share of best regions, and mean learned weights."""
    cells = ['<svg viewBox="0 0 200 120">']
    texts = []
    for region in REGIONS:
        (x, y, width, height), (text_x, text_y) = _CELLS[region]
        share = float((part["best_region"] == region).mean())
        place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
        # The middle lies over the quadrants and must not take their shade.
        cells.append(
            f'<rect class="ground" {place}/><rect class="cell" {place} fill-opacity="{0.06 + 0.7 * share:.2f}"/>'
        )
        texts.append(f'<text x="{text_x}" y="{text_y}">{share:.0%}</text>')
        weight = part[f"weight_{region}"].dropna()
        if len(weight):
            texts.append(f'<text class="label" x="{text_x}" y="{text_y + 13}">({float(weight.mean()):.2f})</text>')
    return "".join([*cells, *texts, "</svg>"])
