"""What mmaction2 makes of annotation files: run by the interpreter of its own environment, with nothing of ours in it.

    python mmaction_runs.py REQUEST.json ANSWER.json

The request is `{"passes": [[file, split], ...], "pairs": [[file, file], ...], "training": file or null, "configs":
[file, ...]}`. In the answer are, for each pass and pipeline, the number of clips, the shapes of the network's inputs,
whether they are finite, and the labels; for each pair the largest difference between the inputs of the files; the
losses and scores of one step of training and of prediction on a merged data set; and what each config came to.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

CONFIG = "skeleton/stgcnpp/stgcnpp_8xb16-joint-u100-80e_ntu60-xsub-keypoint-2d.py"
PIPELINES = ("train_pipeline", "val_pipeline", "test_pipeline")


def start() -> Any:
    """Return mmaction2's registries and its published STGCN++ configuration for two classes."""
    # The wheel of 1.2.0 lacks this subpackage, which nothing of STGCN++ uses but its import does.
    for name in ("mmaction.models.localizers.drn", "mmaction.models.localizers.drn.drn"):
        module = types.ModuleType(name)
        module.DRN = type("DRN", (), {})  # type: ignore[attr-defined]
        module.__path__ = []
        sys.modules[name] = module
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
                # Ten clips of each video, as published for testing, say no more and take ten times as long.
                step["num_clips"] = 1
    return types.SimpleNamespace(datasets=DATASETS, models=MODELS, config=config)


def opened(client: Any, path: str, split: str, pipeline: str) -> Any:
    """Open a file as mmaction2 does for training or testing."""
    return client.datasets.build(
        {
            "type": "PoseDataset",
            "ann_file": path,
            "pipeline": client.config[pipeline],
            "split": split,
            "test_mode": pipeline != "train_pipeline",
        }
    )


def passed(client: Any, path: str, split: str, pipeline: str) -> dict[str, Any]:
    """Return what a pipeline makes of every clip of a split."""
    import torch

    dataset = opened(client, path, split, pipeline)
    items = [dataset[index] for index in range(len(dataset))]
    return {
        "file": path,
        "split": split,
        "pipeline": pipeline,
        "shapes": sorted({str(tuple(item["inputs"].shape)) for item in items}),
        "finite": all(bool(torch.isfinite(item["inputs"]).all()) for item in items),
        "labels": [int(item["data_samples"].gt_label) for item in items],
        "names": [dataset.get_data_info(index)["frame_dir"] for index in range(len(dataset))],
    }


def difference(client: Any, first: str, second: str) -> float:
    """Return the largest difference between the network's inputs of two files of one clip each."""
    one, other = (opened(client, path, "all", "val_pipeline")[0]["inputs"] for path in (first, second))
    return float((one - other).abs().max())


def trained(client: Any, path: str) -> dict[str, Any]:
    """Take one step of training and predict the validation split before and after it."""
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import OptimWrapper

    torch.manual_seed(0)
    train, val = (opened(client, path, name, f"{name}_pipeline") for name in ("train", "val"))
    model = client.models.build(client.config.model)
    optimiser = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model.train()
    losses = model.train_step(pseudo_collate([train[index] for index in range(len(train))]), optimiser)
    moved = any(bool((old != new).any()) for old, new in zip(before, model.parameters(), strict=True))
    model.eval()
    with torch.no_grad():
        results = model.val_step(pseudo_collate([val[index] for index in range(len(val))]))
    return {
        "loss": float(losses["loss"]),
        "moved": moved,
        "scores": [result.pred_score.tolist() for result in results],
    }


def run_config(path: str, folder: str, epochs: int) -> dict[str, Any]:
    """Train and test by a config of `fightpose training`, as mmaction2's own tools do, for a few epochs."""
    from mmengine.config import Config
    from mmengine.runner import Runner

    config = Config.fromfile(path)
    config.work_dir = folder
    config.train_cfg.max_epochs = epochs
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        # In this process: starting workers takes longer than what they do here.
        config[name].update(num_workers=0, persistent_workers=False)
    # Once and in one sample each: repeats say no more here, and a processor takes minutes for them.
    config.train_dataloader.dataset.times = 1
    for step in config.test_dataloader.dataset.pipeline:
        if step["type"] == "UniformSampleFrames":
            step["num_clips"] = 1
    runner = Runner.from_cfg(config)
    runner.train()
    measured = runner.test()
    return {"config": path, "epochs": runner.epoch, "measured": {key: float(value) for key, value in measured.items()}}


def main() -> None:
    """Answer one request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    client = start()
    answer = {
        "passes": [passed(client, *pair, pipeline) for pair in request["passes"] for pipeline in PIPELINES],
        "pairs": [difference(client, *pair) for pair in request["pairs"]],
        "training": trained(client, request["training"]) if request["training"] else None,
        "runs": [run_config(path, f"run{number}", 2) for number, path in enumerate(request["configs"])],
    }
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
