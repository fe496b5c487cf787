"""Whether the poses of an output root come from another program, whose clips the pose model must not do again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from tasks.core.errors import FightposeError
from tasks.core.storage import WORK_FOLDER, write_json

MARK_NAME = "imported.json"
"""Says from where poses were imported, below the work folder."""


def mark_imported(output_root: Path, poses: Path, clips: Path) -> None:
    """Note that the poses of a folder's clips were imported, and from where."""
    write_json(output_root / WORK_FOLDER / MARK_NAME, {"poses": str(poses), "input": str(clips)})


def mark_extracted(output_root: Path) -> None:
    """Note that a run with a pose model begins over all clips of a folder, whatever was imported before."""
    (output_root / WORK_FOLDER / MARK_NAME).unlink(missing_ok=True)


def require_model_poses(output_root: Path) -> None:
    """Refuse to run the pose model over single clips of a folder whose poses come from another program.

    Raises
    ------
    FightposeError
        With the command that does the failed clips.
    """
    try:
        made: Any = json.loads((output_root / WORK_FOLDER / MARK_NAME).read_bytes())
        poses, clips = str(made["poses"]), str(made["input"])
    except (OSError, ValueError, KeyError, TypeError):
        # No mark, or a damaged one: then a run with the model is what the folder is for.
        return
    command = shlex.join(["fightpose", "import-poses", poses, clips, "--output-root", str(output_root)])
    raise FightposeError(
        f"{output_root} holds poses of another program, so the pose model is not run over it; do its clips again with: "
        f"{command}"
    )
