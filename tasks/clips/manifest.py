"""The list of inputs that is kept beside the outputs, so that outputs can be checked without naming the input again.

One file per input root, `<output root>/<name of root>/fightpose_inputs.json`: where the root is, and for each clip its
path in it, the stem of its outputs, and when and under what settings (their key) a run over the root last asked for it.
A run over part of a root adds to the list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.clips.discovery import Clip, clip_record, root_name
from tasks.clips.failures import current_failures
from tasks.core.errors import FightposeError
from tasks.core.storage import WORK_FOLDER, atomic_path, file_system_time

MANIFEST_NAME = "fightpose_inputs.json"

COPY_FOLDER = "inputs"
"""Copies of the lists of inputs, below the work folder: they tell when a list was lost or shortened."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What the last run over a clip's root asked for.

    Attributes
    ----------
    stem
        Stem of the clip's outputs.
    key
        Of model and settings (`tasks.mapping.receipts.settings_key`); empty where it is not known.
    time
        When, seconds since 1970 (`tasks.core.storage.file_system_time`).
    """

    stem: str
    key: str
    time: float


def write_manifest(output_root: Path, root: Path, clips: Sequence[Clip], key: str = "") -> Path:
    """Record the clips that a run is about to annotate, before it starts.

    Clips that an earlier run listed stay listed as long as their files exist.

    Parameters
    ----------
    output_root
        The output root.
    root
        The input root (`Discovery.root`).
    clips
        The clips of this run, all below `root`.
    key
        Of the run's model and settings.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    FightposeError
        If the mirrored folder already holds the outputs of another input root of the same name: their files would
        replace each other.
    """
    path = output_root / root_name(root) / MANIFEST_NAME
    # The file system's clock, as other times of files are compared with it.
    now = file_system_time(path.parent)
    requests = {clip.relative: Request(clip.stem, key, now) for clip in clips}
    if path.exists() or _copy_of(path, output_root).exists():
        earlier_root, earlier = _listed(path, output_root)
        # Two inputs of one name would write into the same folder and overwrite each other's outputs.
        if earlier_root != root and earlier_root.exists() and not earlier_root.samefile(root):
            raise FightposeError(
                f"{path.parent} holds the outputs of {earlier_root}, which has the same name as {root}; "
                "choose another --output-root"
            )
        # A run on some of the clips keeps the requests of the others, but not of inputs that are gone.
        kept = {relative: request for relative, request in earlier.items() if (root / relative).exists()}
        requests = kept | requests
    _write(path, output_root, root, requests)
    return path


def _write(path: Path, output_root: Path, root: Path, requests: Mapping[str, Request]) -> None:
    """Write a list of inputs and its copy."""
    value = {
        "version": _VERSION,
        "root": str(root.absolute()),
        "clips": [
            {"path": relative, "stem": request.stem, "key": request.key, "time": request.time}
            for relative, request in sorted(requests.items())
        ],
    }
    # A name that is no UTF-8 holds lone surrogates, which have no UTF-8 form; `\udcff`, which this error handler makes
    # of them, happens to be their JSON escape, while Hangul stays readable.
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    for target in (path, _copy_of(path, output_root)):
        with atomic_path(target) as partial:
            partial.write_bytes(text.encode("utf-8", "backslashreplace"))


def _copy_of(path: Path, output_root: Path) -> Path:
    """Return where the copy of a list of inputs is."""
    return output_root / WORK_FOLDER / COPY_FOLDER / f"{path.parent.name}.json"


def _listed(path: Path, output_root: Path) -> tuple[Path, dict[str, Request]]:
    """Return the root and the requests of a list of inputs, with what its copy knows beyond it."""
    copy = _copy_of(path, output_root)
    if not path.exists():
        return _parse(copy)
    root, requests = _parse(path)
    try:
        copied_root, copied = _parse(copy) if copy.exists() else (root, {})
    except FightposeError:
        return root, requests
    # Of another root of the same name nothing is taken over.
    return root, (copied | requests if copied_root == root else requests)


def read_manifests(output_root: Path) -> list[Clip]:
    """Return the clips of every input root that has outputs below an output root, sorted by identifier.

    Raises
    ------
    FightposeError
        If a manifest is damaged.
    """
    return sorted((clip for clip, _ in _requested(output_root)), key=lambda clip: clip.frame_dir)


def lost_inputs(output_root: Path) -> list[Clip]:
    """Return the clips that were struck from a list of inputs, or whose list is gone, though their files are there.

    Each list has a copy in the work folder. Outputs of earlier versions have no copies; nothing is known of theirs.
    """
    lost = []
    for copy in sorted((output_root / WORK_FOLDER / COPY_FOLDER).glob("*.json")):
        path = output_root / copy.stem / MANIFEST_NAME
        try:
            root, copied = _parse(copy)
            listed = _parse(path)[1] if path.exists() else {}
        except FightposeError:
            # A damaged list is an error of its own, and a damaged copy is written again by the next run.
            continue
        for relative, request in copied.items():
            if relative not in listed and (root / relative).exists():
                lost.append(clip_record(root, relative, request.stem, output_root, mirrored=copy.stem))
    return lost


def restore_manifests(output_root: Path) -> None:
    """Put back what `lost_inputs` finds lost."""
    for name in sorted({PurePosixPath(clip.frame_dir).parts[0] for clip in lost_inputs(output_root)}):
        path = output_root / name / MANIFEST_NAME
        root, requests = _listed(path, output_root)
        _write(path, output_root, root, requests)


def clips_to_merge(output_root: Path) -> list[Clip]:
    """Return the clips whose annotations make the merged data set; see `read_manifests`.

    A clip that failed at last may have an annotation of an earlier run under other settings: it stays, but is not
    merged.
    """
    failed = {failure.frame_dir for failure in current_failures(output_root)}
    return [clip for clip in read_manifests(output_root) if clip.frame_dir not in failed]


def read_requests(output_root: Path) -> dict[str, Request]:
    """Return what was last asked for of each clip, by identifier; see `read_manifests`."""
    return {clip.frame_dir: request for clip, request in _requested(output_root)}


def _requested(output_root: Path) -> Iterator[tuple[Clip, Request]]:
    """Yield every clip that is listed below an output root."""
    for path in sorted(output_root.glob(f"*/{MANIFEST_NAME}")):
        root, requests = _parse(path)
        for relative, request in requests.items():
            yield clip_record(root, relative, request.stem, output_root, mirrored=path.parent.name), request


def _parse(path: Path) -> tuple[Path, dict[str, Request]]:
    """Return the root, and what was asked for of each relative path that a manifest lists."""
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        root = Path(value["root"])
        requests = {
            # Lists of earlier versions know neither key nor time.
            str(clip["path"]): Request(str(clip["stem"]), str(clip.get("key", "")), float(clip.get("time", 0)))
            for clip in value["clips"]
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise FightposeError(
            f"cannot read the list of inputs {path}: {error}; delete it and run annotate again to have it written anew"
        ) from error
    for relative, request in requests.items():
        stem = request.stem
        # Output paths are made of these: nothing in the file may lead out of the output root.
        if ".." in PurePosixPath(relative).parts or relative.startswith("/") or "/" in stem or stem in ("", "..", "."):
            raise FightposeError(f"the list of inputs {path} names a path outside its root: {relative!r}; delete it")
    return root, requests
