"""Ways to damage an output root, each as somebody or something may do it; sizes and times say nothing where they can.

Each function is given the output root and its clips, in the order of their identifiers.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tasks.annotations.dataset import read_split, split_path
from tasks.annotations.format import read_annotation, write_annotation
from tasks.clips.discovery import Clip
from tasks.clips.failures import log_failure
from tasks.clips.manifest import MANIFEST_NAME
from tasks.core.errors import FailureReason
from tasks.core.storage import WORK_FOLDER, write_text
from tasks.mapping.merged import DATASET_NAME
from tasks.video.reading import Image, decode_frames, probe_video
from tests.video_factory import write_video

Clips = Sequence[Clip]
Plant = Callable[[Path, Clips], None]
PLANTS: dict[str, Plant] = {}

# Keypoints of the left and right side, COCO order.
SIDES = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def plant(function: Plant) -> Plant:
    """Add a way to the table, under its name."""
    PLANTS[function.__name__.replace("_", " ")] = function
    return function


@contextmanager
def same_time(*paths: Path):
    """Give files the times of change that they had, as a rotting disk and a careful forger do."""
    times = [path.stat() for path in paths]
    yield
    for path, status in zip(paths, times, strict=True):
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path, data: bytes) -> None:
    """Write other bytes into a file."""
    with same_time(path):
        path.write_bytes(data)


def pictures(path: Path) -> list[Image]:
    """Return the frames of a video."""
    return [image for image, _ in decode_frames(probe_video(path))]


def edited(
    out: Path, clip: Clip, change: Callable[[dict[str, Any]], Any], own: bool = True, merged: bool = True
) -> None:
    """Change the annotation of a clip in its own file, in the data set, or in both."""
    files = [clip.annotation_path] * own + [out / DATASET_NAME] * merged
    for path in files:
        data = read_annotation(path)
        for annotation in data["annotations"]:
            if annotation["frame_dir"] == clip.frame_dir:
                change(annotation)
        with same_time(path):
            write_annotation(path, data["annotations"], data["split"])


def split_again(out: Path, change: Callable[[dict[str, list[str]]], dict[str, list[str]]], merged: bool = True) -> None:
    """Change the splits beside the data set, and in it."""
    path = out / DATASET_NAME
    split = change(read_split(path))
    with same_time(split_path(path)):
        write_text(split_path(path), json.dumps(split, indent=1) + "\n")
    if merged:
        with same_time(path):
            write_annotation(path, read_annotation(path)["annotations"], split)


# Overlays.


@plant
def overlays_exchanged(out: Path, clips: Clips) -> None:
    """Two clips of one container have each other's."""
    a, b = clips[0].overlay_path, clips[1].overlay_path
    first, second = a.read_bytes(), b.read_bytes()
    replaced(a, second)
    replaced(b, first)


@plant
def overlay_copied_over(out: Path, clips: Clips) -> None:
    """One clip has another's."""
    replaced(clips[0].overlay_path, clips[1].overlay_path.read_bytes())


@plant
def overlay_blackened(out: Path, clips: Clips) -> None:
    """As many frames, all black."""
    path = clips[0].overlay_path
    with same_time(path):
        write_video(path, [frame * 0 for frame in pictures(path)])


@plant
def overlay_bytes_flipped(out: Path, clips: Clips) -> None:
    """In the middle of the picture data: it decodes all the same."""
    data = bytearray(clips[0].overlay_path.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    replaced(clips[0].overlay_path, bytes(data))


@plant
def overlay_replaced_by_the_input(out: Path, clips: Clips) -> None:
    """Nothing is drawn in it."""
    replaced(clips[0].overlay_path, clips[0].path.read_bytes())


@plant
def overlay_linked_to_the_input(out: Path, clips: Clips) -> None:
    """As a clean-up to save space may do."""
    clips[0].overlay_path.unlink()
    clips[0].overlay_path.symlink_to(clips[0].path)


@plant
def overlay_linked_to_another(out: Path, clips: Clips) -> None:
    """As a clean-up of duplicates may do."""
    clips[0].overlay_path.unlink()
    clips[0].overlay_path.symlink_to(clips[1].overlay_path)


@plant
def overlay_cut_short(out: Path, clips: Clips) -> None:
    """Half of it is there."""
    data = clips[0].overlay_path.read_bytes()
    replaced(clips[0].overlay_path, data[: len(data) // 2])


@plant
def overlay_emptied(out: Path, clips: Clips) -> None:
    """No bytes are left."""
    replaced(clips[0].overlay_path, b"")


@plant
def overlay_gone(out: Path, clips: Clips) -> None:
    """Somebody deleted it."""
    clips[0].overlay_path.unlink()


@plant
def overlay_at_another_rate(out: Path, clips: Clips) -> None:
    """Make it play twice as fast."""
    path = clips[0].overlay_path
    with same_time(path):
        write_video(path, pictures(path), fps=50)


@plant
def overlay_of_other_frames(out: Path, clips: Clips) -> None:
    """As many frames in reverse order."""
    path = clips[0].overlay_path
    with same_time(path):
        write_video(path, pictures(path)[::-1])


# The data set.


@plant
def dataset_gone(out: Path, clips: Clips) -> None:
    """Somebody deleted it."""
    (out / DATASET_NAME).unlink()


@plant
def splits_gone(out: Path, clips: Clips) -> None:
    """Delete the file beside the data set."""
    split_path(out / DATASET_NAME).unlink()


@plant
def dataset_broken(out: Path, clips: Clips) -> None:
    """Write what is no pickle."""
    replaced(out / DATASET_NAME, b"broken")


@plant
def dataset_cut_short(out: Path, clips: Clips) -> None:
    """As a full disk leaves a copy."""
    data = (out / DATASET_NAME).read_bytes()
    replaced(out / DATASET_NAME, data[: len(data) // 2])


@plant
def splits_broken(out: Path, clips: Clips) -> None:
    """Write what is no JSON."""
    replaced(split_path(out / DATASET_NAME), b"{")


def _train_only(split: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return a split that trains on everything."""
    return {"train": sorted(name for names in split.values() for name in names), "val": [], "test": []}


@plant
def all_in_train(out: Path, clips: Clips) -> None:
    """In both files."""
    split_again(out, _train_only)


@plant
def all_in_train_beside_the_dataset(out: Path, clips: Clips) -> None:
    """In the file of splits only."""
    split_again(out, _train_only, merged=False)


@plant
def splits_renamed(out: Path, clips: Clips) -> None:
    """Other names in both files."""
    split_again(out, lambda split: {f"x{name}": members for name, members in split.items()})


@plant
def sides_exchanged(out: Path, clips: Clips) -> None:
    """Test on what was trained on."""
    split_again(out, lambda split: split | {"train": split["val"], "val": split["train"]})


@plant
def clip_struck_from_the_dataset(out: Path, clips: Clips) -> None:
    """From annotations and splits."""
    name, path = clips[0].frame_dir, out / DATASET_NAME
    split_again(out, lambda split: {side: [one for one in names if one != name] for side, names in split.items()})
    data = read_annotation(path)
    with same_time(path):
        write_annotation(path, [one for one in data["annotations"] if one["frame_dir"] != name], data["split"])


@plant
def dataset_emptied(out: Path, clips: Clips) -> None:
    """Write a sound file without clips."""
    with same_time(out / DATASET_NAME):
        write_annotation(out / DATASET_NAME, [], {"train": [], "val": [], "test": []})


# What consumers read.


@plant
def labels_flipped_in_both_files(out: Path, clips: Clips) -> None:
    """Of one clip."""
    edited(out, clips[0], lambda one: one.update(label=1 - one["label"]))


@plant
def all_labels_flipped(out: Path, clips: Clips) -> None:
    """In both files."""
    for clip in clips:
        edited(out, clip, lambda one: one.update(label=1 - one["label"]))


@plant
def label_flipped_in_its_own_file(out: Path, clips: Clips) -> None:
    """Leave the right one in the data set."""
    edited(out, clips[0], lambda one: one.update(label=1 - one["label"]), merged=False)


@plant
def label_flipped_in_the_dataset(out: Path, clips: Clips) -> None:
    """Its own file has the right one."""
    edited(out, clips[0], lambda one: one.update(label=1 - one["label"]), own=False)


def _moved(one: dict[str, Any], change: Callable[[Any], Any]) -> None:
    """Change the joints that are there."""
    there = one["keypoint_score"] > 0
    one["keypoint"][there] = change(one["keypoint"][there])


@plant
def keypoints_shifted(out: Path, clips: Clips) -> None:
    """By three pixels, in both files."""
    edited(out, clips[0], lambda one: _moved(one, lambda joints: joints + 3))


@plant
def keypoints_scaled(out: Path, clips: Clips) -> None:
    """By a tenth, in both files."""
    edited(out, clips[0], lambda one: _moved(one, lambda joints: joints * np.float32(0.9)))


@plant
def keypoints_with_x_and_y_exchanged(out: Path, clips: Clips) -> None:
    """In both files."""
    edited(out, clips[0], lambda one: _moved(one, lambda joints: joints[:, ::-1]))


@plant
def keypoints_with_left_and_right_exchanged(out: Path, clips: Clips) -> None:
    """In both files, the scores with them."""

    def mirrored(one: dict[str, Any]) -> None:
        """Exchange the sides."""
        one["keypoint"] = one["keypoint"][:, :, SIDES].copy()
        one["keypoint_score"] = one["keypoint_score"][:, :, SIDES].copy()

    edited(out, clips[0], mirrored)


@plant
def img_shape_doubled(out: Path, clips: Clips) -> None:
    """In both files."""

    def doubled(one: dict[str, Any]) -> None:
        """Double both sizes."""
        for key in ("img_shape", "original_shape"):
            one[key] = tuple(2 * size for size in one[key])

    edited(out, clips[0], doubled)


@plant
def keypoint_scores_lowered(out: Path, clips: Clips) -> None:
    """In both files."""
    edited(out, clips[0], lambda one: one.update(keypoint_score=one["keypoint_score"] * np.float32(0.5)))


@plant
def frames_reversed(out: Path, clips: Clips) -> None:
    """All arrays over frames, in both files."""

    def reversed_frames(one: dict[str, Any]) -> None:
        """Turn the time round."""
        for key in ("keypoint", "keypoint_score", "bbox", "filled"):
            one[key] = one[key][:, ::-1].copy()

    edited(out, clips[0], reversed_frames)


@plant
def people_exchanged(out: Path, clips: Clips) -> None:
    """Put the second person first, in both files."""

    def exchanged(one: dict[str, Any]) -> None:
        """Exchange the poses of the first two, and leave the scores in their order."""
        for key in ("keypoint", "keypoint_score", "bbox", "filled", "track_ids"):
            one[key] = one[key][::-1].copy()

    edited(out, clips[0], exchanged)


# What only this program reads; in the clip's own file.


def _own(key: str, change: Callable[[Any], Any]) -> Plant:
    """Return a plant that changes one value of a clip's own file."""
    return lambda out, clips: edited(out, clips[0], lambda one: one.update({key: change(one[key])}), merged=False)


def _first(parts: dict[str, Any]) -> dict[str, Any]:
    """Change the first part of a breakdown."""
    name = next(iter(parts))
    return parts | {name: np.float32(1) - parts[name]}


PLANTS |= {
    "boxes changed": _own("bbox", lambda boxes: boxes * np.float32(0.95)),
    "composite scores changed": _own("composite_scores", lambda scores: scores * np.float32(0.9)),
    "track IDs changed": _own("track_ids", lambda ids: ids + 7),
    "partner changed": _own("best_partner", lambda partners: partners * 0),
    "score breakdown changed": _own("score_breakdown", _first),
    "region breakdown changed": _own("region_breakdown", _first),
    "window scores changed": _own("window_scores", lambda scores: scores * np.float32(0.5)),
    "track quality changed": _own("track_quality", lambda quality: quality * np.float32(0.9)),
    "frame rate changed": _own("fps", lambda fps: fps + 0.5),
    "settings changed": _own("settings", lambda settings: settings | {"selection": {"max_persons": 9}}),
    "settings emptied": _own("settings", lambda settings: {}),
    "provenance changed": _own("provenance", lambda made: made | {"model": "another"}),
    "provenance emptied": _own("provenance", lambda made: {}),
    "a key added": lambda out, clips: edited(out, clips[0], lambda one: one.update(remark="x"), merged=False),
}


@plant
def annotations_exchanged(out: Path, clips: Clips) -> None:
    """Two clips have each other's."""
    a, b = clips[0].annotation_path, clips[1].annotation_path
    first, second = a.read_bytes(), b.read_bytes()
    replaced(a, second)
    replaced(b, first)


@plant
def annotation_gone(out: Path, clips: Clips) -> None:
    """Somebody deleted it."""
    clips[0].annotation_path.unlink()


# Inputs, failures and records.


@plant
def list_of_inputs_gone(out: Path, clips: Clips) -> None:
    """Without it nobody knows what is missing."""
    next(out.glob(f"*/{MANIFEST_NAME}")).unlink()


def _strike(out: Path, clip: Clip) -> None:
    """Take a clip out of the list of inputs."""
    path = next(out.glob(f"*/{MANIFEST_NAME}"))
    value = json.loads(path.read_bytes())
    value["clips"] = [entry for entry in value["clips"] if entry["path"] != clip.relative]
    with same_time(path):
        path.write_text(json.dumps(value), encoding="utf-8")


@plant
def clip_struck_from_the_list(out: Path, clips: Clips) -> None:
    """Its outputs are there."""
    _strike(out, clips[0])


@plant
def clip_struck_with_its_outputs(out: Path, clips: Clips) -> None:
    """Nothing is left of it but the input."""
    _strike(out, clips[0])
    clips[0].annotation_path.unlink()
    clips[0].overlay_path.unlink()


@plant
def forged_failure_over_a_rotten_annotation(out: Path, clips: Clips) -> None:
    """Write into the log that the clip failed."""
    replaced(clips[0].annotation_path, b"rotten")
    log_failure(out, clips[0].path, clips[0].frame_dir, FailureReason.NO_TRACKS)


@plant
def forged_failure_over_a_rotten_overlay(out: Path, clips: Clips) -> None:
    """Write into the log that the clip failed."""
    replaced(clips[0].overlay_path, b"rotten")
    log_failure(out, clips[0].path, clips[0].frame_dir, FailureReason.NO_TRACKS)


@plant
def forged_failure_of_a_sound_clip(out: Path, clips: Clips) -> None:
    """Write a line for which the next merge leaves the clip out."""
    log_failure(out, clips[0].path, clips[0].frame_dir, FailureReason.NO_TRACKS)


@plant
def receipts_gone(out: Path, clips: Clips) -> None:
    """All of them."""
    shutil.rmtree(out / WORK_FOLDER / "receipts")


@plant
def receipt_gone(out: Path, clips: Clips) -> None:
    """One of them."""
    (out / WORK_FOLDER / "receipts" / f"{clips[0].frame_dir}.json").unlink()


@plant
def receipts_exchanged(out: Path, clips: Clips) -> None:
    """Each vouches for another's outputs."""
    paths = [out / WORK_FOLDER / "receipts" / f"{clip.frame_dir}.json" for clip in clips[:2]]
    first, second = (path.read_bytes() for path in paths)
    paths[0].write_bytes(second)
    paths[1].write_bytes(first)


@plant
def output_without_input(out: Path, clips: Clips) -> None:
    """Copy one under another name."""
    shutil.copy2(clips[0].annotation_path, clips[0].annotation_path.with_name("z_enhanced_stgcn_annotation.pkl"))


@plant
def second_overlay(out: Path, clips: Clips) -> None:
    """Copy it into another container."""
    shutil.copy2(clips[0].overlay_path, clips[0].overlay_path.with_suffix(".mov"))
