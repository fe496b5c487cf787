"""What became of each clip of a run."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tasks.clips.discovery import Clip
from tasks.clips.failures import log_failure
from tasks.core.choices import FailOn
from tasks.core.errors import ClipError, FailureReason
from tasks.mapping.summary import ClipSummary

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """How a clip ended."""

    ANNOTATED = "annotated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ClipResult:
    """What became of one clip.

    Attributes
    ----------
    clip
        Path relative to the input root.
    outcome
        How it ended.
    seconds
        Wall time of the clip in this run.
    summary
        What was found in it; None if it failed.
    error
        Why it failed, else None.
    """

    clip: str
    outcome: Outcome
    seconds: float
    summary: ClipSummary | None = None
    error: ClipError | None = None


@dataclass(slots=True)
class DatasetSummary:
    """What became of a run over a folder.

    Attributes
    ----------
    results
        One per clip, in the order of the clips' paths.
    problems
        Folders that could not be read, as lines.
    mapping_ok
        Whether every clip has its annotation and overlay, or a recorded failure.
    mapping_lines
        What the verification found wrong, as lines.
    warnings
        What will not do for training, as lines: classes of too few clips, clips that no rule labels.
    """

    results: list[ClipResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    mapping_ok: bool = True
    mapping_lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome) -> int:
        """Return how many clips ended in one way."""
        return sum(result.outcome == outcome for result in self.results)

    @property
    def extracted(self) -> int:
        """Number of clips for which the pose model ran."""
        return sum(
            result.outcome == Outcome.ANNOTATED and result.summary is not None and result.summary.extracted
            for result in self.results
        )

    @property
    def ok(self) -> bool:
        """Whether every clip was annotated and verified."""
        return self.mapping_ok and not self.problems and not self.count(Outcome.FAILED)

    def too_many_failed(self, fail_on: FailOn, fail_share: float) -> bool:
        """Tell whether more clips failed than the user accepts.

        Parameters
        ----------
        fail_on, fail_share
            Which failed clips make a run a failed one; the share for `FailOn.SHARE`.
        """
        total = len(self.results)
        # At `NONE` all may fail; a share is of all clips, finished ones included.
        most = {FailOn.NONE: total, FailOn.ANY: 0, FailOn.SHARE: fail_share * total}[fail_on]
        return self.count(Outcome.FAILED) > most

    def to_value(self) -> dict[str, Any]:
        """Return all of it as plain values, for JSON."""
        return {
            "ok": self.ok,
            "counts": {str(outcome): self.count(outcome) for outcome in Outcome},
            "extracted": self.extracted,
            "mapping_ok": self.mapping_ok,
            # One list: a script that reads it need not know which check found what.
            "problems": [*self.problems, *self.mapping_lines],
            "warnings": list(self.warnings),
            "clips": [
                {
                    "clip": result.clip,
                    "outcome": str(result.outcome),
                    "seconds": round(result.seconds, 3),
                    "found": asdict(result.summary) if result.summary else None,
                    "reason": str(result.error.reason) if result.error else None,
                    "info": result.error.info if result.error else None,
                }
                for result in self.results
            ],
        }


def recorded_failure(error: BaseException, clip: Clip, output_root: Path) -> ClipError:
    """Write the error with which a clip ended to the failure log, and return it as one that names clip and reason.

    Parameters
    ----------
    error
        Whatever ended it.
    clip, output_root
        The clip, and where its outputs go.
    """
    # The same error may be about an output: only a clip that is really gone is told as such.
    if isinstance(error, FileNotFoundError) and not clip.path.exists():
        info = "the file is gone: it was deleted or moved after the run began; run annotate again"
        error = ClipError(FailureReason.PROCESSING_ERROR, clip.path, info)
    elif not isinstance(error, ClipError):
        # Not foreseen: the log keeps the traceback for the developer, the user gets one line.
        logger.error("%s: unexpected error", clip.relative, exc_info=error)
        line = " ".join(f"{type(error).__name__}: {error}".split())
        error = ClipError(FailureReason.PROCESSING_ERROR, clip.path, line)
    log_failure(output_root, clip.path, clip.frame_dir, error.reason, error.info)
    return error
