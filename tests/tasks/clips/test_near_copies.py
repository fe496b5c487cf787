"""Copies of a video whose bytes differ: recompressed, shrunk, squeezed, cut, at another frame rate."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tasks.annotations.dataset import read_split
from tasks.annotations.format import write_annotation
from tasks.clips.manifest import write_manifest
from tasks.clips.near_copies import near_copies, near_warnings
from tasks.core.settings import DatasetSettings
from tasks.mapping.merged import merge_outputs
from tasks.poses.fingerprint import MOST, Fingerprint
from tasks.poses.stored import poses_of_content
from tasks.video.reading import Frame
from tests.tasks.samples import SETTINGS, sample_annotation, sample_clip, sample_tracks

FPS, SIZE, FRAMES = 24, (320, 240), 60
Picture = np.ndarray


def scene(people: int, camera: int = 0) -> list[Picture]:
    """Return frames of a fixed camera: its background, and people who walk their own ways."""
    background = np.random.default_rng(camera).integers(40, 200, (6, 8, 3)).astype(np.uint8)
    still = cv2.resize(background, SIZE, interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(100 + people)
    # Each person swings about a place, at a pace of their own.
    place, pace, start = rng.uniform(0.2, 0.8, (3, 2)), rng.uniform(1, 4, 3), rng.uniform(0, 6, 3)
    frames = []
    for number in range(FRAMES):
        image = still.copy()
        for (x, y), speed, phase in zip(place, pace, start, strict=True):
            centre = int((x + 0.15 * np.sin(speed * number / FPS + phase)) * SIZE[0]), int(y * SIZE[1])
            cv2.ellipse(image, centre, (14, 40), 0, 0, 360, (int(255 * x), 30, 220), -1)
        frames.append(image)
    return frames


def recoded(frames: Sequence[Picture], size: tuple[int, int] = SIZE, crf: int = 30) -> list[Picture]:
    """Return frames as they come back from a file of another size and compression."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": str(crf), "preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cv2.resize(image, size), format="bgr24")))
        container.mux(stream.encode(None))
    data.seek(0)
    with av.open(data) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def cells_of(frames: Sequence[Picture], fps: float = FPS, timed: bool = False) -> np.ndarray:
    """Return the fingerprint of frames."""
    fingerprint = Fingerprint(fps)
    for number, image in enumerate(frames):
        fingerprint.add(Frame(image, number / fps if timed else None))
    return fingerprint.cells()


CHANGES: dict[str, Callable[[list[Picture]], np.ndarray]] = {
    "recompressed": lambda frames: cells_of(recoded(frames, crf=36)),
    "shrunk": lambda frames: cells_of(recoded(frames, (160, 120))),
    "squeezed, as 2CIF": lambda frames: cells_of(recoded(frames, (352, 144))),
    "cut": lambda frames: cells_of(recoded(frames[11:50])),
    "half the frame rate": lambda frames: cells_of(recoded(frames[::2]), FPS / 2),
    "by the clock": lambda frames: cells_of(recoded(frames), timed=True),
    "brighter": lambda frames: cells_of([cv2.convertScaleAbs(image, alpha=0.8, beta=40) for image in frames]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_known(change: str) -> None:
    """And clips of the same camera, or of the same people before another one, are not taken for copies."""
    clips = {
        "original": cells_of(scene(1)),
        "copy": CHANGES[change](scene(1)),
        **{f"same camera {people}": cells_of(scene(people)) for people in range(2, 12)},
        "other camera": cells_of(scene(1, camera=1)[::-1]),
    }
    assert near_copies(clips) == [("copy", "original")]


def test_clips_that_show_no_motion_or_are_short_are_not_compared() -> None:
    """Empty rooms of one camera are all alike."""
    still = [scene(1)[0]] * FRAMES
    assert near_copies({"a": cells_of(still), "b": cells_of(still)}) == []
    assert near_copies({"a": cells_of(scene(1)[:10]), "b": cells_of(scene(1)[:10])}) == []
    assert near_copies({}) == []


def test_long_clips_do_not_grow_without_bound() -> None:
    """Frames beyond the first minute are not kept, nor every frame of a clip whose clock stands still."""
    image = np.zeros((2, 2, 3), np.uint8)
    fingerprint = Fingerprint(25)
    for number in range(25 * 100):
        fingerprint.add(Frame(image, number / 25))
    assert len(fingerprint.cells()) == MOST
    assert cells_of([image] * 25, 25).shape == (8, 16, 16)
    assert cells_of([]).shape == (0, 16, 16)


def test_warnings_name_contradicting_labels() -> None:
    """A few by name, and how many pairs there are."""
    pairs = [("a", "b"), ("c", "d")]
    assert near_warnings([], {}) == []
    labels = {"a": 1, "b": 0, "c": 1, "d": 1}
    first, last = near_warnings(pairs, labels)
    assert first == "a and b seem to be the same video, and have the labels 1 and 0"
    assert last == (
        "pairs of clips that seem to show the same video, recompressed or cut, and so share a split: 2; "
        "the first: a and b"
    )
    many = [(f"{n}a", f"{n}b") for n in range(9)]
    lines = near_warnings(many, {name: n for n, name in enumerate(name for pair in many for name in pair)})
    assert lines[3] == "6 more such pairs have different labels"


@pytest.mark.parametrize("seed", range(3))
def test_near_copies_are_on_one_side_of_a_split(tmp_path: Path, seed: int) -> None:
    """From the stored poses, through the merge."""
    root, clips = tmp_path / "out", []
    rng = np.random.default_rng(seed)
    prints = [cells_of(scene(number)) for number in range(8)]
    pairs = rng.permutation(16).reshape(8, 2)
    for number in range(16):
        clip = sample_clip(f"Fight/{number}.mp4", tmp_path / "set", root)
        made = {"model": "m", "model_key": "model", "video_sha256": f"{number:064d}"}
        annotation = sample_annotation(2, 20) | {"frame_dir": clip.frame_dir, "label": 1, "provenance": made}
        write_annotation(clip.annotation_path, [annotation])
        which = int(np.flatnonzero((pairs == number).any(axis=1))[0])
        poses = replace(sample_tracks(frames=20).poses, fingerprint=prints[which])
        poses.save(poses_of_content(root, made["video_sha256"], "model", SETTINGS.poses))
        clips.append(clip)
    write_manifest(root, tmp_path / "set", clips, "key")
    report = merge_outputs(root, DatasetSettings(split_seed=seed))
    assert any(line.startswith("pairs of clips that seem") and "split: 8;" in line for line in report.warnings)
    side = {name: split for split, names in read_split(root / "dataset.pkl").items() for name in names}
    for first, second in pairs.tolist():
        assert side[f"set/Fight/{first}"] == side[f"set/Fight/{second}"]
