"""Annotations in mmaction2 itself: its PoseDataset, its STGCN++ pipelines, one training step and one prediction.

mmaction2 stands in an environment of its own (`make test-client`), as on a training machine: it reads the files with
its own pickle and its own numpy, and nothing of this program is importable there.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tasks.annotations.convert.files import convert_file, window_file
from tasks.annotations.convert.formats import Layout
from tasks.annotations.format import read_annotation, write_annotation
from tests.client.conftest import LENGTHS, MOST_PEOPLE
from tests.client.mmaction_runs import PIPELINES
from tests.tasks.samples import sample_annotation

pytestmark = pytest.mark.client

INPUT = "(1, 2, 100, 17, 3)"
"""One clip, two people, 100 sampled frames, 17 joints, x, y and score."""


def require_sound(answer: dict) -> None:
    """Hold every pass of an answer against what the network takes."""
    assert answer["passes"]
    for passed in answer["passes"]:
        assert passed["labels"], passed
        assert passed["shapes"] == [INPUT], passed
        assert passed["finite"], passed


def test_files_of_real_clips_of_any_length_pass_every_pipeline(mmaction, outputs_by_length):
    """What `fightpose annotate` wrote, one frame to a thousand: the file of each video, with its label."""
    files = sorted(outputs_by_length.rglob("*_enhanced_stgcn_annotation.pkl"))
    found = {read_annotation(path)["annotations"][0]["total_frames"] for path in files}
    assert found == set(LENGTHS)
    answer = mmaction([(path, "all") for path in files])
    require_sound(answer)
    assert len(answer["passes"]) == len(files) * len(PIPELINES)
    for passed in answer["passes"]:
        assert passed["labels"] == [int("/Fight/" in passed["file"])]


def test_the_merged_data_set_of_real_clips_trains_and_predicts(mmaction, outputs_by_length):
    """Every split passes every pipeline; one step changes the network, and predictions are probabilities."""
    dataset = outputs_by_length / "dataset.pkl"
    split = read_annotation(dataset)["split"]
    answer = mmaction([(dataset, name) for name, members in split.items() if members], training=dataset)
    require_sound(answer)
    for passed in answer["passes"]:
        assert sorted(passed["names"]) == split[passed["split"]]
    training = answer["training"]
    assert np.isfinite(training["loss"])
    assert training["loss"] > 0
    assert training["moved"]
    assert len(training["scores"]) == len(split["val"])
    np.testing.assert_allclose(np.sum(training["scores"], axis=1), 1, atol=1e-5)


def test_any_number_of_real_people_passes_and_the_first_two_reach_the_network(mmaction, outputs_by_people, tmp_path):
    """One person up to as many as the model finds; a file cut to its first two ranks gives the same input."""
    counts = [len(read_annotation(path)["annotations"][0]["keypoint"]) for path in outputs_by_people]
    assert counts == list(range(1, MOST_PEOPLE + 1))
    pairs = []
    for path in outputs_by_people[1:]:
        (annotation,) = read_annotation(path)["annotations"]
        first_two = {
            key: annotation[key] for key in ("frame_dir", "total_frames", "img_shape", "original_shape", "label")
        }
        first_two |= {key: annotation[key][:2] for key in ("keypoint", "keypoint_score")}
        write_annotation(tmp_path / path.name, [first_two])
        pairs.append((path, tmp_path / path.name))
    answer = mmaction([(path, "all") for path in outputs_by_people], pairs)
    require_sound(answer)
    assert answer["pairs"] == [0.0] * len(pairs)


def test_every_size_passes_every_pipeline(mmaction, tmp_path):
    """People and lengths in every combination, from synthetic scenes; and more people than any model finds here."""
    files = []
    for people in (1, 2, 3, 9):
        for frames in (1, 2, 17, 99, 100, 101, 1000):
            files.append(tmp_path / f"{people}-{frames}.pkl")
            write_annotation(files[-1], [sample_annotation(people, frames)])
    answer = mmaction([(path, "all") for path in files])
    require_sound(answer)
    assert len(answer["passes"]) == len(files) * len(PIPELINES)


def test_converted_files_and_windows_pass_too(mmaction, outputs_by_length, tmp_path):
    """Without our extra keys the inputs are the same, in float16 nearly; a long clip's windows are clips."""
    source = next(outputs_by_length.rglob("Fight/100_enhanced_stgcn_annotation.pkl"))
    for layout in (Layout.PYSKL, Layout.PYSKL_FLOAT16):
        convert_file(source, tmp_path / f"{layout}.pkl", layout)
    long = next(outputs_by_length.rglob("Fight/1000_enhanced_stgcn_annotation.pkl"))
    window_file(long, tmp_path / "windows.pkl", 100, 50)
    answer = mmaction(
        [(tmp_path / "windows.pkl", "all")], [(source, tmp_path / f"{name}.pkl") for name in ("pyskl", "pyskl-float16")]
    )
    require_sound(answer)
    assert all(len(passed["labels"]) == 19 for passed in answer["passes"])
    assert answer["pairs"][0] == 0
    assert 0 < answer["pairs"][1] < 5e-3


@pytest.mark.skipif("FIGHTPOSE_ANNOTATIONS" not in os.environ, reason="needs FIGHTPOSE_ANNOTATIONS, an output folder")
def test_outputs_of_an_earlier_run_pass_every_pipeline(mmaction):
    """The files of your own run, single ones and the merged one."""
    root = Path(os.environ["FIGHTPOSE_ANNOTATIONS"])
    files = [(path, "all") for path in sorted(root.rglob("*_enhanced_stgcn_annotation.pkl"))]
    assert files
    split = read_annotation(root / "dataset.pkl")["split"]
    files += [(root / "dataset.pkl", name) for name, members in split.items() if members]
    require_sound(mmaction(files))
