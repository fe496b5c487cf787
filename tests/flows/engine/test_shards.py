"""Shards: lists that cannot be mistaken, sizes that leave no GPU waiting, and what a crash leaves behind."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.engine.jobs import ClipJob
from flows.engine.shards import (
    FIRST_CLIPS,
    SHARD_CLIPS,
    SHARD_SECONDS,
    Journal,
    UnderWay,
    next_count,
    read_work_list,
    slice_of,
    write_work_list,
)
from tasks.clips.discovery import discover_clips
from tasks.clips.manifest import write_manifest
from tasks.core.errors import FightposeError
from tasks.core.settings import Settings


@pytest.fixture
def jobs(tmp_path: Path, out: Path) -> list[ClipJob]:
    """Give six clips of different sizes, one with a name that is not UTF-8, of class 3."""
    root = tmp_path / "data"
    (root / "Fight").mkdir(parents=True)
    for number, name in enumerate([b"0.mp4", b"1.mp4", b"1.avi", "한글.mov".encode(), b"\xbd\xce.mp4", b"5.mkv"]):
        (root / "Fight" / os.fsdecode(name)).write_bytes(b"x" * (number + 1))
    settings = Settings.model_validate({"selection": {"max_persons": 7}})
    return [ClipJob(replace(clip, label=3), root, out, settings) for clip in discover_clips(root, out).clips]


def test_a_work_list_gives_back_the_clips_that_it_was_made_of(jobs, out):
    """Paths, stems, labels and settings; the sizes are those of the files."""
    path = write_work_list(jobs, "key")
    work = read_work_list(path, out)
    assert work.jobs == jobs
    assert work.sizes == [job.clip.path.stat().st_size for job in jobs]
    assert work.key == "key"
    assert write_work_list(jobs, "key") == path
    assert slice_of(work, 2, 3) == jobs[2:5]
    assert slice_of(work, 2, None) == jobs[2:]


def test_a_list_of_inputs_is_a_work_list_too(jobs, out):
    """A person can name it in the form of the UI, with settings by value."""
    clips = [job.clip for job in jobs]
    path = write_manifest(out, jobs[0].input_root, clips, "key")
    work = read_work_list(path, out, Settings())
    assert [job.clip.path for job in work.jobs] == [clip.path for clip in clips]
    assert work.key == ""
    assert {job.clip.label for job in work.jobs} == {1}


def test_a_list_that_was_changed_or_is_gone_is_refused(jobs, out):
    """With one line that says what to do."""
    path = write_work_list(jobs, "key")
    path.write_text(path.read_text().replace("5.mkv", "6.mkv"))
    with pytest.raises(FightposeError, match="was changed after its shards were dealt"):
        read_work_list(path, out)
    path.unlink()
    with pytest.raises(FightposeError, match="cannot read the list of clips"):
        read_work_list(path, out)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "null", '{"root": "/r", "clips": [{"path": "a"}]}', '{"root": 1, "clips": 3}', "[" * 100_000],
)
def test_a_file_that_is_no_list_is_refused(content, tmp_path, out):
    """Whatever it is."""
    path = tmp_path / "list.json"
    path.write_text(content)
    with pytest.raises(FightposeError, match="is not a list of clips"):
        read_work_list(path, out)


@pytest.mark.parametrize(("path", "stem"), [("../a.mp4", "a"), ("/etc/a.mp4", "a"), ("a.mp4", "../a"), ("a.mp4", "..")])
def test_a_list_that_leads_out_of_its_root_is_refused(path, stem, tmp_path, out):
    """Output paths are made of it."""
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"root": "/r", "clips": [{"path": path, "stem": stem}]}))
    with pytest.raises(FightposeError, match="names a path outside its root"):
        read_work_list(listed, out)


@pytest.mark.parametrize(("first", "count"), [(0, 7), (6, 1), (7, None), (2, 0)])
def test_a_slice_that_the_list_does_not_have_is_refused(jobs, out, first, count):
    """It would silently do less than was dealt."""
    with pytest.raises(FightposeError, match="the list holds 6 clips"):
        slice_of(read_work_list(write_work_list(jobs, ""), out), first, count)


@given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=2000),
    st.integers(1, 64),
    st.floats(1.0, 1e9),
)
def test_dealing_ends_with_every_clip_dealt_once(sizes, running, pace):
    """No shard is empty, none exceeds its bounds but for a single clip, and the last ones are not the largest."""
    first, counts = 0, []
    while first < len(sizes):
        counts.append(next_count(sizes, first, running, pace))
        assert 1 <= counts[-1] <= SHARD_CLIPS
        assert counts[-1] == 1 or sum(sizes[first : first + counts[-1]]) / pace <= SHARD_SECONDS * (1 + 1e-9)
        first += counts[-1]
    assert sum(counts) == len(sizes)


def test_shards_grow_with_the_pace_and_shrink_towards_the_end():
    """The first is small, as nothing is known; the last is worth a minute."""
    sizes = [1_000_000] * 10_000
    assert next_count(sizes, 0, 0, None) == FIRST_CLIPS
    # A clip a second: 450 s are 450 clips.
    assert next_count(sizes, 24, 4, 1e6) == 450
    assert next_count(sizes, 9_000, 4, 1e6) == 125
    assert next_count(sizes, 9_900, 4, 1e6) == 60
    assert next_count(sizes, 9_990, 4, 1e6) == 10


def test_a_try_after_a_crash_passes_over_what_ended_and_a_retry_does_not(out):
    """A clip that failed is done again when a person asks for it, and not because another crashed."""
    Journal(out, "run").note(clip="a", outcome="failed", seconds=1.0)
    assert Journal(out, "run").start() == {"a"}
    Journal(out, "run").note(end="walked")
    assert Journal(out, "run").start() == set()
    assert list(Journal(out, "run").lines()) == []


def test_a_line_that_a_kill_cut_off_is_passed_over(out):
    """Its clip is done again, or found finished by its receipt."""
    journal = Journal(out, "run")
    journal.note(clip="a", outcome="annotated", seconds=1.0)
    path = next(out.rglob("journal.jsonl"))
    path.write_bytes(path.read_bytes() + b'{"clip": "b", "outc')
    assert [line["clip"] for line in journal.lines()] == ["a"]


def test_crashes_are_counted_for_the_clips_that_were_under_way(jobs, out):
    """Not for those that ended, nor for those of a try that ended in good order."""
    first = UnderWay(out, "run")
    for job in jobs[:3]:
        first.begin(job)
    first.end(jobs[0])
    second = UnderWay(out, "run")
    assert [second.crashes(job) for job in jobs[:4]] == [0, 1, 1, 0]
    second.begin(jobs[1])
    second.end(jobs[2])
    third = UnderWay(out, "run")
    assert [third.crashes(job) for job in jobs[:4]] == [0, 2, 0, 0]
    third.clear()
    assert [UnderWay(out, "run").crashes(job) for job in jobs[:4]] == [0, 0, 0, 0]
