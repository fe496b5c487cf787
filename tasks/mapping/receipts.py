"""What was made of a clip, and whether that is still what the current settings would make.

Below `<output root>/.fightpose/` are

- `poses/<key>.npz`: see `tasks.poses.stored`;
- `receipts/<frame_dir>.json`: written last, when the annotation and the overlay of a clip are complete. It names the
  input (size, time of change, hash), the key of model and settings, the label, and size, time of change and hash of
  each output; `shows` in it is the key of the corrections from which the overlay was drawn again;
- `tracks/<frame_dir>.npz`: the tracked people that the annotation leaves out (`tasks.annotations.other_tracks`);
- `automatic/<frame_dir>.pkl` and `review/`: see `tasks.review.apply`.

A clip whose receipt fits is finished: a rerun skips it after three `stat` calls. Everything is named by content, so it
holds across runs, processes and machines that share the folder. Receipts of earlier versions hold no hashes of outputs;
they fit as before, by size and time of change.

How the flow that annotates a clip uses them::

    seen = stamp_of(clip.path)                            # before the clip is hashed or decoded
    ...                                                   # probe (hashes the clip), poses, tracking, ranking
    begin_outputs(clip, output_root)                      # before an output of an earlier run is replaced
    ...                                                   # annotation
    begin_overlay(clip, output_root)                      # unless the overlay of an earlier run is taken over
    ...                                                   # overlay
    seen = require_unchanged(clip.path, seen, video.sha256)
    write_receipt(clip, output_root, video.sha256, key, wanted, summary, seen)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.clips.discovery import Clip
from tasks.core.settings import Settings
from tasks.core.storage import WORK_FOLDER, file_sha256, file_system_time, key_of, write_json
from tasks.mapping.fingerprints import FileStamp, fingerprint, fits, stat_of
from tasks.mapping.summary import ClipSummary, summary_of
from tasks.poses.extract import CODE_VERSION as POSES_VERSION

logger = logging.getLogger(__name__)

SETTINGS_NAME = "settings.json"
"""The settings of the last run over a folder, below the work folder."""

OUTPUT_VERSION = 3
"""Raise it when a change alters annotations or overlays made from the same poses."""


@dataclass(frozen=True, slots=True)
class Making:
    """Under what key the outputs of a clip were made, and when: seconds since 1970, as the file system has it."""

    key: str
    time: float


def tracks_path(clip: Clip, output_root: Path) -> Path:
    """Return where the people of a clip are kept that its annotation leaves out (`tasks.annotations.other_tracks`)."""
    # No ending is added to the stem but this: it may take the file system's whole limit with the usual postfix.
    return output_root / WORK_FOLDER / "tracks" / f"{clip.frame_dir}.npz"


def settings_key(settings: Settings, model_key: str) -> str:
    """Return the key of everything but the clip, its label included, that decides what the outputs hold."""
    return key_of(OUTPUT_VERSION, POSES_VERSION, model_key, settings.decisive())


# What a run does to a receipt, in this order.


def begin_outputs(clip: Clip, output_root: Path) -> None:
    """Record that the annotation of a clip is about to be replaced.

    From here to `write_receipt` the receipt vouches for no annotation, so that one that does not fit its receipt is
    always one that somebody changed. The overlay stays vouched for: it may be taken over (`overlay_is_current`).
    """
    _vouch_no_more(clip, output_root, "annotation")


def begin_overlay(clip: Clip, output_root: Path) -> None:
    """Record that the overlay of a clip is about to be replaced, as `begin_outputs` does for the annotation.

    Without it a run that is killed between overlay and receipt, and one in which the clip then fails, would leave an
    overlay that the receipt of a third run calls changed.
    """
    _vouch_no_more(clip, output_root, "overlay")


def _vouch_no_more(clip: Clip, output_root: Path, output: str) -> None:
    """Take an output out of a clip's receipt."""
    receipt = _read(receipt_path(clip, output_root))
    if receipt is not None and receipt.get(output) is not None:
        write_json(receipt_path(clip, output_root), receipt | {output: None})


def write_receipt(
    clip: Clip,
    output_root: Path,
    sha256: str,
    key: str,
    overlay: bool,
    summary: ClipSummary,
    seen: FileStamp | None = None,
) -> None:
    """Record that the outputs of a clip are complete.

    Parameters
    ----------
    clip, output_root
        The clip, and where its outputs are.
    sha256
        Hash of the input's content.
    key
        Of model and settings (`settings_key`).
    overlay
        Whether an overlay was wanted.
    summary
        What was found.
    seen
        State of the input that the hash belongs to (`require_unchanged`); by default its state now.
    """
    path = receipt_path(clip, output_root)
    source = stat_of(clip.path) if seen is None else {"size": seen.size, "mtime_ns": seen.mtime_ns}
    receipt: dict[str, Any] = {
        "input": {**source, "sha256": sha256},
        "key": key,
        # The file system's time, like that of the run's request: clocks of machines are not compared.
        "time": file_system_time(path.parent),
        "label": clip.label,
        "annotation": fingerprint(clip.annotation_path),
        "overlay": fingerprint(clip.overlay_path) if overlay else None,
        "summary": asdict(summary),
    }
    if redone := _redone_for(_read(path), receipt):
        receipt["redone_for"] = redone
    write_json(path, receipt)


# What others ask of a receipt.


def finished(clip: Clip, output_root: Path, key: str) -> ClipSummary | None:
    """Return the summary of a clip whose outputs are complete and up to date, else None.

    A clip that a check found wrong (`distrust`) is not finished, whatever size and time of its files say.
    """
    receipt = _read(receipt_path(clip, output_root))
    if receipt is None or receipt.get("key") != key or receipt.get("label") != clip.label or "doubts" in receipt:
        return None
    try:
        source = stat_of(clip.path)
        current = (
            {name: receipt["input"][name] for name in source} == source
            and fits(receipt["annotation"], clip.annotation_path)
            and (receipt["overlay"] is None or fits(receipt["overlay"], clip.overlay_path))
        )
        if not current:
            return None
        summary = summary_of(receipt["summary"])
        _renew_times(clip, output_root, receipt)
        return summary
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        # An output was deleted, or the receipt is from another version: the clip is done again.
        return None


def made_under(clip: Clip, output_root: Path) -> Making | None:
    """Return how a clip's outputs came about; None where no receipt says so."""
    receipt = _read(receipt_path(clip, output_root))
    # A receipt without these entries says nothing about the making, so it counts as none.
    try:
        return Making(str(receipt["key"]), float(receipt["time"])) if receipt is not None else None
    except (KeyError, TypeError, ValueError):
        return None


def input_changed(clip: Clip, output_root: Path) -> bool:
    """Tell by size and time of change whether a clip is another one than its annotation was made of.

    The receipt knows what the input was. Where there is none, an input that is newer than the annotation changed; a
    clip that is gone did not.
    """
    try:
        source = stat_of(clip.path)
        receipt = _read(receipt_path(clip, output_root))
        if receipt is not None and isinstance(receipt.get("input"), dict):
            return {name: receipt["input"].get(name) for name in source} != source
        # Without a receipt only the times are left: an input newer than its annotation has changed.
        return source["mtime_ns"] > clip.annotation_path.stat().st_mtime_ns
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a receipt says of the outputs of a clip.

    Attributes
    ----------
    input_sha256
        Hash of the input's content; empty where it is not known.
    annotation, overlay
        Hash of each output; empty where none is recorded (no such output, one under way, or an earlier version).
    redone_for
        Kinds of findings for which the clip was annotated again, with the outputs that it has now.
    doubted
        Whether a check found the outputs wrong since.
    """

    input_sha256: str
    annotation: str
    overlay: str
    redone_for: frozenset[str]
    doubted: bool


def recorded_outputs(clip: Clip, output_root: Path) -> Recorded | None:
    """Return what the receipt of a clip says of its outputs, None where there is no receipt."""
    receipt = _read(receipt_path(clip, output_root))
    if receipt is None:
        return None

    # Older or damaged receipts lack entries; an empty hash equals none that is computed.
    def hash_of(name: str) -> str:
        """Return the hash in one entry of the receipt."""
        entry = receipt.get(name)
        return str(entry.get("sha256", "")) if isinstance(entry, dict) else ""

    redone = receipt.get("redone_for")
    return Recorded(
        hash_of("input"),
        hash_of("annotation"),
        hash_of("overlay"),
        frozenset(map(str, redone)) if isinstance(redone, list) else frozenset(),
        "doubts" in receipt,
    )


def outputs_as_recorded(clip: Clip, output_root: Path) -> bool:
    """Tell by their content whether both outputs are what the receipt of a clip is about."""
    recorded = recorded_outputs(clip, output_root)
    if recorded is None or not recorded.annotation:
        return False
    try:
        # A clip may have been made without an overlay; then only the annotation is compared.
        overlay = not recorded.overlay or file_sha256(clip.overlay_path) == recorded.overlay
        return overlay and file_sha256(clip.annotation_path) == recorded.annotation
    except OSError:
        return False


def distrust(clip: Clip, output_root: Path, kinds: Iterable[str] = ()) -> None:
    """Record that a clip's outputs are not to be trusted: its next run makes all of them again, but for the poses.

    Parameters
    ----------
    clip, output_root
        The clip, and where its outputs are.
    kinds
        What was found wrong (names in `tasks.mapping.findings.FindingKind`); kept until the clip is annotated again, so
        that a mend which gives the same finding is known as one.
    """
    receipt = _read(receipt_path(clip, output_root))
    if receipt is None:
        return
    known = receipt.get("doubts")
    doubts = sorted({*(known if isinstance(known, list) else ()), *kinds})
    # Written only on a change, so that repeated checks leave the receipt's time alone.
    if doubts != known:
        write_json(receipt_path(clip, output_root), receipt | {"doubts": doubts})


def receipt_fits(clip: Clip, output_root: Path) -> bool:
    """Tell whether a clip's receipt is about the annotation that is on disk."""
    receipt = _read(receipt_path(clip, output_root))
    try:
        return receipt is not None and fits(receipt["annotation"], clip.annotation_path)
    except (OSError, KeyError, TypeError, AttributeError):
        return False


def renew_receipt(clip: Clip, output_root: Path) -> None:
    """Record that an annotation was rewritten on purpose, so that no rerun takes it for an outdated one.

    Only for a clip whose receipt fitted before: a stale clip must stay stale.
    """
    receipt = _read(receipt_path(clip, output_root))
    if receipt is not None:
        write_json(receipt_path(clip, output_root), receipt | {"annotation": fingerprint(clip.annotation_path)})


def overlay_is_current(clip: Clip, output_root: Path, sha256: str, key: str) -> bool:
    """Tell whether the overlay on disk was made from this content under this key, and from no corrections."""
    receipt = _read(receipt_path(clip, output_root))
    # Anything missing or unreadable counts as not current: to draw an overlay again is only slow, a wrong one misleads.
    try:
        return (
            receipt is not None
            and receipt.get("shows") is None
            and "doubts" not in receipt
            and receipt["key"] == key
            and receipt["input"]["sha256"] == sha256
            and fits(receipt["overlay"], clip.overlay_path)
        )
    except (OSError, KeyError, TypeError, AttributeError):
        return False


def overlay_shows(clip: Clip, output_root: Path) -> str | None:
    """Return the key of the corrections that the overlay on disk shows, None where it shows the automatic people."""
    receipt = _read(receipt_path(clip, output_root))
    # Damaged entries mean that nothing is known about what the overlay shows.
    try:
        if receipt is None or receipt.get("shows") is None or not fits(receipt["overlay"], clip.overlay_path):
            return None
    except (OSError, KeyError, TypeError, AttributeError):
        return None
    return str(receipt["shows"])


def record_overlay(clip: Clip, output_root: Path, shows: str | None) -> None:
    """Record that an overlay was drawn again, and from which corrections; None for none.

    A clip that was not finished before does not become so: its receipt still lacks what it lacked.
    """
    receipt = _read(receipt_path(clip, output_root)) or {}
    write_json(receipt_path(clip, output_root), receipt | {"overlay": fingerprint(clip.overlay_path), "shows": shows})


def record_settings(output_root: Path, settings: Settings) -> None:
    """Record the settings that a run asks for, so that its failed clips can be run again under the same."""
    write_json(output_root / WORK_FOLDER / SETTINGS_NAME, settings.model_dump(mode="json"))


def recorded_settings(output_root: Path) -> Settings:
    """Return the settings of the last run over a folder; the program's own where none are recorded or fit."""
    path = output_root / WORK_FOLDER / SETTINGS_NAME
    try:
        return Settings.model_validate_json(path.read_bytes())
    # Outputs from before the settings were recorded were made with the defaults.
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        logger.warning("the settings in %s cannot be read (%s); the defaults are taken", path, error)
        return Settings()


def receipt_path(clip: Clip, output_root: Path) -> Path:
    """Return where the receipt of a clip is kept."""
    # The stem may take the file system's whole limit of 255 bytes with the annotation's postfix, so none is added here.
    return output_root / WORK_FOLDER / "receipts" / f"{clip.frame_dir}.json"


def _renew_times(clip: Clip, output_root: Path, receipt: dict[str, Any]) -> None:
    """Note the times of change of copied outputs, so that the next run need not hash them again."""
    files = {"annotation": clip.annotation_path, "overlay": clip.overlay_path}
    renewed = {name: receipt[name] | stat_of(path) for name, path in files.items() if receipt[name] is not None}
    if any(receipt[name] != entry for name, entry in renewed.items()):
        write_json(receipt_path(clip, output_root), receipt | renewed)


def _redone_for(before: dict[str, Any] | None, now: dict[str, Any]) -> list[str]:
    """Return the kinds of findings for which the same input was annotated again under the same key."""
    # Under another key or input the earlier doubts say nothing about the new outputs.
    if before is None or before.get("key") != now["key"] or not isinstance(before.get("input"), dict):
        return []
    if before["input"].get("sha256") != now["input"]["sha256"]:
        return []
    kinds = before.get("doubts", before.get("redone_for", []))
    return sorted(map(str, kinds)) if isinstance(kinds, list) else []


def _read(path: Path) -> dict[str, Any] | None:
    """Return a receipt, or None where there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("receipt %s cannot be read (%s); the clip is annotated again", path, error)
        return None
    return value if isinstance(value, dict) else None
