"""Poses of labelled clips that have no cached ones: extracted with the embedded model."""

from __future__ import annotations

import logging
from pathlib import Path

from tasks.core.records import Poses
from tasks.core.settings import Settings
from tasks.poses import extract_poses
from tasks.poses.models import MOVENET, load_model
from tasks.video.reading import probe_video
from tests.benchmarks.labelled import Label

logger = logging.getLogger(__name__)


def extract_clips(folder: Path, labels: dict[str, Label]) -> list[tuple[Label, Poses]]:
    """Return the labelled clips found below a folder with the poses that the embedded model finds in them."""
    settings = Settings().resolve(MOVENET.thresholds).poses
    model = load_model(MOVENET.name)
    files = {path.name: path for path in sorted(folder.rglob("*")) if path.name in labels}
    clips = []
    for name, path in files.items():
        logger.info("extracting poses of %s", name)
        clips.append((labels[name], extract_poses(probe_video(path), model, settings)))
    return clips
