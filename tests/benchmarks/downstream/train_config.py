"""Train by a config of `fightpose training` and write the scores of its test split; runs in mmaction2's environment.

    python -m tests.benchmarks.downstream.train_config CONFIG FOLDER SCORES.json SEED CHANNELS

The scores are a list per clip, in the order of the split.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

from tests.benchmarks.downstream.missing_module import stand_in_for_missing


def main() -> None:
    """Train, test, write."""
    path, folder, answer, seed, channels = sys.argv[1:]
    stand_in_for_missing()
    from mmengine.config import Config
    from mmengine.runner import Runner

    config = Config.fromfile(path)
    config.work_dir = folder
    config.randomness = {"seed": int(seed)}
    config.model.backbone.base_channels = int(channels)
    config.model.cls_head.in_channels = 4 * int(channels)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        config[name].update(num_workers=0, persistent_workers=False)
    # Nothing is chosen by what is tested on: no validation, and the last state is what is tested.
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.default_hooks.checkpoint = {"type": "CheckpointHook", "interval": -1, "save_last": False}
    dump = Path(folder) / "predictions.pkl"
    config.test_evaluator = [{"type": "AccMetric"}, {"type": "DumpResults", "out_file_path": str(dump)}]
    runner = Runner.from_cfg(config)
    runner.train()
    runner.test()
    # Written a moment ago by this process.
    predictions = pickle.loads(dump.read_bytes())
    scores = [[float(score) for score in one["pred_score"]] for one in predictions]
    Path(answer).write_text(json.dumps(scores), encoding="utf-8")


if __name__ == "__main__":
    main()
