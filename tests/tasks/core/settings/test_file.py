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
