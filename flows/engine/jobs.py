"""What a run has to do: one record per clip, and what all clips of a run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tasks.clips.discovery import Clip
from tasks.core.settings import Settings


@dataclass(frozen=True, slots=True)
class ClipJob:
    """One clip to annotate; everything that a worker process needs."""

    clip: Clip
    input_root: Path
    output_root: Path
    settings: Settings


@dataclass(frozen=True, slots=True)
class RunKeys:
    """What names the results of a run: worked out once, from files that may be large.

    Attributes
    ----------
    model, model_sha256, model_key
        Name of the model, hash of its file, key of all that decides its answers.
    settings
        `tasks.mapping.receipts.settings_key` of the run.
    """

    model: str
    model_sha256: str
    model_key: str
    settings: str

    def provenance(self, video_sha256: str) -> dict[str, str]:
        """Return what an annotation says of where it comes from."""
        # No paths: an annotation has to say the same whichever machine made it.
        return {
            "model": self.model,
            "model_sha256": self.model_sha256,
            "model_key": self.model_key,
            "video_sha256": video_sha256,
        }


@dataclass(frozen=True, slots=True)
class PosesFound:
    """What the extraction of a clip left behind, as plain values.

    Attributes
    ----------
    path
        The npz file of the poses.
    frames
        Decoded frames.
    extracted
        Whether the model ran, False if the file was there.
    seconds
        Wall time of the steps so far.
    """

    path: Path
    frames: int
    extracted: bool
    seconds: dict[str, float] = field(default_factory=dict)
