"""What all groups of settings share: their base class, and the bounds of what they count."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from tasks.core.settings.fields import Setting

MOST_FRAMES = 1_000_000
"""Bound of numbers of frames: eleven hours at 25 frames per second."""

MOST_SECONDS = 7 * 24 * 3600
"""Bound of time limits: a clip that takes a week is not worth waiting for."""

MOST_MEGABYTES = 1 << 20
"""Bound of memory limits: 1 TiB."""

LARGEST_LABEL = 9_999
"""Bound of class numbers: a network has an output for each number up to the largest."""


class Group(BaseModel):
    """A group of settings: immutable, and a misspelt name is an error."""

    # Infinity and NaN pass every comparison of bounds in one direction, and JSON cannot hold them.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    decides: ClassVar[bool] = True
    """Whether its settings decide what the outputs hold, and so are part of their key."""

    def decisive(self) -> dict[str, Any]:
        """Return the settings that go into the key of outputs, as plain values.

        Settings marked `later` are left out at their default: outputs of versions that lack them stay unchanged.
        """
        defaults = {
            name: info.get_default(call_default_factory=True)
            for name, info in type(self).model_fields.items()
            if any(isinstance(note, Setting) and note.later for note in info.metadata)
        }
        unused = {name for name, default in defaults.items() if getattr(self, name) == default}
        return self.model_dump(mode="json", exclude=unused)
