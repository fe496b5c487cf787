"""The stored poses of a clip: `<output root>/.fightpose/poses/<key>.npz`.

The key is made of the clip's content, the model and the pose settings, so that a file is found again by every run,
process and machine that shares the folder, whatever the clip is called.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.core.records import Poses, VideoInfo
from tasks.core.settings import PoseSettings
from tasks.core.storage import WORK_FOLDER, key_of
from tasks.poses.extract import CODE_VERSION

logger = logging.getLogger(__name__)


def poses_path(output_root: Path, video: VideoInfo, model_key: str, settings: PoseSettings) -> Path:
    """Return where the poses of a clip are kept: named by the clip's content, the model's and the settings."""
    return poses_of_content(output_root, video.sha256, model_key, settings, video.revised)


def poses_of_content(
    output_root: Path, sha256: str, model_key: str, settings: PoseSettings, revised: bool = False
) -> Path:
    """Return the same for a clip when only the hash of its bytes is known, as annotations note it."""
    # Clips that are read in another way now (`VideoInfo.revised`) have poses of earlier versions from other frames.
    marks = ["as shown"] if revised else []
    key = key_of(CODE_VERSION, sha256, model_key, settings.decisive(), *marks)
    return output_root / WORK_FOLDER / "poses" / key[:2] / f"{key}.npz"


def kept_poses(output_root: Path, sha256: str, model_key: str, settings: PoseSettings) -> Path:
    """Return where the poses of an annotated clip are, which knows its content but not how it was read.

    A clip that was annotated again since it is read in another way may have both files: the later one is returned.
    """
    revised = poses_of_content(output_root, sha256, model_key, settings, revised=True)
    return revised if revised.is_file() else poses_of_content(output_root, sha256, model_key, settings)


def stored_poses(path: Path, otherwise: str) -> Poses | None:
    """Return the poses of a file; None where there is none, or where it is damaged, which is logged.

    Parameters
    ----------
    path
        Of `poses_path` or `kept_poses`.
    otherwise
        What is done without a damaged file, for the log.

    Raises
    ------
    OSError
        If the file cannot be read for now.
    """
    if not path.is_file():
        return None
    try:
        return Poses.load(path)
    # A damaged file is no reason to fail. An OSError may pass, and is left to the retries.
    except ValueError as error:
        logger.warning("%s; %s", error, otherwise)
        return None


def model_key_in(provenance: Mapping[str, Any]) -> str:
    """Return the key of the model that an annotation was made with; in earlier versions it was the model's hash."""
    return str(provenance.get("model_key", provenance.get("model_sha256", "")))
