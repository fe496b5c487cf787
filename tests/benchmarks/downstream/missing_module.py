"""A part that the wheel of mmaction2 1.2.0 lacks: nothing of STGCN++ uses it, but its import does."""

from __future__ import annotations

import sys
import types


def stand_in_for_missing() -> None:
    """Put an empty module where mmaction2 imports a localizer that is not there; before anything of it is imported."""
    for name in ("mmaction.models.localizers.drn", "mmaction.models.localizers.drn.drn"):
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.DRN = type("DRN", (), {})  # type: ignore[attr-defined]
            module.__path__ = []
            sys.modules[name] = module
