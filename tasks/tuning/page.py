"""The report of tuning as one page that works offline."""

from __future__ import annotations

from pathlib import Path

from tasks.core.errors import FightposeError
from tasks.core.storage import write_text
from tasks.language import translated
from tasks.report.rendering import render
from tasks.tuning.choose import FIGURES
from tasks.tuning.tune import Tuning

PAGE_NAME = "tuning.html"

MOST_CLIPS = 60
"""Most clips that the page lists, those whose figures change most."""


def write_page(tuning: Tuning, output_root: Path) -> Path:
    """Write the report below an output root and return its path.

    Raises
    ------
    FightposeError
        If it cannot be written.
    """
    choice = tuning.choice
    figures = [
        {
            "name": name,
            "before": choice.before[number],
            "after": choice.after[number],
            "low": choice.low[number],
            "high": choice.high[number],
        }
        for number, name in enumerate(FIGURES)
    ]
    # Clips that did not change have nothing to look at.
    clips = [row for row in tuning.by_clip() if abs(row[1]) > 0][:MOST_CLIPS]
    html = render(
        "tuning.html.j2",
        title=translated(f"fightpose tuning: {output_root.absolute().name}"),
        lines=tuning.lines(),
        figures=figures,
        names=FIGURES,
        changes=tuning.changes() if choice.pays else [],
        cameras=tuning.by_source(),
        better=[row for row in clips if row[1] > 0],
        worse=[row for row in clips if row[1] < 0],
    )
    path = output_root / PAGE_NAME
    try:
        write_text(path, html)
    except OSError as error:
        raise FightposeError(
            f"cannot write {path}: {error.strerror or error}; free disk space or fix its permissions"
        ) from error
    return path
