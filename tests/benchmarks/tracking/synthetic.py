"""Synthetic close contact: ID switches per video, and IDF1 of the fighters, at several rates of swapped joints."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from tasks.core.choices import Tracker
from tasks.core.settings import TrackingSettings
from tasks.tracking import track_people
from tests.benchmarks.tracking.measures import People, combine, measure, people_of
from tests.benchmarks.tracking.scenes import Scene, make_scene

SWAPS = (0.0, 0.15, 0.3)
VIDEOS = 30
"""Scenes per swap rate; seeds 0 to 29, two to four fighters in turn, three bystanders, 150 frames."""

HIGH, LOW = 0.6, 0.1


def scenes(swap: float, first_seed: int = 0) -> list[Scene]:
    """Return the benchmark's scenes of one swap rate."""
    return [make_scene(seed, fighters=2 + seed % 3, swap=swap) for seed in range(first_seed, first_seed + VIDEOS)]


def truth_of(scene: Scene, fighters_only: bool) -> People:
    """Return a scene's people in the form that is compared with tracks; bystanders are ignored where told."""
    people, frames = scene.boxes.shape[:2]
    frame, person = np.divmod(np.arange(people * frames), people)
    ignore = ~scene.fighter[person] if fighters_only else np.zeros(len(person), bool)
    return People(frame, person, scene.boxes[person, frame], ignore)


def run_synthetic(trackers: list[Tracker], first_seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return for each tracker, by swap rate, the switches per video, the fighters' IDF1 and frames per second."""
    made = {swap: scenes(swap, first_seed) for swap in SWAPS}
    result: dict[str, dict[str, Any]] = {}
    for tracker in trackers:
        settings = TrackingSettings(tracker=tracker, track_high_thresh=HIGH, track_low_thresh=LOW)
        switches, idf1 = {}, {}
        frames, seconds = 0, 0.0
        for swap, clips in made.items():
            start = time.perf_counter()
            tracked = [track_people(scene.poses, settings) for scene in clips]
            seconds += time.perf_counter() - start
            frames += sum(scene.poses.frame_count for scene in clips)
            found = [people_of(tracks) for tracks in tracked]
            every = [measure(truth_of(s, False), f, s.poses.frame_count) for s, f in zip(clips, found, strict=True)]
            fighters = [measure(truth_of(s, True), f, s.poses.frame_count) for s, f in zip(clips, found, strict=True)]
            switches[str(swap)] = combine(every)["IDSW"] / len(clips)
            idf1[str(swap)] = combine(fighters)["IDF1"] / 100
        result[tracker.value] = {"switches_per_video": switches, "IDF1": idf1, "fps": frames / seconds}
    return result
