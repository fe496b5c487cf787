"""Integration tests run only when asked for: they take minutes and whole cores."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out unless they are asked for by their marker, whatever other markers are."""
    if "integration" in (config.option.markexpr or ""):
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("integration")])
    items[:] = [item for item in items if not item.get_closest_marker("integration")]
