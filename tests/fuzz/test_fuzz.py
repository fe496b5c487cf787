"""A sample of the damaged inputs, and that the counting would see what must not happen."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from tasks.core.errors import FightposeError
from tests.fuzz.__main__ import last_line
from tests.fuzz.inputs import (
    TOML,
    damaged_annotations,
    damaged_poses,
    damaged_settings,
    sound_annotation,
    write_videos,
)
from tests.fuzz.mutate import mutated
from tests.fuzz.plain import PEAKS
from tests.fuzz.run import Tally, fuzz_files, fuzz_videos, read_pkl, read_poses, read_settings_file

SEED = 500
"""Not the seed of `make fuzz`: the sample adds inputs and repeats none."""


def test_damaged_clips_end_as_annotation_or_recorded_failure(tmp_path):
    """Through the real workers, decoders, annotation and overlay; a stand-in finds the people."""
    write_videos(tmp_path / "clips", 24, SEED)
    tally = fuzz_videos("clips", tmp_path / "clips", tmp_path / "out", workers=2)
    assert tally.sound, tally
    assert tally.inputs == 24
    # A sample in which nothing decodes, or everything does, would show little.
    assert 0 < tally.annotated < 24
    assert (
        last_line([tally])
        == f"24 inputs, {tally.annotated} annotated, {24 - tally.annotated} recorded failures, 0 lost"
    )


def test_damaged_files_are_read_or_refused(tmp_path):
    """Annotations, stored poses and settings."""
    sound = sound_annotation(tmp_path)
    pkls = [(".pkl", data) for data in damaged_annotations(tmp_path, 120, SEED)]
    assert fuzz_files("pkl", pkls, read_pkl, tmp_path / "pkl", sound).sound
    stored = [(".npz", data) for data in damaged_poses(tmp_path, 60, SEED)]
    assert fuzz_files("npz", stored, read_poses, tmp_path / "npz", (tmp_path / "poses.npz").read_bytes()).sound
    settings = damaged_settings(60, SEED)
    assert fuzz_files("settings", settings, read_settings_file, tmp_path / "toml", TOML.encode()).sound


def test_the_same_seed_makes_the_same_bytes():
    """What a run finds can be found again."""
    sources, others = [bytes(range(256)) * 8], [bytes(range(255, -1, -1)) * 8]
    made = [mutated(sources, others, 40 + turn, turn) for turn in range(12)]
    assert made == [mutated(sources, others, 40 + turn, turn) for turn in range(12)]
    assert len(set(made)) >= 10


class Payload:
    """Pickles as a call."""

    def __reduce__(self):
        return os.system, ("true",)


def run_pickle(path: Path) -> bool:
    """Read as must never be done."""
    pickle.loads(path.read_bytes())
    return True


def test_a_payload_that_runs_would_be_seen(tmp_path):
    """The audit hook tells, though the reader returns as if all were well."""
    tally = fuzz_files("pkl", [(".pkl", pickle.dumps(Payload()))], run_pickle, tmp_path, pickle.dumps(1))
    assert not tally.sound
    assert any("os.system" in line for line in tally.lost)


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), RecursionError()])
def test_an_error_that_no_user_can_act_on_counts_as_lost(tmp_path, error):
    """Only errors with a line for the user are refusals."""

    def fails(path: Path) -> bool:
        """Fail on all but the sound file."""
        if path.stem == "sound":
            return True
        raise error

    tally = fuzz_files("x", [(".x", b"")], fails, tmp_path, b"")
    assert not tally.sound
    assert last_line([tally]) == "1 inputs, 0 annotated, 0 recorded failures, 1 lost"


def test_a_refusal_is_no_loss(tmp_path):
    """The line is there."""

    def refuses(path: Path) -> bool:
        """Refuse all but the sound file."""
        if path.stem == "sound":
            return True
        raise FightposeError("no")

    assert fuzz_files("x", [(".x", b"")], refuses, tmp_path, b"").sound


def test_a_clip_without_a_trace_counts_as_lost(tmp_path, monkeypatch):
    """Whatever the workers say: what is on disk counts."""
    write_videos(tmp_path / "clips", 2, SEED)
    (tmp_path / "out" / PEAKS).mkdir(parents=True)
    monkeypatch.setattr("tests.fuzz.run.walk", lambda jobs, engine: iter(()))
    tally = fuzz_videos("clips", tmp_path / "clips", tmp_path / "out", workers=2)
    assert len(tally.lost) == 2
    assert not tally.sound


@pytest.mark.parametrize("bad", [{"deaths": 1}, {"slowest": 999.0}, {"peak_mb": 4000}, {"lost": ["x"]}, {"inputs": 2}])
def test_deaths_hangs_memory_and_losses_make_a_run_fail(bad):
    """Each of them alone."""
    assert Tally("x", inputs=1, annotated=1).sound
    assert not Tally(**{"kind": "x", "inputs": 1, "annotated": 1} | bad).sound
