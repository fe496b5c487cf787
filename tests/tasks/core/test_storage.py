"""Files are complete or absent, and keys are stable."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.core.errors import FightposeError
from tasks.core.storage import (
    CUT_OFF,
    LEFT_OVER_SECONDS,
    PARTIAL_MARK,
    append_line,
    atomic_path,
    complete_lines,
    file_sha256,
    key_of,
    require_output_root,
    require_writable,
    sole_maker,
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


def make_once(path: Path) -> bool:
    """Make a file unless it is there; tell whether this caller made it."""
    with sole_maker(path):
        if path.exists():
            return False
        # Long enough for all others to come to the lock meanwhile.
        time.sleep(0.05)
        # Fails if another one is making it, too.
        path.touch(exist_ok=False)
        return True


@pytest.mark.parametrize("round_", range(5))
def test_of_many_threads_one_makes_the_file(tmp_path, round_):
    """No lock file is left."""
    path = tmp_path / "poses.npz"
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(make_once, [path] * 24)) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_of_several_processes_one_makes_the_file(tmp_path):
    """As workers of mode parallel and shards of a pool do."""
    path = tmp_path / "poses.npz"
    with multiprocessing.get_context("spawn").Pool(3) as processes:
        assert sum(processes.map(make_once, [path] * 9)) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_whose_maker_failed_is_made_by_the_next(tmp_path):
    """The error is the maker's own."""
    path = tmp_path / "poses.npz"
    with pytest.raises(ValueError, match="broken"), sole_maker(path):
        raise ValueError("broken")
    assert make_once(path)


def test_a_wait_ends_when_the_run_is_stopped(tmp_path):
    """What the check raises is raised to the caller, and the holder is not disturbed."""
    path = tmp_path / "poses.npz"
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        """Hold the lock until told."""
        with sole_maker(path):
            held.set()
            free.wait(60)

    def stop() -> None:
        """Stop the one that waits."""
        raise KeyboardInterrupt

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(60)
        with pytest.raises(KeyboardInterrupt), sole_maker(path, stop):
            pytest.fail("two hold the lock")
    finally:
        free.set()
        holder.join()
    assert make_once(path)


def test_files_of_other_names_do_not_wait(tmp_path):
    """Each name has its own lock."""
    with sole_maker(tmp_path / "a"), sole_maker(tmp_path / "b"):
        assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"", []),
        (b'{"a": 1}\n', [(1, b'{"a": 1}')]),
        # By hand, in an editor that ends no last line: as good as any other.
        (b'{"a": 1}\n{"a": 2}', [(1, b'{"a": 1}'), (2, b'{"a": 2}')]),
        # Cut off by a crash or a full disk: never confirmed to anybody.
        (b'{"a": 1}\n\n{"a": 2, "b', [(1, b'{"a": 1}')]),
        (b'{"a": "\xed\x95', []),
        # Not JSON and whole: the reader of the log decides about it.
        (b"[2026-01-01] a.mp4 | NO_TRACKS\n", [(1, b"[2026-01-01] a.mp4 | NO_TRACKS")]),
    ],
)
def test_a_line_is_appended_behind_whatever_was_left_and_nothing_is_lost(tmp_path, left, kept):
    """Neither a byte of what is there nor the new line, read before and after."""
    log = tmp_path / "below" / "log.jsonl"
    log.parent.mkdir()
    log.write_bytes(left)
    assert complete_lines(left) == kept
    append_line(log, '{"a": 3}')
    raw = log.read_bytes()
    assert raw.startswith(left)
    lines = complete_lines(raw)
    assert [line for _, line in lines] == [*(line for _, line in kept), b'{"a": 3}']
    assert all(raw.split(b"\n")[number - 1] == line for number, line in lines)
    append_line(log, '{"a": 4}')
    assert log.read_bytes() == raw + b'{"a": 4}\n'


def test_a_line_of_text_without_its_end_gets_one(tmp_path):
    """The log that people read holds no mark."""
    log = tmp_path / "log.txt"
    log.write_bytes(b"[2026-01-01] a.mp4 | NO_TR")
    append_line(log, "[2026-01-02] b.mp4 | NO_TRACKS")
    assert CUT_OFF[:1] not in log.read_bytes()
    assert len(log.read_text().splitlines()) == 2


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    """With what to do; as root, too, who may write where others may not."""
    (tmp_path / "file").touch()
    with pytest.raises(FightposeError, match=r"cannot write .*log\.jsonl.*free disk space or fix its permissions"):
        append_line(tmp_path / "file" / "log.jsonl", "{}")


def test_an_output_folder_that_is_not_there_is_named(tmp_path):
    """In the same words by every command that reads one."""
    assert require_output_root(tmp_path) == tmp_path
    with pytest.raises(FightposeError, match=r"there is no output folder .*/gone; name the --output-root"):
        require_output_root(tmp_path / "gone")
