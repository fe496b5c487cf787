r"""Train the configs that `fightpose training` writes, with mmaction2 as users run it, and give the accuracy.

    python -m tests.benchmarks.downstream.shipped --dataset OUT/dataset.pkl --sources sources.tsv \
        --client .venv-client/bin/python [--seeds 3] [--channels 16] [--json FILE]

Folds, and what counts as right, are those of `tests.benchmarks.downstream`: every clip is tested once, by models that
saw none of its source. The streams of joints and of their motion are trained apart and their scores added. Changed in
the configs are the width (64 channels as published; 16 by default, as in the other benchmark), what a processor needs
(one thread, no helper processes), and that no checkpoint is chosen by a validation split: the last one is tested. The
client is an environment with mmaction2, as `make test-client` makes it; `train_config.py` beside this file runs there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import read_annotation, write_annotation
from tasks.core.storage import write_json
from tasks.training.configs import STREAMS, plan_training, write_configs
from tests.benchmarks.downstream.__main__ import folds_of, source_of

SCRIPT = "tests.benchmarks.downstream.train_config"
ROOT = Path(__file__).parents[3]


def main() -> None:
    """Train and test every fold, stream and seed, and print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="merged file of a run")
    parser.add_argument("--sources", type=Path, required=True, help="clip and source per line, tab between")
    parser.add_argument("--client", type=Path, required=True, help="Python with mmaction2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--channels", type=int, default=16, help="channels of the first stage; 64 as published")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    data = read_annotation(args.dataset)
    source = source_of(args.sources)
    clips = [{**one, "source": source(one["frame_dir"])} for one in data["annotations"]]
    fold = folds_of(clips, args.folds)
    labels = np.array([int(one["label"]) for one in clips])
    scores: dict[tuple[str, int], npt.NDArray[np.float64]] = {}
    with tempfile.TemporaryDirectory(prefix="fightpose-") as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        pending = {}
        for number in range(args.folds):
            configs = write_fold(data, fold == number, Path(scratch) / f"fold-{number}")
            for seed in range(args.seeds):
                for stream in STREAMS:
                    folder = Path(scratch) / f"{stream}-{number}-{seed}"
                    pending[stream, seed, number] = pool.submit(run, configs[stream], folder, seed, args)
        for (stream, seed, number), started in pending.items():
            # In the order of the test split, which is that of the clips.
            scores.setdefault((stream, seed), np.zeros((len(clips), 2)))[fold == number] = started.result()
    result: dict[str, Any] = {}
    ways = {**{stream: (stream,) for stream in STREAMS}, "joined": tuple(STREAMS)}
    for way, streams in ways.items():
        runs = [
            float((sum(scores[stream, seed] for stream in streams).argmax(1) == labels).mean())
            for seed in range(args.seeds)
        ]
        result[way] = {"accuracy": float(np.mean(runs)), "std": float(np.std(runs)), "seeds": runs}
        text = " ".join(f"{run:.3f}" for run in runs)
        print(f"{way:13s} accuracy {np.mean(runs):.3f} +- {np.std(runs):.3f}   ({text})", flush=True)  # noqa: T201
    if args.json:
        write_json(args.json, {"shipped": result})


def write_fold(data: dict[str, Any], tested: npt.NDArray[np.bool_], folder: Path) -> dict[str, Path]:
    """Write a data set that tests on some of the clips, and its configs; return the latter by stream."""
    names = [str(one["frame_dir"]) for one in data["annotations"]]
    split = {
        "train": [name for name, out in zip(names, tested, strict=True) if not out],
        "test": [name for name, out in zip(names, tested, strict=True) if out],
    }
    path = folder / "dataset.pkl"
    write_annotation(path, data["annotations"], split, data.get("classes"))
    configs = write_configs(plan_training(path, read_annotation(path)), folder)
    return {stream: next(path for path in configs if path.name == f"mmaction2_{stream}.py") for stream in STREAMS}


def run(config: Path, folder: Path, seed: int, args: argparse.Namespace) -> npt.NDArray[np.float64]:
    """Train and test one config in the client's environment and return the scores of the tested clips, (N, 2)."""
    folder.mkdir()
    answer = folder / "scores.json"
    command = [args.client.absolute(), "-m", SCRIPT, config, folder, answer, str(seed), str(args.channels)]
    # One core a run: what a network of this size computes at once is too little for several.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # From the root, where the module is found; nothing else of this program is imported there.
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{config} failed: {done.stderr[-2000:]}")
    return np.array(json.loads(answer.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
