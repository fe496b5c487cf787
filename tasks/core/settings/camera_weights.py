"""Region weights per camera, as a setting: plain numbers from a file of `fightpose learn-region-weights`.

What learns them and what starts from them is `tasks.regions.camera_weights`; here is only what a setting has to
hold, so that reading settings needs no numpy.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from tasks.core.errors import FightposeError
from tasks.core.region_layout import REGIONS
from tasks.core.storage import write_json


class CameraWeights(BaseModel):
    """Region weights per camera.

    Attributes
    ----------
    camera_pattern
        Regular expression that finds the camera in a clip's identifier (its first group, else all that it matches);
        None groups by folder.
    weights
        Camera to five weights in [0, 1], order of `REGIONS`; `""` holds those over all clips.
    clips
        Camera to the number of clips that its weights were learned from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    camera_pattern: str | None = None
    weights: dict[str, tuple[float, ...]]
    clips: dict[str, int]

    @field_validator("camera_pattern")
    @classmethod
    def _pattern_compiles(cls, pattern: str | None) -> str | None:
        """Refuse what is no regular expression."""
        # Compiled when the settings are read, so that a bad pattern fails before any clip is run.
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"the camera pattern {pattern!r} is no regular expression: {error}") from error
        return pattern

    @field_validator("weights")
    @classmethod
    def _in_range(cls, weights: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        """Refuse weights outside [0, 1], and rows of another length or without any weight."""
        for camera, row in weights.items():
            if len(row) != len(REGIONS):
                raise ValueError(f"{camera!r} has {len(row)} weights, not {len(REGIONS)}")
            # A row of zeros would rule out everybody that this camera sees.
            if not all(0 <= w <= 1 for w in row) or not any(row):
                raise ValueError(f"the weights of {camera!r} must lie in 0 to 1, one of them above 0")
        return weights

    def save(self, path: Path) -> None:
        """Write the weights as JSON, atomically, with the regions' names for the reader."""
        write_json(path, {"regions": list(REGIONS), **self.model_dump(mode="json")})

    @classmethod
    def load(cls, path: Path) -> CameraWeights:
        """Read what `save` wrote.

        Raises
        ------
        FightposeError
            If the file cannot be read, or holds no region weights.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            # The names are checked, because weights in another order of regions would look just as good.
            if not isinstance(data, dict) or data.pop("regions", None) != list(REGIONS):
                raise ValueError(f"it does not name the regions {', '.join(REGIONS)}")
            return cls.model_validate(data)
        except OSError as error:
            raise FightposeError(f"cannot read the region weights {path}: {error.strerror or error}") from error
        except ValidationError as error:
            raise FightposeError(_wrong(path, error.errors()[0]["msg"])) from error
        except (ValueError, RecursionError) as error:
            raise FightposeError(_wrong(path, str(error))) from error


def _wrong(path: Path, why: str) -> str:
    """Return the message for a file that holds no region weights."""
    return (
        f"{path} holds no region weights: {why.removeprefix('Value error, ')}; "
        "learn them again with `fightpose learn-region-weights`"
    )
