"""The failure log."""

import multiprocessing
import os
import re
import time
from pathlib import Path

import pytest

from tasks.clips.failures import (
    JSON_LOG,
    TEXT_LOG,
    current_failures,
    log_failure,
    read_failures,
    resolve_failures,
)
from tasks.core.errors import FailureReason, FightposeError

LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] [^|]* \| [A-Z_]+( \| [^|]*)?")


def test_both_formats_are_written(tmp_path):
    """The earlier text format to the letter, and the same as a record."""
    log_failure(tmp_path, Path("/in/Fight/싸움 1.mp4"), "in/Fight/싸움 1", FailureReason.NO_TRACKS)
    log_failure(tmp_path, "/in/b.mp4", "in/b", FailureReason.LOW_QUALITY, "mean 0.1, below 0.3")
    first, second = (tmp_path / TEXT_LOG).read_text(encoding="utf-8").splitlines()
    assert first.endswith("] /in/Fight/싸움 1.mp4 | NO_TRACKS")
    assert second.endswith("] /in/b.mp4 | LOW_QUALITY | mean 0.1, below 0.3")
    assert all(LINE.fullmatch(line) for line in (first, second))
    records = read_failures(tmp_path)
    assert [record.reason for record in records] == [FailureReason.NO_TRACKS, FailureReason.LOW_QUALITY]
    assert records[0].path == "/in/Fight/싸움 1.mp4"
    assert records[1].info == "mean 0.1, below 0.3"


@pytest.mark.parametrize(
    "name",
    [
        "a\nb.mp4",
        "a\r\n[2026-01-01 00:00:00] /x.mp4 | NO_TRACKS.mp4",
        "a | NO_TRACKS | forged.mp4",
        "a\u2028b\x85c\x0bd.mp4",
        "back\\slash\\n.mp4",
        os.fsdecode(b"\xff\xfe.mp4"),
        "\u202etricked.mp4",
    ],
)
def test_no_file_name_breaks_or_forges_a_line(tmp_path, name):
    """One line per failure whatever is in the name, and the record gives the name back as it was."""
    log_failure(tmp_path, f"/in/{name}", name, FailureReason.PROCESSING_ERROR, f"cannot read {name}")
    lines = (tmp_path / TEXT_LOG).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert LINE.fullmatch(lines[0])
    assert len((tmp_path / JSON_LOG).read_text(encoding="utf-8").splitlines()) == 1
    assert read_failures(tmp_path)[0].path == f"/in/{name}"


def _log_many(root: Path, number: int) -> None:
    """Append failures from a process of its own."""
    for index in range(100):
        log_failure(root, f"/in/{number}-{index}.mp4", f"{number}-{index}", FailureReason.EMPTY_VIDEO, "x" * 300)


def test_several_processes_append_at_once(tmp_path):
    """No line is lost or mixed with another."""
    # Not fork: other tests of the session may have started threads.
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_log_many, args=(tmp_path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len({failure.frame_dir for failure in read_failures(tmp_path)}) == 400
    lines = (tmp_path / TEXT_LOG).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 400
    assert all(LINE.fullmatch(line) for line in lines)


def test_a_later_success_takes_a_failure_back(tmp_path):
    """The history stays, the failure stands no more; a new failure stands again."""
    for name in ("a", "b"):
        log_failure(tmp_path, f"/in/{name}.mp4", f"in/{name}", FailureReason.NO_TRACKS)
    assert resolve_failures(tmp_path, ["in/a", "in/never-failed"]) == ["in/a"]
    assert [failure.frame_dir for failure in current_failures(tmp_path)] == ["in/b"]
    assert len(read_failures(tmp_path)) == 2
    log_failure(tmp_path, "/in/a.mp4", "in/a", FailureReason.LOW_QUALITY)
    assert [failure.reason for failure in current_failures(tmp_path)] == ["LOW_QUALITY", "NO_TRACKS"]


@pytest.mark.parametrize("skew", [-3600, 3600])
def test_another_annotation_than_at_the_failure_takes_it_back_whatever_the_clocks_say(tmp_path, skew):
    """A run killed before it could say so must not leave its clip among the failed; clocks may be an hour apart."""
    annotation = tmp_path / "in/a_enhanced_stgcn_annotation.pkl"
    annotation.parent.mkdir()
    annotation.touch()
    now = time.time()
    os.utime(annotation, (now + skew, now + skew))
    log_failure(tmp_path, "/in/a.mp4", "in/a", FailureReason.NO_TRACKS)
    # The annotation of an earlier run, under other settings: the failure stands.
    assert len(current_failures(tmp_path)) == 1
    os.utime(annotation, (now + skew + 5, now + skew + 5))
    assert current_failures(tmp_path) == []


def test_a_line_cut_off_costs_only_itself(tmp_path):
    """A full disk leaves half a line; the next failure starts on its own."""
    log_failure(tmp_path, "/in/a.mp4", "in/a", FailureReason.NO_TRACKS)
    with (tmp_path / JSON_LOG).open("ab") as stream:
        stream.write(b'{"time": 1.0, "path": "/in/b')
    log_failure(tmp_path, "/in/c.mp4", "in/c", FailureReason.NO_TRACKS)
    assert [failure.frame_dir for failure in read_failures(tmp_path)] == ["in/a", "in/c"]


def test_foreign_lines_are_passed_over(tmp_path):
    """The log is data: whatever stands in it, reading it neither fails nor looks outside the output root."""
    lines = [
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"time": 1, "path": 2, "frame_dir": "x", "reason": "NO"}',
    ]
    (tmp_path / JSON_LOG).write_bytes(b"\n".join(lines) + b"\n")
    assert read_failures(tmp_path) == []
    log_failure(tmp_path, "/in/a.mp4", "../../a\0", FailureReason.NO_TRACKS)
    assert len(current_failures(tmp_path)) == 1


def test_without_a_log_there_are_no_failures(tmp_path):
    """A run in which nothing failed writes none."""
    assert current_failures(tmp_path) == []
    assert resolve_failures(tmp_path, ["a"]) == []


def test_a_log_that_cannot_be_written_is_a_clear_error(tmp_path):
    """A folder stands where the log belongs."""
    (tmp_path / JSON_LOG).mkdir()
    with pytest.raises(FightposeError, match=JSON_LOG):
        log_failure(tmp_path, "/in/a.mp4", "in/a", FailureReason.NO_TRACKS)


@pytest.mark.parametrize("line", [
    '{"time": Infinity, "path": "a", "frame_dir": "a", "reason": "NO_TRACKS", "info": ""}',
    '{"time": NaN, "path": "a", "frame_dir": "a", "reason": "NO_TRACKS", "info": ""}',
    '{"time": 1, "path": "a", "frame_dir": "a", "reason": "NO_TRACKS", "info": "", "annotation": Infinity}',
    '{"time": "x", "path": "a", "frame_dir": "a", "reason": "NO_TRACKS", "info": ""}',
    '{"time": 1, "path": "a", "frame_dir": "\\ud800/\\u0000", "reason": "RESOLVED", "info": ""}',
])  # fmt: skip
def test_lines_with_impossible_numbers_are_no_failures(tmp_path, line):
    """Written by hand or by something else: they are passed over, and the others count."""
    log_failure(tmp_path, "b.mp4", "b", FailureReason.NO_TRACKS)
    with (tmp_path / "failed_videos.jsonl").open("a", encoding="ascii") as stream:
        stream.write(line + "\n")
    assert [failure.frame_dir for failure in current_failures(tmp_path)] == ["b"]
