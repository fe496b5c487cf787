"""The same files under pyskl's rules: its PoseDataset and the steps of its STGCN++ pipeline, restated here.

Source of the rules: pyskl at its last release, `datasets/pose_dataset.py` and `datasets/base.py` (what a file must be),
`pipelines/sampling.py` (UniformSample: frames and people per frame), `pipelines/pose_related.py` (PoseDecode,
PreNormalize2D, GenSkeFeat, FormatGCNInput). pyskl itself needs a compiled mmcv 1.x and is not installed.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.annotations.convert.files import convert_file
from tasks.annotations.convert.formats import Layout
from tasks.annotations.dataset import merge_dataset
from tasks.annotations.format import build_annotation, write_annotation
from tests.scenes import person, tracks_of
from tests.tasks.samples import SETTINGS, sample_annotation, sample_clip, sample_involvement

LENGTH = 100
PEOPLE = 2
REMOVED = 1e-5
"""pyskl takes a person whose coordinates are all nearer to 0 than this for missing."""


class PysklPoseDataset:
    """What pyskl's PoseDataset takes and gives.

    Parameters
    ----------
    path
        The file; pyskl refuses names that do not end in `.pkl`.
    split
        Name of the split. pyskl reads a bare list without one.
    test_mode
        Sample frames in the way of testing.
    """

    def __init__(self, path: Path, split: str, test_mode: bool) -> None:
        assert str(path).endswith(".pkl")
        content = pickle.loads(path.read_bytes())
        annotations = content["annotations"]
        # The first annotation decides by which key all are looked up.
        key = "filename" if "filename" in annotations[0] else "frame_dir"
        self.items = [item for item in annotations if item[key] in content["split"][split]]
        self.test_mode = test_mode

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Return the network's input (1, PEOPLE, LENGTH, 17, 3) and the label."""
        item = copy.deepcopy(self.items[index])
        frames = self._sampled(item)
        decoded = {key: item[key][:, frames].astype(np.float32) for key in ("keypoint", "keypoint_score")}
        joints = normalised(decoded["keypoint"], item["img_shape"])
        # GenSkeFeat takes scores only beside coordinates of the plane.
        assert joints.shape[-1] == 2
        joints = np.concatenate([joints, decoded["keypoint_score"][..., None]], axis=-1)
        missing = max(PEOPLE - len(joints), 0)
        joints = np.concatenate([joints, np.zeros((missing, *joints.shape[1:]), np.float32)])[:PEOPLE]
        assert joints.shape[1] == LENGTH
        return joints[None], item["label"]

    def _sampled(self, item: dict[str, Any]) -> np.ndarray:
        """Return the numbers of LENGTH frames, spread over the clip, or going round in a short one."""
        total = item["total_frames"]
        assert total == item["keypoint"].shape[1]
        random = np.random.default_rng(255 if self.test_mode else None)
        if total < LENGTH:
            frames = np.arange(LENGTH) + (0 if self.test_mode else random.integers(total))
        else:
            edges = np.arange(LENGTH + 1) * total // LENGTH
            frames = edges[:-1] + random.integers(np.maximum(np.diff(edges), 1))
        self._require_countable_people(item["keypoint"])
        return frames % total

    @staticmethod
    def _require_countable_people(keypoints: np.ndarray) -> None:
        """Count people per frame from the last backwards, as pyskl does; the comparison fails on NaN."""
        present = (np.abs(keypoints) >= REMOVED).any((2, 3))
        counts = [int(np.flatnonzero(frame)[-1]) + 1 if frame.any() else 0 for frame in present.T]
        assert max(counts) <= len(keypoints)
        assert not np.isnan(keypoints).any()


def normalised(keypoints: np.ndarray, size: Any) -> np.ndarray:
    """Return coordinates from -1 to 1 of the frame; PreNormalize2D unpacks two numbers, height first."""
    height, width = size
    return (keypoints - np.float32([width / 2, height / 2])) / np.float32([width / 2, height / 2])


@pytest.mark.parametrize("test_mode", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 17, 99, 100, 101, 199, 200, 1000])
@pytest.mark.parametrize("people", [1, 2, 3, 9])
def test_every_size_gives_the_networks_input(tmp_path, people, frames, test_mode):
    """From one person in one frame to nine in a thousand."""
    annotation = sample_annotation(people, frames)
    write_annotation(tmp_path / "a.pkl", [annotation])
    dataset = PysklPoseDataset(tmp_path / "a.pkl", "all", test_mode)
    assert len(dataset) == 1
    inputs, label = dataset[0]
    assert inputs.shape == (1, PEOPLE, LENGTH, 17, 3)
    assert inputs.dtype == np.float32
    assert np.isfinite(inputs).all()
    assert label == 1
    # The first of the network's people is the first in rank, and nobody else.
    first = annotation["keypoint_score"][0]
    assert set(np.unique(inputs[0, 0, ..., 2])) <= set(np.unique(first))
    assert inputs[0, 0, ..., 2].any()
    assert inputs[0, 1].any() == (people > 1)


def test_a_merged_data_set_is_read_split_by_split(tmp_path):
    """Every clip once, with its label."""
    clips = [
        sample_clip(f"{folder}/{i}.mp4", output_root=tmp_path) for folder in ("Fight", "NonFight") for i in range(6)
    ]
    for clip in clips:
        write_annotation(clip.annotation_path, [sample_annotation(2, 40, clip.relative)])
    report = merge_dataset(clips, tmp_path / "dataset.pkl")
    seen = []
    for split, count in report.counts.items():
        dataset = PysklPoseDataset(tmp_path / "dataset.pkl", split, test_mode=split != "train")
        assert len(dataset) == count
        seen += [(dataset.items[index]["frame_dir"], dataset[index][1]) for index in range(count)]
    assert sorted(seen) == sorted((clip.frame_dir, clip.label) for clip in clips)


def test_frames_with_nobody_stay_where_they_are(tmp_path):
    """A clip whose first half is empty: the network's input is empty there, not shifted."""
    tracks = tracks_of([person(np.arange(50, 100), np.array([100.0, 100.0]))], 100)
    annotation = build_annotation(sample_clip(), tracks, sample_involvement([1], frames=100), SETTINGS, {})
    write_annotation(tmp_path / "a.pkl", [annotation])
    inputs, _ = PysklPoseDataset(tmp_path / "a.pkl", "all", test_mode=True)[0]
    assert not inputs[0, 0, :50, :, 2].any()
    assert inputs[0, 0, 50:, :, 2].all()


def test_a_key_filename_would_break_the_splits(tmp_path):
    """Why the contract forbids it: the lookup goes by that key then."""
    annotation = sample_annotation() | {"filename": "a.mp4"}
    write_annotation(tmp_path / "a.pkl", [annotation])
    assert len(PysklPoseDataset(tmp_path / "a.pkl", "all", test_mode=True)) == 0


@pytest.mark.parametrize("layout", [Layout.PYSKL, Layout.PYSKL_FLOAT16])
def test_converted_files_give_the_same_input(tmp_path, layout):
    """Without our keys exactly, in float16 nearly."""
    write_annotation(tmp_path / "a.pkl", [sample_annotation(3, 120)])
    convert_file(tmp_path / "a.pkl", tmp_path / "b.pkl", layout)
    first, second = (PysklPoseDataset(tmp_path / name, "all", test_mode=True)[0][0] for name in ("a.pkl", "b.pkl"))
    np.testing.assert_allclose(first, second, atol=5e-3 if layout is Layout.PYSKL_FLOAT16 else 0)
