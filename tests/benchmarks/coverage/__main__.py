"""Print how many labelled people each way of looking finds, and what it costs.

    python -m tests.benchmarks.coverage --clips FOLDER --labels FILE [--model M]... [--poses NAME=FOLDER]...
        [--empty FOLDER] [--json FILE] [--pictures FOLDER] [--keep FOLDER]

`--model` takes what `fightpose annotate --model` takes, and `default`, which stands for the shipped one. `cost` is the
sum of input sizes as a multiple of one pass of the same model over every frame, `cpu` the measured processor time as a
multiple of the first model's one pass. A model whose input is fixed takes one pass by default.
`ghost_s` is the longest track in clips without people: drawn ones, and those of the folder `--empty`. `--poses` puts
cached detections (npz, one per clip) into the same table, `--keep` keeps and reuses what was found.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tasks.core.choices import SecondLook
from tasks.core.records import Poses
from tasks.core.settings import PoseSettings, Settings
from tasks.poses import extract_poses, load_model, resolve_model
from tasks.poses.detections import Detections
from tasks.poses.models import PoseModel
from tasks.poses.second_look import Zoom
from tasks.tracking import track_people
from tasks.tracking.occlusion import end_at_nearer
from tasks.video.reading import Image, decode_frames, probe_video
from tests.benchmarks.coverage.empty_scenes import write_empty_scenes
from tests.benchmarks.coverage.measures import count_frames, count_tracked, longest_track_s, shares
from tests.benchmarks.labelled import Label, by_area, dense_boxes, load_labels, load_poses, score_clip, totals

VARIANTS = {
    "default": PoseSettings(),
    "auto, budget 1.3": PoseSettings(second_look=SecondLook.AUTO, look_budget=1.3),
    "one pass": PoseSettings(second_look=SecondLook.OFF),
    "always": PoseSettings(second_look=SecondLook.ALWAYS),
}
"""Ways of looking; `default` is what ships."""

SHIPPED = PoseSettings().model

COLOURS = {"fighter": (60, 60, 255), "bystander": (60, 200, 60), "unsure": (180, 180, 180)}
WORST = 12


class Counted:
    """A model that adds up what it is asked to look at; its unit is one pass over a frame."""

    def __init__(self, model: PoseModel) -> None:
        self._model = model
        self.batch_size = model.batch_size
        self.spent = 0.0

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find people, and count one pass per image."""
        self.spent += len(images)
        return self._model.detect(images)


class CountedZoom:
    """As `Counted`, for a model whose input size can be chosen."""

    def __init__(self, model: Zoom, width: int, height: int) -> None:
        self._model = model
        self._unit = model.cost(width, height)
        self.batch_size = getattr(model, "batch_size", 8)
        self.sure_score, self.tile_side, self.crop_side = model.sure_score, model.tile_side, model.crop_side
        self.spent = 0.0

    def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
        """Find people, and count each image by its input size."""
        self.spent += sum(self.cost(image.shape[1], image.shape[0], long_side) for image in images) / self._unit
        return self._model.detect(images, long_side)

    def cost(self, width: int, height: int, long_side: int | None = None) -> float:
        """Return what the model says."""
        return self._model.cost(width, height, long_side)


@dataclass(frozen=True)
class Found:
    """What was found in a clip, and what that cost: passes over a frame, per frame, and processor seconds per frame."""

    poses: Poses
    cost: float
    cpu: float


def find(path: Path, model: PoseModel, settings: Settings, keep: Path) -> Found:
    """Return what a variant finds in a clip, from the folder of kept poses where it is there."""
    kept = keep / f"{path.name}.npz"
    notes = keep / f"{path.name}.json"
    if not notes.is_file():
        video = probe_video(path)
        counted = CountedZoom(model, video.width, video.height) if isinstance(model, Zoom) else Counted(model)
        start = time.process_time()
        poses = extract_poses(video, counted, settings.poses)
        cpu = time.process_time() - start
        poses.save(kept)
        notes.write_text(json.dumps([counted.spent / poses.frame_count, cpu / poses.frame_count]))
    cost, cpu = json.loads(notes.read_text())
    return Found(Poses.load(kept), cost, cpu)


def judge(found: dict[str, Found], labels: dict[str, Label], settings: Settings) -> dict[str, float]:
    """Return the figures of one variant over all labelled clips."""
    count: Counter[str] = Counter()
    scores = []
    min_length = settings.selection.min_track_length
    for clip, label in labels.items():
        poses = found[clip].poses
        tracks = end_at_nearer(track_people(poses, settings.tracking))
        count += count_frames(poses, label) + count_tracked(tracks, label, min_length)
        scores.append(score_clip(dense_boxes(tracks, by_area(tracks, min_length)), label))
    ranked = totals(scores)
    return shares(count) | {
        "oracle": ranked["oracle"],
        "identity_kept": ranked["identity_kept"],
        "cost": float(np.mean([one.cost for one in found.values()])),
        "cpu": float(np.mean([one.cpu for one in found.values()])),
    }


def run_model(
    name: str, clips: Path, labels: dict[str, Label], empty: Sequence[Path], keep: Path, pictures: Path | None
) -> Iterator[tuple]:
    """Yield name and figures of each variant of a model; `empty` are clips without people."""
    entry = resolve_model(name)
    model = load_model(name)
    # Where the input is fixed, `auto` is one pass whatever the budget.
    variants = VARIANTS if isinstance(model, Zoom) else {key: VARIANTS[key] for key in ("default", "always")}
    for variant, poses in variants.items():
        settings = Settings(poses=poses.model_copy(update={"model": name})).resolve(entry.thresholds)
        folder = keep / entry.name / variant
        folder.mkdir(parents=True, exist_ok=True)
        found = {clip: find(clips / clip, model, settings, folder) for clip in labels}
        figures = judge(found, labels, settings)
        ghosts = [track_people(find(path, model, settings, folder).poses, settings.tracking) for path in empty]
        figures["ghost_s"] = max(longest_track_s(tracks, settings.selection.min_track_length) for tracks in ghosts)
        if pictures is not None and variant == "default":
            draw_worst(clips, found, labels, pictures / entry.name)
        yield (variant if name == SHIPPED else f"{entry.name}: {variant}"), figures


def draw_worst(clips: Path, found: dict[str, Found], labels: dict[str, Label], folder: Path) -> None:
    """Write pictures of the labelled frames with the most fighters that nobody covers: labels thick, found thin."""
    folder.mkdir(parents=True, exist_ok=True)
    missed = []
    for clip, label in labels.items():
        for frame, people in label.frames.items():
            count = count_frames(found[clip].poses, Label(clip, label.source, {frame: people}))
            missed.append((count["frame fighter covered"] - count["frame fighter"], clip, frame))
    for _, clip, frame in sorted(missed)[:WORST]:
        image = next(f.image for i, f in enumerate(decode_frames(probe_video(clips / clip))) if i == frame)
        for person in labels[clip].frames[frame]:
            x1, y1, x2, y2 = map(int, person["box"])
            cv2.rectangle(image, (x1, y1), (x2, y2), COLOURS[person["role"]], 3)
        poses = found[clip].poses
        for row in np.flatnonzero(poses.frame_index == frame):
            x1, y1, x2, y2 = map(int, poses.bbox[row])
            cv2.rectangle(image, (x1, y1), (x2, y2), (255, 255, 0), 1)
            cv2.putText(image, f"{poses.score[row]:.2f}", (x1, y1 + 12), 0, 0.4, (0, 255, 255), 1)
        cv2.imwrite(str(folder / f"{Path(clip).stem}-{frame}.png"), image)


def print_table(rows: dict[str, dict[str, float]]) -> None:
    """Print the variants; a star marks those that no other beats in both cost and fighters after tracking."""
    names = ["fighters", "bystanders", "fighters_tracked", "bystanders_tracked", "oracle", "identity_kept"]
    names += ["people_per_frame", "doubles", "ghost_s", "cost", "cpu"]
    print(f"{'variant':28s}" + "".join(f"{name[:13]:>14s}" for name in names))  # noqa: T201
    for variant, figures in rows.items():
        beaten = any(
            other.get("cost", np.inf) <= figures.get("cost", -np.inf)
            and other["fighters_tracked"] > figures["fighters_tracked"]
            for other in rows.values()
        )
        cells = "".join(f"{figures[name]:14.3f}" if name in figures else f"{'-':>14s}" for name in names)
        print(f"{variant:26s}{' ' if beaten or 'cost' not in figures else '*':2s}{cells}")  # noqa: T201


def main() -> None:
    """Parse the arguments, run the variants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--model", action="append")
    parser.add_argument("--poses", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--empty", type=Path, help="folder of clips without people")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    labels = load_labels(args.labels)
    models = [SHIPPED if model == "default" else model for model in args.model or [SHIPPED]]
    if len({resolve_model(model).name for model in models}) < len(models):
        parser.error("two models have the same name; rename one file")
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        keep = args.keep or Path(scratch)
        keep.mkdir(parents=True, exist_ok=True)
        empty = write_empty_scenes(keep)
        empty += sorted(path for path in args.empty.iterdir() if path.is_file()) if args.empty else []
        for model in models:
            rows |= run_model(model, args.clips, labels, empty, keep, args.pictures)
        first = next(iter(rows))
        # A model whose input is fixed takes one pass by default.
        one_pass = rows.get(first.removesuffix("default") + "one pass", rows[first])["cpu"]
        rows = {variant: row | {"cpu": row["cpu"] / one_pass} for variant, row in rows.items()}
    settings = Settings().resolve(resolve_model(SHIPPED).thresholds)
    for name, _, folder in (item.partition("=") for item in args.poses):
        cached = {clip: Found(load_poses(Path(folder) / f"{Path(clip).stem}.npz"), np.nan, np.nan) for clip in labels}
        # What cached detections cost is not known, and NaN is not JSON.
        rows[name] = {key: value for key, value in judge(cached, labels, settings).items() if np.isfinite(value)}
    print_table(rows)
    if args.json:
        # A figure that no clip can tell is left out: NaN is not JSON.
        known = {name: {key: x for key, x in row.items() if np.isfinite(x)} for name, row in rows.items()}
        args.json.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
