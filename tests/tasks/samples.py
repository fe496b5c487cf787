"""Sound annotations for the tests of reading, checking and mapping them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.annotations.format import Annotation, build_annotation
from tasks.clips.discovery import Clip, clip_record
from tasks.core.records import Involvement, RegionWeights, Tracks
from tasks.core.settings import Settings, Thresholds
from tests.scenes import person, tracks_of

SETTINGS = Settings().resolve(Thresholds())
WEIGHTS = np.array([0.7, 0.7, 0.8, 0.8, 1.0], np.float32)


def sample_clip(relative: str = "Fight/a.mp4", root: Path = Path("/in/set"), output_root: Path = Path("/out")) -> Clip:
    """Return the record of a clip that need not exist."""
    return clip_record(root, relative, Path(relative).stem, output_root)


def sample_tracks(people: int = 3, frames: int = 20) -> Tracks:
    """Return people side by side; each misses other frames of the clip, and one joint is missing throughout."""
    rows = []
    for index in range(people):
        present = np.array([frame for frame in range(frames) if (frame + index) % 5 or frames == 1])
        one = person(present, np.array([60.0 + 80 * index, 180.0]), score=0.8)
        one["scores"][:, 3] = 0
        one["filled"][::4] = True
        rows.append(one)
    return tracks_of(rows, frames, width=max(640, 80 * people + 120))


def sample_involvement(ids: list[int], windows: int = 2, frames: int = 20) -> Involvement:
    """Return the involvement of tracks, ranked in the order given."""
    count = len(ids)
    score = np.linspace(0.9, 0.1, count, dtype=np.float32)
    return Involvement(
        track_ids=np.array(ids, np.int32),
        score=score,
        components={"movement": score, "position": score / 2},
        quality=np.full(count, 0.75, np.float32),
        length=np.full(count, 16, np.int32),
        best_partner=np.array(ids[1:] + ids[:1] if count > 1 else [0] * count, np.int32),
        region_scores=np.full((count, 5), 0.5, np.float32),
        region_weights=RegionWeights(WEIGHTS, np.stack([WEIGHTS, WEIGHTS])),
        window_frames=np.linspace(0, frames, windows + 1).astype(np.int32),
        window_score=np.full((count, windows), 0.5, np.float32),
    )


def sample_annotation(people: int = 3, frames: int = 20, relative: str = "Fight/a.mp4") -> Annotation:
    """Return a sound annotation; the people are ranked against the order of their IDs."""
    tracks = sample_tracks(people, frames)
    ids = list(range(people, 0, -1))
    lengths = np.array([np.sum(tracks.track_id == number) for number in ids], np.int32)
    involvement = replace(sample_involvement(ids, min(2, frames), frames), length=lengths)
    return build_annotation(sample_clip(relative), tracks, involvement, SETTINGS, {"model": "test"})
