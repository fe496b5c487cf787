"""Files are complete or absent, and keys are stable."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from tasks.core.errors import FightposeError
from tasks.core.storage import (
    LEFT_OVER_SECONDS,
    PARTIAL_MARK,
    atomic_path,
    file_sha256,
    key_of,
    require_writable,
    sweep_partials,
    write_json,
    write_text,
)


def test_a_file_appears_under_its_name_only_when_it_is_complete(tmp_path):
    """While it is written there is only a temporary file of the same ending."""
    target = tmp_path / "deep" / "clip.mp4"
    with atomic_path(target) as partial:
        partial.write_bytes(b"half")
        assert not target.exists()
        assert partial.suffix == ".mp4"
        assert PARTIAL_MARK in partial.name
    assert target.read_bytes() == b"half"
    assert [path.name for path in target.parent.iterdir()] == ["clip.mp4"]


def test_an_error_while_writing_leaves_the_earlier_file_and_nothing_else(tmp_path):
    """The earlier content stands, the temporary file is gone."""
    target = tmp_path / "table.csv"
    write_text(target, "earlier")

    def fails() -> None:
        """Fail in the middle of writing."""
        with atomic_path(target) as partial:
            partial.write_text("new")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fails()
    assert target.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [target]


def test_what_killed_processes_left_is_swept_up(tmp_path):
    """Neither what is being written, nor what others call by a similar name."""
    with atomic_path(tmp_path / "set" / "clip.mp4") as partial:
        partial.write_bytes(b"half")
        left = [partial.with_name(f"{PARTIAL_MARK}{digit * 32}{end}") for digit, end in (("0", ".pkl"), ("f", ""))]
        other = [tmp_path / f"{PARTIAL_MARK}download.zip", tmp_path / "set" / "clip.pkl"]
        for path in (*left, *other):
            path.write_bytes(b"old")
            os.utime(path, (0, time.time() - LEFT_OVER_SECONDS - 60))
        assert sweep_partials(tmp_path) == 2
        assert sorted(tmp_path.rglob("*.*")) == sorted([partial, *other])


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path):
    """The temporary name does not grow with it."""
    target = tmp_path / ("가" * 83 + ".json")
    write_json(target, {"이름": 1})
    assert '"이름": 1' in target.read_text(encoding="utf-8")


def test_keys_depend_on_content_and_not_on_the_order_of_names():
    """The same settings have the same key on every machine."""
    assert key_of({"a": 1, "b": [1.5, None]}, "x") == key_of({"b": [1.5, None], "a": 1}, "x")
    assert key_of({"a": 1}) != key_of({"a": 2})
    assert key_of("a", "b") != key_of("ab")
    # Pinned: a key that changes by itself would annotate every user's clips again.
    assert key_of(1, {"a": "가"}) == "0b275c8fe8720c955b769b63f2146c13"


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    """Read in blocks or not."""
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 100_000)
    assert file_sha256(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """The line says what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FightposeError, match=r"cannot write to the output folder .*choose another --output-root"):
        require_writable(tmp_path / "file" / "out")
