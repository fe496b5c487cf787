"""What was made of a clip, and whether that is still what the current settings would make.

Below `<output root>/.fightpose/` stand

- `poses/<key>.npz`: the poses of a clip's content under a model and pose settings, found again by that key;
- `receipts/<frame_dir>.json`: written last, when the annotation and the overlay of a clip are complete. It names the
  input (size, time of change, hash), the key of model and settings, the label, and the sizes of the outputs; `shows`
  in it is the key of the corrections from which the overlay was drawn anew;
- `automatic/<frame_dir>.pkl` and `review/`: see `tasks.review.apply`.

A clip whose receipt fits is finished: a rerun passes over it after three `stat` calls. Everything is named by content,
so it holds across runs, processes and machines that share the folder.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.clips.discovery import Clip
from tasks.core.records import VideoInfo
from tasks.core.settings import PoseSettings, Settings
from tasks.core.storage import file_system_time, key_of, write_json
from tasks.poses.extract import CODE_VERSION as POSES_VERSION
from tasks.poses.usage import Usage

logger = logging.getLogger(__name__)

WORK_FOLDER = ".fightpose"

SETTINGS_NAME = "settings.json"
"""The settings of the last run over a folder, below the work folder."""

OUTPUT_VERSION = 3
"""Raise it when a change alters annotations or overlays made from the same poses."""


@dataclass(frozen=True, slots=True)
class ClipSummary:
    """What was found in a clip, for tables and reports.

    Attributes
    ----------
    frames
        Decoded frames.
    people
        People in the annotation.
    top
        Track ID and composite score of the first two people.
    seconds
        Wall time of each step, seconds.
    extracted
        Whether the pose model ran; False if the poses were found in the store.
    usage
        What the extraction took of the machine; None if the model did not run.
    """

    frames: int
    people: int
    top: list[tuple[int, float]]
    seconds: dict[str, float]
    extracted: bool
    usage: Usage | None = None


def poses_path(output_root: Path, video: VideoInfo, model_key: str, settings: PoseSettings) -> Path:
    """Return where the poses of a clip are kept: named by the clip's content, the model's and the settings."""
    key = key_of(POSES_VERSION, video.sha256, model_key, settings.decisive())
    return output_root / WORK_FOLDER / "poses" / key[:2] / f"{key}.npz"


def settings_key(settings: Settings, model_key: str) -> str:
    """Return the key of everything but the clip, its label included, that decides what the outputs hold."""
    return key_of(OUTPUT_VERSION, POSES_VERSION, model_key, settings.decisive())


def write_receipt(clip: Clip, output_root: Path, sha256: str, key: str, overlay: bool, summary: ClipSummary) -> None:
    """Record that the outputs of a clip are complete."""
    write_json(
        receipt_path(clip, output_root),
        {
            "input": {**_stat(clip.path), "sha256": sha256},
            "key": key,
            # The file system's time, like that of the run's request: clocks of machines are not compared.
            "time": file_system_time(receipt_path(clip, output_root).parent),
            "label": clip.label,
            "annotation": _stat(clip.annotation_path),
            "overlay": _stat(clip.overlay_path) if overlay else None,
            "summary": asdict(summary),
        },
    )


def finished(clip: Clip, output_root: Path, key: str) -> ClipSummary | None:
    """Return the summary of a clip whose outputs are complete and up to date, else None."""
    receipt = _read(receipt_path(clip, output_root))
    if receipt is None or receipt.get("key") != key or receipt.get("label") != clip.label:
        return None
    try:
        source = _stat(clip.path)
        current = (
            {name: receipt["input"][name] for name in source} == source
            and receipt["annotation"] == _stat(clip.annotation_path)
            and (receipt["overlay"] is None or receipt["overlay"] == _stat(clip.overlay_path))
        )
        return _summary(receipt) if current else None
    except (OSError, KeyError, TypeError, ValueError):
        # An output was deleted, or the receipt is from another version: the clip is done again.
        return None


@dataclass(frozen=True, slots=True)
class Making:
    """Under what key the outputs of a clip were made, and when: seconds since 1970, as the file system has it."""

    key: str
    time: float


def made_under(clip: Clip, output_root: Path) -> Making | None:
    """Return how a clip's outputs came about; None where no receipt says so."""
    receipt = _read(receipt_path(clip, output_root))
    try:
        return Making(str(receipt["key"]), float(receipt["time"])) if receipt is not None else None
    except (KeyError, TypeError, ValueError):
        return None


def receipt_fits(clip: Clip, output_root: Path) -> bool:
    """Tell whether a clip's receipt speaks of the annotation that is on disk."""
    receipt = _read(receipt_path(clip, output_root))
    try:
        return receipt is not None and receipt["annotation"] == _stat(clip.annotation_path)
    except (OSError, KeyError):
        return False


def renew_receipt(clip: Clip, output_root: Path) -> None:
    """Record that an annotation was rewritten on purpose, so that no rerun takes it for an outdated one.

    Only for a clip whose receipt fitted before: a stale clip must stay stale.
    """
    receipt = _read(receipt_path(clip, output_root))
    if receipt is not None:
        write_json(receipt_path(clip, output_root), receipt | {"annotation": _stat(clip.annotation_path)})


def overlay_is_current(clip: Clip, output_root: Path, sha256: str, key: str) -> bool:
    """Tell whether the overlay on disk was made from this content under this key, and from no corrections."""
    receipt = _read(receipt_path(clip, output_root))
    try:
        return (
            receipt is not None
            and receipt.get("shows") is None
            and receipt["key"] == key
            and receipt["input"]["sha256"] == sha256
            and receipt["overlay"] == _stat(clip.overlay_path)
        )
    except (OSError, KeyError, TypeError):
        return False


def overlay_shows(clip: Clip, output_root: Path) -> str | None:
    """Return the key of the corrections that the overlay on disk shows, None where it shows the automatic people."""
    receipt = _read(receipt_path(clip, output_root))
    try:
        if receipt is None or receipt.get("shows") is None or receipt["overlay"] != _stat(clip.overlay_path):
            return None
    except (OSError, KeyError):
        return None
    return str(receipt["shows"])


def record_overlay(clip: Clip, output_root: Path, shows: str | None) -> None:
    """Record that an overlay was drawn anew, and from which corrections; None for none.

    A clip that was not finished before does not become so: its receipt still lacks what it lacked.
    """
    receipt = _read(receipt_path(clip, output_root)) or {}
    write_json(receipt_path(clip, output_root), receipt | {"overlay": _stat(clip.overlay_path), "shows": shows})


def remove_receipt(clip: Clip, output_root: Path) -> None:
    """Record that nothing made of a clip counts any more but its poses: its next run makes all of it anew."""
    receipt_path(clip, output_root).unlink(missing_ok=True)


def record_settings(output_root: Path, settings: Settings) -> None:
    """Record the settings that a run asks for, so that its failed clips can be run again under the same."""
    write_json(output_root / WORK_FOLDER / SETTINGS_NAME, settings.model_dump(mode="json"))


def recorded_settings(output_root: Path) -> Settings:
    """Return the settings of the last run over a folder; the program's own where none are recorded or fit."""
    path = output_root / WORK_FOLDER / SETTINGS_NAME
    try:
        return Settings.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        logger.warning("the settings in %s cannot be read (%s); the defaults are taken", path, error)
        return Settings()


def receipt_path(clip: Clip, output_root: Path) -> Path:
    """Return where the receipt of a clip is kept."""
    # The stem may take the file system's whole limit of 255 bytes with the annotation's postfix, so none is added here.
    return output_root / WORK_FOLDER / "receipts" / f"{clip.frame_dir}.json"


def _stat(path: Path) -> dict[str, int]:
    """Return what tells a changed file from an unchanged one without reading it."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _read(path: Path) -> dict[str, Any] | None:
    """Return a receipt, or None where there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("receipt %s cannot be read (%s); the clip is annotated again", path, error)
        return None
    return value if isinstance(value, dict) else None


def _summary(receipt: dict[str, Any]) -> ClipSummary:
    """Return the summary that a receipt holds."""
    value = receipt["summary"]
    top = [(int(track_id), float(score)) for track_id, score in value["top"]]
    seconds = {str(step): float(seconds) for step, seconds in value["seconds"].items()}
    # Absent in receipts of earlier versions.
    usage = Usage(**value["usage"]) if value.get("usage") else None
    return ClipSummary(int(value["frames"]), int(value["people"]), top, seconds, bool(value["extracted"]), usage)
