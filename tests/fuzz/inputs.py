"""The sound files that are damaged, and where the damaged ones go."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np

from tasks.annotations.format import build_annotation, write_annotation
from tasks.clips.discovery import find_clip
from tasks.core.records import Poses
from tasks.core.settings import Settings, Thresholds
from tasks.involvement import rank_involvement, select_people
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tests.fuzz.mutate import mutated
from tests.scenes import standing_people
from tests.tasks.annotations.test_safe_pickle import EXECUTION
from tests.video_factory import person_image, plain_frames, write_video

VIDEO_KINDS = ("mp4", "avi", "mov")


def write_videos(folder: Path, count: int, seed: int, people: bool = False) -> None:
    """Write damaged clips below `folder/<container>`.

    Parameters
    ----------
    folder
        The input root of a run.
    count
        How many, of all containers together.
    seed
        Of the first one; each has its own.
    people
        Whether a figure is drawn that the embedded model finds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = [person_image(160, 120, 0.4 + 0.01 * i) for i in range(14)] if people else plain_frames(14, 96, 64)
    small = plain_frames(12, 64, 48)
    sources = {}
    for kind in VIDEO_KINDS:
        paths = [write_video(folder / f"a.{kind}", frames), write_video(folder / f"b.{kind}", small, fps=10)]
        sources[kind] = [path.read_bytes() for path in (paths[:1] if people else paths)]
        for path in paths:
            path.unlink()
    others = [data for datas in sources.values() for data in datas]
    for number in range(count):
        kind = VIDEO_KINDS[number % len(VIDEO_KINDS)]
        target = folder / kind / f"{number:05d}.{kind}"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(mutated(sources[kind], others, seed + number, number // len(VIDEO_KINDS)))


def sound_annotation(folder: Path) -> bytes:
    """Return the bytes of an annotation file of two people."""
    tracks = standing_people((160, 96), frames=12)
    settings = Settings().resolve(Thresholds())
    regions = score_regions(tracks)
    weights = learn_region_weights(tracks, regions, settings.scoring)
    people = select_people(
        rank_involvement(tracks, regions, weights, settings.scoring), settings.selection, folder / "a.mp4"
    )
    clip = find_clip(folder / "a.mp4", folder, folder)
    path = folder / "sound.pkl"
    write_annotation(path, [build_annotation(clip, tracks, people, settings, {"model": "none"})])
    return path.read_bytes()


def damaged_annotations(folder: Path, count: int, seed: int) -> list[bytes]:
    """Return damaged annotation files, pieces of programs that execute something among them."""
    sound = sound_annotation(folder)
    plain = pickle.loads(sound)
    sources = [sound, *(pickle.dumps(plain, protocol) for protocol in range(6))]
    return [mutated(sources, list(EXECUTION.values()), seed + number, number) for number in range(count)]


def damaged_poses(folder: Path, count: int, seed: int) -> list[bytes]:
    """Return damaged files of the store of poses."""
    path = folder / "poses.npz"
    poses: Poses = standing_people((160, 96), frames=12).poses
    poses.save(path)
    foreign = folder / "foreign.npz"
    np.savez(foreign, frame_index=np.array([{}], object), bbox=np.zeros(3))
    return [mutated([path.read_bytes()], [foreign.read_bytes()], seed + number, number) for number in range(count)]


TOML = """
[poses]
second_look = "off"
score_thr = 0.25
[tracking]
track_max_disappeared = 12
[selection]
max_persons = 6
quality_threshold = 0.2
[scoring]
region_rate = 0.4
[scoring.weights]
movement = 3.1
position = 0.5
"""


def damaged_settings(count: int, seed: int) -> list[tuple[str, bytes]]:
    """Return damaged settings files with their endings."""
    sources = {".toml": TOML.encode(), ".json": json.dumps(Settings().model_dump(mode="json"), indent=1).encode()}
    return [
        (ending, mutated([sources[ending]], list(sources.values()), seed + number, number // 2))
        for number in range(count)
        for ending in [list(sources)[number % 2]]
    ]
