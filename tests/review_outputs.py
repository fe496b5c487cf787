"""Output roots for the tests of reviewing: annotations, receipts, manifest and data set, without a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.annotations.dataset import merge_dataset
from tasks.annotations.format import write_annotation
from tasks.clips.discovery import Clip, find_clip
from tasks.clips.manifest import read_manifests, write_manifest
from tasks.mapping.receipts import write_receipt
from tasks.mapping.summary import ClipSummary
from tasks.review.index import INDEX_VERSION, clip_id, review_folder
from tests.tasks.samples import sample_annotation
from tests.video_factory import plain_frames, write_video

KEY = "key-of-settings"


@dataclass
class Outputs:
    """An output root and its clips."""

    root: Path
    clips: list[Clip]

    def annotate(self, number: int, frames: int = 20) -> None:
        """Write the automatic annotation of a clip anew; IDs 1, 2, 3 are ranked 3, 2, 1."""
        clip = self.clips[number]
        annotation = sample_annotation(frames=frames)
        annotation |= {"frame_dir": clip.frame_dir, "label": clip.label}
        write_annotation(clip.annotation_path, [annotation])


def make_outputs(folder: Path, count: int, names: Sequence[str] = (), overlays: bool = False) -> Outputs:
    """Return an output root of annotated clips.

    Parameters
    ----------
    folder
        Inputs go to `set` in it, outputs to `out`.
    count
        Number of clips; the first half lies in `Fight`.
    names
        File names in place of `clip0.mp4`, `clip1.mp4`, ...
    overlays
        Whether overlay videos are written, too (20 frames of 128x96).
    """
    source, root = folder / "set", folder / "out"
    paths = []
    for number in range(count):
        name = names[number] if number < len(names) else f"clip{number}.mp4"
        path = source / ("Fight" if number < (count + 1) // 2 else "Walk") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if overlays:
            # A real clip, from which the overlay can be drawn again.
            write_video(path, plain_frames(20, 128, 96))
        else:
            path.write_bytes(b"clip")
        paths.append(path)
    clips = [find_clip(path, source, root) for path in paths]
    write_manifest(root, source, clips)
    outputs = Outputs(root, clips)
    for number, clip in enumerate(clips):
        outputs.annotate(number)
        if overlays:
            write_video(clip.overlay_path, plain_frames(20, 128, 96))
        summary = ClipSummary(20, 3, [(3, 0.9), (2, 0.5)], {"poses": 1.0}, extracted=True)
        write_receipt(clip, root, "0" * 64, KEY, overlays, summary)
    merge_dataset(read_manifests(root), root / "dataset.pkl")
    return outputs


def make_many(folder: Path, count: int, hostile: Sequence[str] = ()) -> Path:
    """Return an output root of very many clips whose annotations were indexed once, without their annotations' content.

    Parameters
    ----------
    folder
        Where it goes.
    count
        Number of clips besides the hostile ones.
    hostile
        Stems of further clips.
    """
    root = folder / "many"
    below = root / "set" / "Fight"
    below.mkdir(parents=True)
    stems = [f"clip{number:05d}" for number in range(count)] + list(hostile)
    clips = [{"path": f"Fight/{stem}.mp4", "stem": stem} for stem in stems]
    manifest = {"version": 1, "root": str(folder / "set"), "clips": clips}
    (root / "set" / "fightpose_inputs.json").write_text(json.dumps(manifest))
    rng = np.random.default_rng(0)
    rows = []
    for number, clip in enumerate(read_manifests(root)):
        # Real files: opening the index has to look at each of them.
        clip.annotation_path.write_bytes(b"x")
        status = clip.annotation_path.stat()
        gap, quality = rng.uniform(0, 0.3), rng.uniform(0.2, 0.9)
        reasons = (["close_ranks"] if gap < 0.05 else []) + (["low_quality"] if quality < 0.3 else [])
        rows.append(
            {
                "id": clip_id(clip.frame_dir), "clip": clip.frame_dir, "status": "annotated", "label": number % 2,
                "frames": 90, "fps": 30.0, "width": 640, "height": 360, "people": 3, "gap": round(gap, 4),
                "quality": round(quality, 4), "seen": 0.9, "filled": 0.1, "top": [[1, 0.71], [2, 0.63], [5, 0.4]],
                "uncertain": reasons, "suspects": int(number % 7 == 0), "likely": 0.5 * (number % 7 == 0),
                "poster": 45, "review": "",
                "stat": [status.st_size, status.st_mtime_ns],
            }
        )  # fmt: skip
    review_folder(root).mkdir(parents=True)
    (review_folder(root) / "index.json").write_text(json.dumps({"version": INDEX_VERSION, "rows": rows}))
    return root
