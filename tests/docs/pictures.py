"""The pictures of the docs, made from the demo clips alone: `make docs-pictures`.

    python -m tests.docs.pictures [FOLDER]

Writes `overlay-legend.jpg` and `regions.png` into FOLDER (default `docs/pictures`), and prints the path of the learned
weights that docs/regions.md quotes.
"""

from __future__ import annotations

from pathlib import Path

import cv2

from tasks.core.records import Involvement, RegionWeights, Tracks, VideoInfo
from tasks.core.settings import Settings
from tasks.involvement import rank_involvement
from tasks.poses import entry_of, extract_poses, load_model
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tasks.tracking import track_people
from tasks.video.reading import decode_frames, probe_video

INK, PAPER, RED = (40, 40, 40), (255, 255, 255), (40, 40, 220)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def analysed(path: Path) -> tuple[VideoInfo, Tracks, RegionWeights, Involvement]:
    """Take one clip through the chain, with the default settings and one pass per frame (as `make demo`)."""
    settings = Settings()
    settings = settings.resolve(entry_of(settings.poses).thresholds)
    video = probe_video(path)
    model = load_model(settings.poses.model)
    poses = extract_poses((frame.image for frame in decode_frames(path)), video, model, settings.poses)
    tracks = track_people(poses, settings.tracking)
    regions = score_regions(tracks)
    weights = learn_region_weights(tracks, regions, settings.scoring)
    return video, tracks, weights, rank_involvement(tracks, regions, weights, settings.scoring)
