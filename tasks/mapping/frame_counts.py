"""How many frames videos have, found by decoding them, and remembered as long as the files stay what they are.

Decoding every overlay is most of what the check of an output folder costs, and nearly all of them are as they were at
the check before. `<output root>/.fightpose/decoded.json` holds for each overlay its size and time of change with what
was found, and for each input its content's hash.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tasks.core.errors import ClipError, FightposeError
from tasks.core.storage import file_sha256, write_text
from tasks.mapping.receipts import WORK_FOLDER, recorded_settings
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.opening import film_stream, open_container

logger = logging.getLogger(__name__)


def decode(path: Path) -> tuple[int, float]:
    """Decode a video to its end and return the number of frames and the frames per second that its header states.

    Raises
    ------
    FightposeError
        If it cannot be opened or decoded to the end.
    """
    try:
        with open_container(path) as container:
            video = film_stream(container, path)
            # Not `decode_stream`, which passes over damage: an overlay has to decode to its end.
            return sum(1 for _ in container.decode(video)), float(video.average_rate or 0)
    except ClipError as error:
        raise FightposeError(f"{path}: cannot be decoded: {error.info}") from error
    except OSError as error:
        # PyAV's errors are OSErrors or ValueErrors too; none of them names the file.
        raise FightposeError(f"{path}: cannot be decoded: {error.strerror or error}") from error
    except ValueError as error:
        raise FightposeError(f"{path}: cannot be decoded: damaged, or no video ({error})") from error


class DecodedVideos:
    """What decoding found, read from and saved to an output root.

    Parameters
    ----------
    output_root
        The output root.
    afresh
        Decode overlays whatever is remembered: a file may rot without changing size or time.
    """

    def __init__(self, output_root: Path, afresh: bool = False) -> None:
        self._root, self._afresh = output_root, afresh
        self._path = output_root / WORK_FOLDER / "decoded.json"
        self._known = _read(self._path)
        self._found: dict[str, list[Any]] = {}

    def overlay(self, path: Path) -> tuple[int, float]:
        """Return frames and frames per second of an overlay; see `decode`."""
        # Size and time of change are enough to know that a decoded overlay need not be decoded again.
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        name = path.relative_to(self._root).as_posix()
        known = self._known.get(name, [])
        if self._afresh or known[:2] != stamp or len(known) != 4:
            known = [*stamp, *decode(path)]
        self._found[name] = known
        return int(known[2]), float(known[3])

    def input(self, path: Path) -> tuple[str, int]:
        """Return the hash of an input's content, and its frames as the pipeline decodes them.

        Content is decoded once: what its bytes give does not change.

        Raises
        ------
        ClipError, OSError
            See `tasks.video.decoder.probe_guarded`.
        """
        name = f"sha256:{file_sha256(path)}"
        known = self._known.get(name, [])
        if len(known) != 1:
            # An input is foreign: it is decoded where a crash or a hang costs no more than a finding, in as much memory
            # as the run gave it. The run's time limit is for all steps, on its own machine, and says nothing here.
            allowed = recorded_settings(self._root).limits.model_copy(update={"time_limit": None})
            limits = ClipLimits(path, allowed)
            known = [sum(1 for _ in decode_guarded(probe_guarded(limits), limits))]
        self._found[name] = known
        return name.removeprefix("sha256:"), int(known[0])

    def save(self) -> None:
        """Remember what was found, for the next check; a folder that cannot be written is checked again each time."""
        # Of what was not looked at this time, an overlay that is gone is forgotten; content may come again.
        kept = {
            name: entry
            for name, entry in self._known.items()
            if name in self._found or name.startswith("sha256:") or (self._root / name).exists()
        }
        found = kept | self._found
        if found == self._known:
            return
        try:
            # ASCII only: names may hold bytes that are no UTF-8.
            write_text(self._path, json.dumps(found) + "\n")
        except OSError as error:
            logger.warning("cannot write %s (%s); the next check decodes everything again", self._path, error)


def input_problem(path: Path, sha256: object, frames: object, videos: DecodedVideos) -> tuple[bool, str] | None:
    """Return what an input says against its annotation, None where it agrees or is gone.

    Parameters
    ----------
    path
        The input.
    sha256, frames
        What the annotation says of it: hash of its content, and frames.
    videos
        Decodes it.

    Returns
    -------
    tuple of bool and str
        Whether its content is another one by now (else only the frames differ), and the details.
    """
    try:
        content, count = videos.input(path)
    except FileNotFoundError:
        # A missing input is a finding of its own, made elsewhere.
        return None
    except (ClipError, OSError) as error:
        return True, f"the input cannot be read any more: {error}"
    if isinstance(sha256, str) and sha256 != content:
        return True, "the input's content changed; run annotate again"
    return None if count == frames else (False, f"input {count}, annotation {frames}")


def _read(path: Path) -> dict[str, list[Any]]:
    """Return what an earlier check remembered; nothing where that cannot be read."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    # Another program's JSON in this place must not stop the check: everything is then decoded again.
    sound = isinstance(value, dict) and all(isinstance(entry, list) for entry in value.values())
    return value if sound else {}
