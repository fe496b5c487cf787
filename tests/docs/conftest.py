"""What the tests of the docs share."""

from __future__ import annotations

import pytest

from tasks.language import VARIABLE, Language


@pytest.fixture(autouse=True)
def _language_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the language after each test: a command line of the docs with `--lang` sets it for the whole process."""
    monkeypatch.setenv(VARIABLE, Language.ENGLISH)
