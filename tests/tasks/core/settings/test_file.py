"""Settings files that nobody should have written."""

import pytest

from tasks.core.errors import FightposeError
from tasks.core.settings.camera_weights import CameraWeights
from tasks.core.settings.file import MAX_BYTES, read_settings


@pytest.mark.parametrize("ending", [".json", ".toml"])
def test_brackets_without_end_are_one_line(tmp_path, ending):
    """They exhaust the recursion of the parsers."""
    path = tmp_path / f"a{ending}"
    path.write_text(("a = " if ending == ".toml" else "") + "[" * 200_000)
    with pytest.raises(FightposeError, match=r"settings .*neither TOML nor JSON"):
        read_settings(path)


def test_a_file_of_another_kind_is_not_read_into_memory(tmp_path):
    """A video given by mistake, for instance."""
    path = tmp_path / "a.json"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(FightposeError, match="is it the right file"):
        read_settings(path)


def test_region_weights_of_brackets_without_end_are_one_line(tmp_path):
    """The same for the other file that a user names."""
    path = tmp_path / "w.json"
    path.write_text("[" * 200_000)
    with pytest.raises(FightposeError, match=r"w\.json"):
        CameraWeights.load(path)


LONG_KEY = ".".join(["a"] * 200)

LONG_KEYS = {
    "key": f"{LONG_KEY} = 1",
    "table": f"[{LONG_KEY}]",
    "array of tables": f"[[{LONG_KEY}]]",
    "spaced": LONG_KEY.replace(".", " . ") + " = 1",
    "inline table": f"a = {{{LONG_KEY} = 1}}",
    "later in an inline table": f"a = {{b = 1, {LONG_KEY} = 1}}",
    "quoted": ".".join(['"a,="'] * 200) + " = 1",
    "quoted by apostrophes": ".".join(["'a\"={'"] * 200) + " = 1",
    "escaped quotes": ".".join([r'"\""'] * 200) + " = 1",
}
"""Everywhere that TOML allows a dotted key, and all the forms of its parts."""


@pytest.mark.parametrize("form", LONG_KEYS)
def test_a_dotted_key_that_would_take_minutes_is_refused(tmp_path, monkeypatch, form):
    """The time of tomllib grows with the square of the parts: it is never asked."""
    monkeypatch.setattr("tasks.core.settings.file.tomllib.loads", lambda text: pytest.fail("parsed"))
    (tmp_path / "a.toml").write_text(LONG_KEYS[form], encoding="utf-8")
    with pytest.raises(FightposeError, match="a key of more than 100 parts"):
        read_settings(tmp_path / "a.toml")
