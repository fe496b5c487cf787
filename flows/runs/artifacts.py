"""What runs show in the Prefect UI: the card of a clip, the progress and the table of a folder.

They are a service to the person who looks on: a server that does not take one costs a warning and never a clip.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.runs.results import ClipResult, DatasetSummary, Outcome
from tasks.core.text import markdown_cell
from tasks.mapping.findings import MappingReport

logger = logging.getLogger(__name__)

MOST_ROWS = 500
"""Most clips listed in the table of a run; the analysis folder holds them all."""


def show_card(markdown: str) -> None:
    """Put a clip's card into its run's artifacts."""
    with _of_no_consequence("the card of the clip"):
        create_markdown_artifact(markdown)


class ProgressBar:
    """The share of a folder's clips that are done, as a progress artifact.

    Parameters
    ----------
    total
        Number of clips.
    done
        Those that need no work.
    """

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done, self._shown = total, done, 100.0 * done / total
        self._artifact: UUID | None = None
        with _of_no_consequence("the progress"):
            # The key gives it a page of its own in the UI, where later runs follow as newer versions.
            made = create_progress_artifact(self._shown, key="annotate-dataset-progress", description=f"{total} clips")
            # Its type allows for a coroutine, which it returns in async code only.
            self._artifact = cast(UUID, made)

    def advance(self) -> None:
        """Count one more clip; the server is told of whole percents only."""
        self._done += 1
        percent = 100.0 * self._done / self._total
        if self._artifact is not None and (percent - self._shown >= 1 or self._done == self._total):
            self._shown = percent
            with _of_no_consequence("the progress"):
                update_progress_artifact(self._artifact, percent)


def show_table(summary: DatasetSummary) -> None:
    """Put the table of clips into the run's artifacts, failures first."""
    # False sorts before True: failed clips come first.
    ordered = sorted(summary.results, key=lambda result: (result.outcome != Outcome.FAILED, result.clip))
    counts = ", ".join(f"{summary.count(outcome)} {outcome}" for outcome in Outcome)
    # Said in the description, since a table that is cut off looks complete.
    shown = "" if len(ordered) <= MOST_ROWS else f" The first {MOST_ROWS} are listed."
    with _of_no_consequence("the table of clips"):
        create_table_artifact(
            table=_rows(ordered[:MOST_ROWS]),
            key="annotate-dataset",
            description=f"{len(ordered)} clips: {counts}; pose model run for {summary.extracted}.{shown}",
        )


def show_findings(report: MappingReport) -> None:
    """Put the table of what a verification found into the run's artifacts."""
    rows = [
        # Escaped, since the UI reads cells as markdown and file names may hold any of it.
        {"finding": str(finding.kind), "clip": markdown_cell(finding.clip), "details": markdown_cell(finding.info)}
        for finding in report.findings[:MOST_ROWS]
    ]
    with _of_no_consequence("the table of findings"):
        create_table_artifact(rows, key="verify-mapping", description=report.headline())


def _rows(results: Sequence[ClipResult]) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    rows = []
    for result in results:
        # A failed clip has no summary, and poses from the store have no usage: those cells stay empty.
        found, usage = result.summary, result.summary.usage if result.summary else None
        rows.append(
            {
                # First: a long name pushes everything after it out of sight.
                "outcome": str(result.outcome),
                "clip": markdown_cell(result.clip),
                "frames": found.frames if found else None,
                "people": found.people if found else None,
                "best score": round(found.top[0][1], 3) if found and found.top else None,
                "seconds": round(result.seconds, 1),
                "cores": round(usage.cores, 1) if usage else None,
                "memory MB": round(usage.memory_bytes / 1e6) if usage else None,
                "GPU %": round(usage.gpu_percent) if usage and usage.gpu_percent is not None else None,
                "reason": markdown_cell(f"{result.error.reason}: {result.error.info}") if result.error else "",
            }
        )
    return rows


@contextmanager
def _of_no_consequence(what: str) -> Iterator[None]:
    """Go on where the server does not take something."""
    try:
        yield
    # Whatever it is: the client passes on errors of the network, of the server and of its own checks.
    except Exception as error:
        logger.warning(
            "%s could not be shown in the UI (%s)", what, " ".join(f"{type(error).__name__}: {error}".split())
        )
