"""Annotations in mmaction2 itself: its PoseDataset, its STGCN++ pipelines, one training step and one prediction.

Runs only where mmaction2 is installed, which needs an environment of its own. What it takes there: torch, mmengine,
mmcv-lite, `setuptools<81`, einops, `importlib_metadata<9`, and mmaction2 1.2.0 without its dependencies. With the
environment variable FIGHTPOSE_ANNOTATIONS set to an output folder, the files in it are loaded as well.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tasks.annotation import merge_dataset, write_annotation
from tasks.convert.files import Layout, convert_file
from tests.tasks.samples import sample_annotation, sample_clip

torch = pytest.importorskip("torch")
pytest.importorskip("mmaction")

CONFIG = "skeleton/stgcnpp/stgcnpp_8xb16-joint-u100-80e_ntu60-xsub-keypoint-2d.py"
PIPELINES = ("train_pipeline", "val_pipeline", "test_pipeline")


@pytest.fixture(scope="module")
def mmaction():
    """Return the registries and the STGCN++ configuration for two classes."""
    # The wheel lacks this subpackage, which nothing of STGCN++ uses but its import does.
    for name in ("mmaction.models.localizers.drn", "mmaction.models.localizers.drn.drn"):
        module = types.ModuleType(name)
        module.DRN = type("DRN", (), {})
        module.__path__ = []
        sys.modules.setdefault(name, module)
    import mmaction
    from mmaction.registry import DATASETS, MODELS
    from mmaction.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(True)
    config = Config.fromfile(str(Path(mmaction.__file__).parent / ".mim/configs" / CONFIG))
    config.model.cls_head.num_classes = 2
    for name in PIPELINES:
        for step in config[name]:
            if step["type"] == "UniformSampleFrames":
                step["num_clips"] = 1
    return types.SimpleNamespace(datasets=DATASETS, models=MODELS, config=config)


def dataset(mmaction, path: Path, split: str, pipeline: str):
    """Open a file as mmaction2 does for training or testing."""
    return mmaction.datasets.build(
        {
            "type": "PoseDataset",
            "ann_file": str(path),
            "pipeline": mmaction.config[pipeline],
            "split": split,
            "test_mode": pipeline != "train_pipeline",
        }
    )


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("frames", [1, 2, 17, 99, 100, 101, 1000])
@pytest.mark.parametrize("people", [1, 2, 3, 9])
def test_every_size_passes_every_pipeline(mmaction, tmp_path, people, frames, pipeline):
    """From one person in one frame to nine in a thousand; the first two people reach the network."""
    write_annotation(tmp_path / "a.pkl", [sample_annotation(people, frames)])
    found = dataset(mmaction, tmp_path / "a.pkl", "all", pipeline)
    assert len(found) == 1
    inputs = found[0]["inputs"]
    assert inputs.shape == (1, 2, 100, 17, 3)
    assert torch.isfinite(inputs).all()
    assert found[0]["data_samples"].gt_label.tolist() == [1]


def test_a_merged_data_set_trains_and_predicts(mmaction, tmp_path):
    """One step down and one prediction, without a NaN."""
    from mmengine.dataset import pseudo_collate

    clips = [
        sample_clip(f"{folder}/{i}.mp4", output_root=tmp_path) for folder in ("Fight", "NonFight") for i in range(6)
    ]
    for clip in clips:
        write_annotation(clip.annotation_path, [sample_annotation(2, 40, clip.relative)])
    merge_dataset(clips, tmp_path / "dataset.pkl")
    parts = {split: dataset(mmaction, tmp_path / "dataset.pkl", split, "train_pipeline") for split in ("train", "val")}
    assert (len(parts["train"]), len(parts["val"])) == (8, 2)
    model = mmaction.models.build(mmaction.config.model)
    data = model.data_preprocessor(pseudo_collate([parts["train"][0], parts["train"][1]]), True)
    losses = model.loss(**data)
    losses["loss_cls"].backward()
    assert torch.isfinite(losses["loss_cls"])
    model.eval()
    with torch.no_grad():
        scores = torch.stack([result.pred_score for result in model.predict(**data)])
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("layout", [Layout.PYSKL, Layout.PYSKL_HALF])
def test_converted_files_pass_too(mmaction, tmp_path, layout):
    """Without our extra keys, and in float16."""
    write_annotation(tmp_path / "a.pkl", [sample_annotation(3, 50)])
    convert_file(tmp_path / "a.pkl", tmp_path / "b.pkl", layout)
    first, second = (dataset(mmaction, tmp_path / name, "all", "val_pipeline")[0] for name in ("a.pkl", "b.pkl"))
    np.testing.assert_allclose(first["inputs"], second["inputs"], atol=5e-3)


@pytest.mark.skipif("FIGHTPOSE_ANNOTATIONS" not in os.environ, reason="needs FIGHTPOSE_ANNOTATIONS, an output folder")
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_real_outputs_pass_every_pipeline(mmaction, pipeline):
    """The files of a run over real clips, single ones and the merged one."""
    root = Path(os.environ["FIGHTPOSE_ANNOTATIONS"])
    files = [(path, "all") for path in root.rglob("*_enhanced_stgcn_annotation.pkl")]
    files += [(root / "dataset.pkl", "train")]
    assert len(files) > 1
    for path, split in files:
        found = dataset(mmaction, path, split, pipeline)
        for index in range(len(found)):
            assert torch.isfinite(found[index]["inputs"]).all(), path
