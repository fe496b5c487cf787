"""The analysis: what the outputs of a folder amount to, as CSV, text, charts and a page.

Written into the output root, each whole or not at all:

- `analysis_clips.csv`: one row per clip (`tasks.report.tables.COLUMNS`), UTF-8;
- `analysis.txt`: the summary that the command line prints, in English;
- `analysis.html`: the same in the language of the reader, with charts, uncertain clips first and links to the overlays;
  needs no network;
- `analysis_<chart>.png`: the charts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from tasks.clips.labels import class_names
from tasks.core.errors import FightposeError
from tasks.core.region_layout import REGIONS
from tasks.core.settings import DatasetSettings
from tasks.core.storage import atomic_path, require_output_root
from tasks.core.text import csv_cell, printable
from tasks.language import translated
from tasks.mapping.receipts import recorded_settings
from tasks.report.charts import Chart, histogram, png_chart
from tasks.report.page import Page, report_page
from tasks.report.tables import WHOLE, OutputTables, read_outputs

CSV_NAME, TEXT_NAME, PAGE_NAME = "analysis_clips.csv", "analysis.txt", "analysis.html"

MOST_LISTED = 20
"""Most uncertain clips that the text lists; CSV and page hold them all."""

_BAR = 30


@dataclass(frozen=True, slots=True)
class Report:
    """What an analysis found.

    Attributes
    ----------
    text
        The summary, as `analysis.txt` has it.
    value
        The same as plain values, for JSON; what is not known is None.
    """

    text: str
    value: dict[str, Any]


# Where pyarrow is installed pandas keeps text in it by default, which cannot hold file names that are no UTF-8.
@pd.option_context("mode.string_storage", "python")
def write_report(output_root: Path, against: Path | None = None) -> Report:
    """Analyse the outputs below an output root, write the report's files into it, and return the summary.

    Parameters
    ----------
    output_root
        Folder below which a run wrote its outputs; may hold none.
    against
        Output root of an earlier run over the same clips, to compare with.

    Raises
    ------
    FightposeError
        If a folder does not exist or the report cannot be written.
    """
    tables = read_outputs(require_output_root(output_root))
    classes = class_names(recorded_settings(output_root).dataset)
    changes = compare(read_outputs(require_output_root(against)).clips, tables.clips) if against else None
    if changes is not None:
        changes["what"] = [", ".join(change_words(row, classes)) for row in changes.to_dict("records")]
    charts = all_charts(tables, classes)
    text = summary_text(tables, changes, classes)
    page = report_page(
        tables.clips,
        Page(
            title=translated(f"fightpose analysis: {output_root.absolute().name}"),
            charts=charts,
            uncertain=by_uncertainty(tables.clips),
            changes=changes,
            classes=classes,
            splits=class_splits(tables.clips, classes),
            made=_made_lines(tables),
            posters=tables.posters,
        ),
        output_root,
    )
    try:
        # Pandas keeps whole numbers with gaps as floats; a reader of the CSV wants 3 and not 3.0.
        whole = tables.clips.astype(dict.fromkeys(WHOLE, "Int64"))
        cells = whole.map(lambda value: csv_cell(value) if isinstance(value, str) else value)
        _write(output_root / CSV_NAME, cells.to_csv(index=False, lineterminator="\n"))
        _write(output_root / TEXT_NAME, text + "\n")
        _write(output_root / PAGE_NAME, page)
        for chart in charts:
            with atomic_path(output_root / f"analysis_{chart.key}.png") as partial:
                partial.write_bytes(cv2.imencode(".png", png_chart(chart))[1].tobytes())
    except OSError as error:
        raise FightposeError(
            f"cannot write the analysis to {output_root}: {error.strerror or error}; "
            "free disk space or fix the folder's permissions"
        ) from error
    return Report(text, _value(tables, charts, changes))


def all_charts(tables: OutputTables, classes: Mapping[int, str] | None = None) -> list[Chart]:
    """Return the charts of the report, also where there is nothing to show; classes by name."""
    clips = tables.clips
    done = clips[clips["status"] == "annotated"]
    parts = _by_class(done, classes or class_names(DatasetSettings()))
    most = int(done["people"].max()) if len(done) else 1
    people = [
        (name, tuple(float((part["people"] == count).sum()) for count in range(1, most + 1))) for name, part in parts
    ]
    # Consumers read the first two people, and so do these figures.
    reasons = failure_counts(clips)
    regions = [float(tables.best_regions.count(region)) for region in REGIONS]
    weights = [float(done[f"weight_{region}"].dropna().mean() if len(done) else np.nan) for region in REGIONS]
    names = tuple(region.replace("_", " ") for region in REGIONS)
    steps = _seconds_per_clip(done)
    return [
        # Every number of people has a place, so that gaps are seen as such.
        Chart("people", "People per clip", tuple(str(count) for count in range(1, most + 1)), tuple(people)),
        histogram(
            "scores",
            "Composite score of rank 1",
            [(name, part["first_score"].to_numpy()) for name, part in parts],
        ),
        histogram("first_two", "Composite scores of ranks 1 and 2, all clips", [("", tables.first_scores)]),
        histogram("quality", "Mean joint score of the first two", [("", done["quality"].to_numpy())]),
        Chart("regions", "Best region of the first two people", names, (("", tuple(regions)),)),
        Chart(
            "weights", "Mean learned weight of each region", names, (("", tuple(np.nan_to_num(weights).tolist())),), 2
        ),
        Chart("failures", "Failed clips by reason", tuple(reasons), (("", tuple(map(float, reasons.values()))),)),
        Chart("seconds", "Mean seconds per clip and step", tuple(steps), (("", tuple(steps.values())),), 2),
    ]


def _by_class(done: pd.DataFrame, classes: Mapping[int, str]) -> list[tuple[str, pd.DataFrame]]:
    """Return the annotated clips of each class under its name; labels that no class has come last, as others."""
    parts = [(name, done[done["label"] == number]) for number, name in classes.items()]
    rest = done[~done["label"].isin(list(classes))]
    return [*parts, ("other", rest)] if len(rest) else parts


def class_splits(clips: pd.DataFrame, classes: Mapping[int, str]) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Return the names of the splits, and for each class how many annotated clips of it are in each of them."""
    done = clips[clips["status"] == "annotated"]
    # The usual three in their order, others by name, and last the clips that are in none.
    names = [name for name in ("train", "val", "test") if (done["split"] == name).any()]
    names += sorted(set(done["split"]) - {*names, ""}) + ([""] if (done["split"] == "").any() else [])
    rows = [(name, [int((part["split"] == split).sum()) for split in names]) for name, part in _by_class(done, classes)]
    return [name or translated("in no split") for name in names], rows


def _made_lines(tables: OutputTables) -> list[str]:
    """Return with what the annotations were made, the most frequent first, and when the report was."""
    lines = [f"{count} clips: {words}" for words, count in tables.made.most_common(MOST_LISTED)]
    return [*lines, f"Report of {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"]


def summary_text(
    tables: OutputTables, changes: pd.DataFrame | None = None, classes: Mapping[int, str] | None = None
) -> str:
    """Return the summary as plain text."""
    classes = classes or class_names(DatasetSettings())
    clips = tables.clips
    done = clips[clips["status"] == "annotated"]
    counts = {status: int((clips["status"] == status).sum()) for status in ("annotated", "failed", "unreadable")}
    by_class = ", ".join(f"{len(part)} {name}" for name, part in _by_class(done, classes))
    lines = [
        f"Clips: {counts['annotated']} annotated ({by_class}), "
        f"{counts['failed']} failed, {counts['unreadable']} unreadable",
        f"Frames: {int(done['frames'].sum())}, people: {int(done['people'].sum())}",
    ]
    # Without any clip there is no mean to tell.
    if len(done):
        quality, seen = done["quality"], done["seen"]
        lines.append(
            f"First two people: mean joint score {_mean(quality):.2f}, with a pose in {_mean(seen):.0%} of the frames, "
            f"{_mean(done['filled']):.0%} of those poses filled in"
        )
    # The same charts as on the page, as bars of characters.
    for chart in all_charts(tables, classes):
        lines += ["", *_text_chart(chart)]
    lines += ["", *_uncertain_lines(done), *_problem_lines(clips)]
    if changes is not None:
        lines += ["", *_change_lines(changes)]
    return "\n".join(lines)


def _value(tables: OutputTables, charts: list[Chart], changes: pd.DataFrame | None) -> dict[str, Any]:
    """Return the summary as plain values."""
    clips = tables.clips
    done, problems = clips[clips["status"] == "annotated"], clips[clips["status"] != "annotated"]
    return {
        "clips": dict(Counter(map(str, clips["status"]))),
        "fight": int((done["label"] == 1).sum()),
        "frames": int(done["frames"].sum()),
        "people": int(done["people"].sum()),
        "charts": {chart.key: {name: _by_label(chart, values) for name, values in chart.series} for chart in charts},
        "uncertain": _records(by_uncertainty(done), "clip", "uncertain", "gap"),
        "without_annotation": _records(problems, "clip", "status", "reason", "info"),
        "changes": None if changes is None else _records(changes, *changes.columns),
    }


def _by_label(chart: Chart, values: Sequence[float]) -> dict[str, float]:
    """Return one series of a chart by label."""
    return dict(zip(chart.labels, (value if chart.decimals else int(value) for value in values), strict=True))


def _records(table: pd.DataFrame, *names: str) -> list[dict[str, Any]]:
    """Return some columns of a table as plain rows, None for what is not known."""
    rows = ({name: row[name] for name in names} for row in table.to_dict("records"))
    return [{name: _plain(name, value) for name, value in row.items()} for row in rows]


def _plain(name: str, value: Any) -> Any:
    """Return a value of a column as JSON has it: None for what is not known, whole numbers whole."""
    # Only NaN differs from itself; `isnan` would fail on text.
    if value != value:
        return None
    return int(value) if name.removesuffix("_before").removesuffix("_after") in WHOLE else value


def failure_counts(clips: pd.DataFrame) -> dict[str, int]:
    """Return how many clips failed for each reason, the most frequent first."""
    reasons = clips.loc[clips["status"] == "failed", "reason"].value_counts()
    return {str(reason): int(count) for reason, count in reasons.items()}


COMPARED = {
    "status": None,
    "label": 0.5,
    "split": None,
    "people": 0.5,
    "first_id": 0.5,
    "second_id": 0.5,
    "first_score": 0.005,
    "quality": 0.005,
}
"""What two runs are compared by, and from which difference of numbers on; words differ or not."""


def change_words(row: Mapping[Hashable, Any], classes: Mapping[int, str]) -> list[str]:
    """Return what changed of a clip, in words; `row` is of `compare`."""
    if not row["status_before"] == row["status_after"] == "annotated":
        return [f"{row['status_before']} -> {row['status_after']}"]
    # These three are always said: they tell how much the other changes matter.
    words = [
        f"people {row['people_before']:.0f} -> {row['people_after']:.0f}",
        f"score {row['first_score_before']:.2f} -> {row['first_score_after']:.2f}",
        f"quality {row['quality_before']:.2f} -> {row['quality_after']:.2f}",
    ]
    sides = [[row[f"{name}_{side}"] for name in ("first_id", "second_id")] for side in ("before", "after")]
    # An ID that is NaN, and so differs from itself, belongs to nobody.
    ids = [" and ".join(f"{one:.0f}" for one in side if one == one) for side in sides]
    if ids[0] != ids[1]:
        words.append(f"first two ID {ids[0]} -> {ids[1]}")
    if row["label_before"] != row["label_after"]:
        labels = [classes.get(int(row[side]), str(row[side])) for side in ("label_before", "label_after")]
        words.append(f"class {labels[0]} -> {labels[1]}")
    if row["split_before"] != row["split_after"]:
        words.append(f"split {row['split_before'] or 'none'} -> {row['split_after'] or 'none'}")
    return words


def compare(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return the clips whose outcome differs between two runs, one row each.

    Columns: clip, then `<name>_before` and `<name>_after` of what is compared (`COMPARED`). A clip that one run lacks
    has the status "absent" there. Scores and qualities count as equal within 0.005.
    """
    names = list(COMPARED)
    # An unreadable or doubled file may repeat an identifier: the first row counts for the clip.
    sides = [table.drop_duplicates("clip").set_index("clip")[names] for table in (before, after)]
    both = pd.concat([sides[0].add_suffix("_before"), sides[1].add_suffix("_after")], axis=1).sort_index()
    # `concat` leaves NaN where a run lacks the clip.
    for side in ("status_before", "status_after"):
        both[side] = both[side].fillna("absent")
    differs = both["status_before"] != both["status_after"]
    for name, tolerance in COMPARED.items():
        earlier, later = both[f"{name}_before"], both[f"{name}_after"]
        if tolerance is not None:
            differs |= (later - earlier).abs() > tolerance
        elif name == "split":
            # A clip that one run lacks is reported by its status.
            differs |= (earlier != later) & earlier.notna() & later.notna()
    order = [f"{name}_{side}" for name in names for side in ("before", "after")]
    return both.loc[differs, order].reset_index()


def _seconds_per_clip(done: pd.DataFrame) -> dict[str, float]:
    """Return the mean seconds of each step over the clips that have them."""
    steps = [name for name in done.columns if name.startswith("seconds_")]
    means = {name.removeprefix("seconds_"): _mean(done[name]) for name in steps}
    return {step: mean for step, mean in means.items() if np.isfinite(mean)}


def _mean(values: pd.Series) -> float:
    """Return the mean of what is known, NaN where nothing is."""
    known = values.dropna()
    return float(known.mean()) if len(known) else float("nan")


def _text_chart(chart: Chart) -> list[str]:
    """Return a chart as lines of text; one line for each label, and each series where there are two."""
    if not any(value for _, values in chart.series for value in values):
        return [f"{chart.title}: none"]
    # Widths of the two columns of names, in characters.
    wide = max((len(label) for label in chart.labels), default=0)
    named = max(len(name) for name, _ in chart.series)
    lines = [chart.title]
    for group, label in enumerate(chart.labels):
        for name, values in chart.series:
            value = values[group]
            bar = "#" * round(_BAR * value / chart.highest)
            lines.append(f"  {label:<{wide}} {name:<{named}} {value:>8.{chart.decimals}f}  {bar}".rstrip())
    return lines


def _uncertain_lines(done: pd.DataFrame) -> list[str]:
    """Return the uncertain clips, those with the most reasons first."""
    uncertain = by_uncertainty(done)
    lines = [f"Uncertain clips: {len(uncertain)} of {len(done)}"]
    for row in uncertain.head(MOST_LISTED).to_dict("records"):
        lines.append(f"  {printable(row['clip'])}: {row['uncertain'].replace(' ', ', ')}")
    return [*lines, *_rest(len(uncertain), PAGE_NAME)]


def _problem_lines(clips: pd.DataFrame) -> list[str]:
    """Return the clips without an annotation that can be used."""
    problems = clips[clips["status"] != "annotated"]
    if problems.empty:
        return []
    lines = ["", f"Without annotation: {len(problems)}"]
    for row in problems.head(MOST_LISTED).to_dict("records"):
        lines.append(f"  {printable(row['clip'])}: {row['reason'] or row['status']}; {printable(row['info'])}")
    return [*lines, *_rest(len(problems), CSV_NAME)]


def _change_lines(changes: pd.DataFrame) -> list[str]:
    """Return what differs from the earlier run."""
    lines = [f"Different from the earlier run: {len(changes)} clips"]
    for row in changes.head(MOST_LISTED).to_dict("records"):
        lines.append(f"  {printable(row['clip'])}: {printable(row['what'])}")
    return [*lines, *_rest(len(changes), PAGE_NAME)]


def _rest(count: int, where: str) -> list[str]:
    """Return the line that says where the rest of a list is, if there is a rest."""
    return [f"  ... and {count - MOST_LISTED} more, see {where}"] if count > MOST_LISTED else []


def by_uncertainty(clips: pd.DataFrame) -> pd.DataFrame:
    """Return the uncertain clips, those with the most reasons first, then those whose ranks lie closest."""
    uncertain = clips[clips["uncertain"] != ""]
    # The names of the reasons are separated by spaces.
    reasons = uncertain["uncertain"].str.count(" ") + 1
    return uncertain.assign(reasons=reasons).sort_values(["reasons", "gap", "clip"], ascending=[False, True, True])


def _write(path: Path, text: str) -> None:
    """Write text as UTF-8; file names that are no UTF-8 are written with escapes instead of failing."""
    with atomic_path(path) as partial:
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))
