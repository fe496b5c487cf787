"""What can go wrong, in words for the person who runs the job.

A `FightposeError` carries one line that says what was wrong, with which file, and what to do next; the command line
prints it without a traceback. A `ClipError` concerns one clip only: the flow records it in the failure log and goes on
with the other clips.
"""

from enum import StrEnum
from pathlib import Path


class FailureReason(StrEnum):
    """Why a clip has no annotation; the names are those of the earlier scripts' failure log."""

    NO_TRACKS = "NO_TRACKS"
    INSUFFICIENT_LENGTH = "INSUFFICIENT_LENGTH"
    LOW_QUALITY = "LOW_QUALITY"
    PROCESSING_ERROR = "PROCESSING_ERROR"
    EMPTY_VIDEO = "EMPTY_VIDEO"


class FightposeError(Exception):
    """An error that the user can act on; its text is one complete line."""


class ClipError(FightposeError):
    """One clip cannot be annotated, and trying again would not help.

    Parameters
    ----------
    reason
        The failure log's reason.
    path
        The clip.
    info
        What was wrong and what to do next, without the file name.
    """

    def __init__(self, reason: FailureReason, path: str | Path, info: str) -> None:
        # All three go to Exception.__init__ so that the error survives the pickling between worker processes.
        super().__init__(reason, path, info)
        self.reason = FailureReason(reason)
        self.path = Path(path)
        self.info = info

    def __str__(self) -> str:
        return f"{self.path}: {self.info} [{self.reason}]"
