"""The model table: names, files, and errors that say what to do."""

from pathlib import Path

import pytest

from tasks.core.errors import FightposeError
from tasks.core.storage import file_sha256
from tasks.poses import load_model, model_names, resolve_model


def test_the_embedded_model_is_in_the_table() -> None:
    """What `models list` shows."""
    entry = resolve_model("movenet-multipose")
    assert entry.name in model_names()
    assert entry.licence == "Apache-2.0"
    assert len(entry.sha256) == 64


def test_an_unknown_name_lists_the_known_ones() -> None:
    """A typo is answered with what would have worked."""
    with pytest.raises(FightposeError, match=r"unknown model .rtmo-xxl.; known models: .*movenet-multipose"):
        resolve_model("rtmo-xxl")


def test_a_model_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """A path is told from a name by its ending."""
    with pytest.raises(FightposeError, match=r"gone\.tflite does not exist"):
        resolve_model(str(tmp_path / "gone.tflite"))


def test_a_users_file_becomes_a_model_with_its_own_hash(tmp_path: Path) -> None:
    """The hash is part of every cache key."""
    path = tmp_path / "mine.tflite"
    path.write_bytes(b"abc")
    entry = resolve_model(str(path))
    assert (entry.name, entry.cached, entry.sha256) == ("mine", True, file_sha256(path))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """OpenVINO's long report becomes one line."""
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"not a flatbuffer" * 10)
    with pytest.raises(FightposeError, match="cannot be read as a model") as caught:
        load_model(str(path))
    assert "\n" not in str(caught.value)
