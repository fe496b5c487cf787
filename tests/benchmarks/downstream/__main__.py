"""Train STGCN++ on the first two people of each clip, chosen in different orders, and compare the accuracy.

    python -m tests.benchmarks.downstream --annotations FOLDER --sources sources.tsv [--seeds 3] [--json FILE]

FOLDER holds the annotation files of one run, made with a large --max-persons so that the orders differ in whom they
show: `rank` (the order in the file), `detector` (highest mean joint score first), `area` (largest box first) and
`random`. The source file has a line `clip<tab>source` per clip. Clips of one source are never on both sides of a
split: every clip is tested once, by a model that saw none of its source. The accuracy is that over all clips, per seed.

The model is mmaction2's STGCN++ (backbone STGCN, adaptive graph, multi-branch temporal convolution), by default
narrower and on fewer frames than published, because the data set is small and this runs on processors too. So
joints are given relative to where the two people are and how large, with their velocities beside them, and the loss
weighs both classes alike. As in the published recipe a clip is sampled anew each time it is shown, and the answer is
the mean over ten samplings. Everything is the same for all orders. Needs mmaction2 beside the project: `make
install-mmpose`, then `.venv/bin/pip install --no-deps mmaction2==1.2.0 einops zipp 'importlib_metadata<9'`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import read_annotation
from tasks.core.storage import write_json
from tests.benchmarks.downstream.missing_module import stand_in_for_missing

PEOPLE = 2
ORDERS = ("rank", "detector", "area", "random")

VIEWS = 10
"""Samplings of a clip over which its answer is the mean."""

VELOCITY_SCALE = 5.0
"""Brings the motion between two sampled frames to the size of the positions."""


def main() -> None:
    """Train and test under every order and seed, and print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="folder of one run's annotation files")
    parser.add_argument("--sources", type=Path, required=True, help="clip and source per line, tab between")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--frames", type=int, default=24, help="frames sampled from a clip")
    parser.add_argument("--channels", type=int, default=16, help="channels of the first stage; 64 as published")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    clips = load_clips(args.annotations, args.sources)
    labels = np.array([c["label"] for c in clips])
    print(f"{len(clips)} clips, {labels.mean():.2f} of them fights")  # noqa: T201
    result: dict[str, Any] = {}
    # One core a run: what a network of this size computes at once is too little for several.
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        pending = {
            order: [pool.submit(accuracy, clips, order, seed, args) for seed in range(args.seeds)] for order in ORDERS
        }
        accuracies = {order: [one.result() for one in started] for order, started in pending.items()}
    for order, runs in accuracies.items():
        result[order] = {"accuracy": float(np.mean(runs)), "std": float(np.std(runs)), "seeds": runs}
        text = " ".join(f"{run:.3f}" for run in runs)
        print(f"{order:10s} accuracy {np.mean(runs):.3f} +- {np.std(runs):.3f}   ({text})", flush=True)  # noqa: T201
    if args.json:
        write_json(args.json, {"downstream": result})


def load_clips(folder: Path, sources: Path) -> list[dict[str, Any]]:
    """Read the annotations of a folder, each with the source of its clip."""
    source = source_of(sources)
    clips = []
    for path in sorted(folder.rglob("*_enhanced_stgcn_annotation.pkl")):
        for annotation in read_annotation(path)["annotations"]:
            clips.append({**annotation, "source": source(annotation["frame_dir"])})
    return clips


def source_of(sources: Path) -> Callable[[str], str]:
    """Return a function from an annotation's identifier to the source of its clip: its own name if none is listed."""
    lines = [line.split("\t") for line in sources.read_text(encoding="utf-8").splitlines()]
    listed = {line[0]: line[1] for line in lines if len(line) >= 2}

    def source(frame_dir: str) -> str:
        """Look up the last part of an identifier."""
        stem = frame_dir.rsplit("/", 1)[-1]
        return listed.get(stem, stem)

    return source


def first_people(clip: dict[str, Any], order: str, seed: int) -> npt.NDArray[np.int64]:
    """Return the positions of the people whom an order shows."""
    count = len(clip["keypoint"])
    if order == "rank":
        return np.arange(count)[:PEOPLE]
    if order == "detector":
        seen = clip["keypoint_score"].max(-1) > 0
        score = clip["keypoint_score"].mean(-1).sum(-1) / np.maximum(seen.sum(-1), 1)
    elif order == "area":
        size = np.maximum(clip["bbox"][..., 2:] - clip["bbox"][..., :2], 0).prod(-1)
        score = size.sum(-1) / np.maximum((size > 0).sum(-1), 1)
    else:
        # The clip's name in the seed: another clip, another order.
        score = np.random.default_rng([seed, *clip["frame_dir"].encode()]).random(count)
    return np.argsort(-score, kind="stable")[:PEOPLE]


def tensor_of(clip: dict[str, Any], order: str, seed: int) -> npt.NDArray[np.float32]:
    """Return the joints of a clip's first people, (PEOPLE, T, 17, 3): x, y, and the joint score.

    x and y count from the median of all joints, in diagonals of the median box: where the camera stands teaches nothing
    about a fight, and a hundred clips are too few to find that out.
    """
    people = first_people(clip, order, seed)
    score = clip["keypoint_score"][people].astype(np.float32)
    joints = clip["keypoint"][people].astype(np.float32)
    extent = np.maximum(clip["bbox"][people][..., 2:] - clip["bbox"][people][..., :2], 0)
    diagonal = np.linalg.norm(extent, axis=-1)
    seen = score > 0
    if seen.any():
        joints = (joints - np.median(joints[seen], axis=0)) / np.median(diagonal[diagonal > 0])
    out = np.zeros((PEOPLE, *score.shape[1:], 3), np.float32)
    out[: len(people)] = np.concatenate([np.where(seen[..., None], joints, 0), score[..., None]], -1)
    return out


def sampled(
    clip: npt.NDArray[np.float32], frames: int, rng: np.random.Generator | None = None
) -> npt.NDArray[np.float32]:
    """Return so many frames of a clip (PEOPLE, T, 17, 3): one at random from each of equal parts, or evenly spaced."""
    total = clip.shape[1]
    if rng is None:
        return clip[:, np.linspace(0, total - 1, frames).round().astype(int)]
    part = total / frames
    return clip[:, np.minimum(((np.arange(frames) + rng.random(frames)) * part).astype(int), total - 1)]


def with_velocity(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (N, PEOPLE, frames, 17, 5): x, y, score, and the motion since the frame before where both are seen."""
    seen = x[..., 2] > 0
    velocity = np.zeros_like(x[..., :2])
    both = (seen[:, :, 1:] & seen[:, :, :-1])[..., None]
    velocity[:, :, 1:] = np.where(both, np.diff(x[..., :2], axis=2), 0) * VELOCITY_SCALE
    return np.concatenate([x, velocity], -1)


def folds_of(clips: list[dict[str, Any]], count: int) -> npt.NDArray[np.int64]:
    """Assign whole sources to folds, largest first, each to the fold with the fewest clips; the same for all orders."""
    names, size = np.unique([c["source"] for c in clips], return_counts=True)
    fold, filled = {}, np.zeros(count, int)
    for name, clips_of_source in sorted(zip(names, size, strict=True), key=lambda item: -item[1]):
        fold[name] = int(filled.argmin())
        filled[fold[name]] += clips_of_source
    return np.array([fold[c["source"]] for c in clips])


def accuracy(clips: list[dict[str, Any]], order: str, seed: int, args: argparse.Namespace) -> float:
    """Train one model per fold and return the share of all clips that the model without their source gets right."""
    import torch

    torch.set_num_threads(1)
    x = [tensor_of(c, order, seed) for c in clips]
    y = np.array([int(c["label"]) for c in clips])
    fold = folds_of(clips, args.folds)
    right = np.zeros(len(clips), bool)
    for f in np.unique(fold):
        train_rows, test_rows = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        model = train([x[i] for i in train_rows], y[train_rows], seed, args)
        right[test_rows] = predict(model, [x[i] for i in test_rows], args.frames) == y[test_rows]
    return float(right.mean())


def train(x: list[npt.NDArray[np.float32]], y: npt.NDArray[Any], seed: int, args: argparse.Namespace) -> Any:
    """Train STGCN++ with SGD, cosine schedule, mirrored and scaled copies."""
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = build(args.channels)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = args.epochs * -(-len(x) // 16)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    # Whole sources are left out, so that the classes' shares differ from fold to fold.
    weight = torch.tensor([0.5 / np.mean(y == label) for label in (0, 1)], dtype=torch.float32)
    model.train()
    for _ in range(args.epochs):
        for rows in np.array_split(rng.permutation(len(x)), -(-len(x) // 16)):
            batch = augment(np.stack([sampled(x[i], args.frames, rng) for i in rows]), rng)
            scores = model(torch.as_tensor(with_velocity(batch)))
            loss = torch.nn.functional.cross_entropy(scores, torch.as_tensor(y[rows]), weight=weight)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model


def augment(x: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Mirror half of the clips, scale and shift all, and exchange the two people at random."""
    x = x.copy()
    flip = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    mirrored = rng.random(len(x)) < 0.5
    x[mirrored] = x[mirrored][:, :, :, flip] * np.array([-1, 1, 1], np.float32)
    swapped = rng.random(len(x)) < 0.5
    x[swapped] = x[swapped][:, ::-1]
    scale = rng.uniform(0.8, 1.2, (len(x), 1, 1, 1, 1)).astype(np.float32)
    shift = rng.uniform(-0.2, 0.2, (len(x), 1, 1, 1, 2)).astype(np.float32)
    x[..., :2] = np.where(x[..., 2:] > 0, x[..., :2] * scale + shift, 0)
    return x


def predict(model: Any, x: list[npt.NDArray[np.float32]], frames: int) -> npt.NDArray[np.int64]:
    """Return the class of each clip, by the mean over samplings."""
    import torch

    model.eval()
    rng = np.random.default_rng(0)
    total = torch.zeros(len(x), 2)
    with torch.no_grad():
        for view in range(VIEWS):
            batch = np.stack([sampled(clip, frames, rng if view else None) for clip in x])
            total += torch.softmax(model(torch.as_tensor(with_velocity(batch))), 1)
    return np.asarray(total.argmax(1).numpy())


def build(channels: int) -> Any:
    """Return mmaction2's STGCN++ backbone with a mean over time, joints and people, and one linear layer."""
    import torch

    stand_in_for_missing()
    from mmaction.models.backbones import STGCN

    class Recogniser(torch.nn.Module):
        """Backbone and classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = STGCN(
                graph_cfg={"layout": "coco", "mode": "spatial"},
                in_channels=5,
                base_channels=channels,
                num_person=PEOPLE,
                gcn_adaptive="init",
                gcn_with_res=True,
                tcn_type="mstcn",
            )
            self.classify = torch.nn.Linear(4 * channels, 2)

        def forward(self, x: Any) -> Any:
            """Return the scores (N, 2) of clips (N, M, T, V, 5)."""
            return self.classify(self.backbone(x).mean((1, 3, 4)))

    return Recogniser()


if __name__ == "__main__":
    main()
