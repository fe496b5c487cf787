"""What a terminal or a log showed of a run, kept as files.

To renew one after a change that is meant: delete it, run its test, and read the difference before it is committed.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "recordings"


def recording(name: str) -> str:
    """Return a recording."""
    return (FOLDER / name).read_text(encoding="utf-8")


def compare(name: str, shown: str) -> None:
    """Compare what is shown now with a recording; one that is not there is written, and fails the test once."""
    path = FOLDER / name
    if not path.exists():
        path.write_text(shown, encoding="utf-8")
        raise AssertionError(f"{path} was not there: read it, and commit it if it is right")
    assert shown == recording(name)
