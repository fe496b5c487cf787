"""RTMO as OpenMMLab publishes it: where the files are, and how one gets onto this machine.

The .onnx files lie in zips of OpenMMLab's deployment kit, the checkpoints as .pth files beside them. The eight hex
digits in a name begin the sha256 **of the checkpoint**: a .pth file is checked by them. Of an .onnx file the hash is
known only where the table states it; otherwise it is recorded when the file is first fetched, in the JSON file beside
it, and checked at every later use.

Files live in one folder: `FIGHTPOSE_MODEL_DIR`, else `models` in the cache folder. On a machine without a network, put
the published zip, or the .onnx file by its short name, into that folder.
"""

from __future__ import annotations

import logging
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.core.download import download, model_folder
from tasks.core.errors import FightposeError
from tasks.core.storage import atomic_path, file_sha256, require_writable, write_text
from tasks.poses.backends.rtmo import Sidecar, sidecar_path

logger = logging.getLogger(__name__)

OPENMMLAB = "https://download.openmmlab.com/mmpose/v1/projects/rtmo"

MEMBER = "end2end.onnx"
"""Name of the model inside OpenMMLab's zips, whatever the folder."""

MAX_MODEL_BYTES = 1 << 30
"""No published RTMO is near this size: more is a damaged or hostile archive."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published file.

    Attributes
    ----------
    url
        Of the zip that holds the .onnx file, or of a .pth file.
    file_name
        Name under which it is kept.
    sha256
        Hash of the kept file, or its first digits; empty where it is not known.
    """

    url: str
    file_name: str
    sha256: str = ""


def _pair(name: str, stem: str, onnx_sha256: str = "") -> tuple[Published, Published]:
    """Return the .onnx file and the checkpoint of one model."""
    # Names end in -<first digits of the hash>_<date>.
    prefix = stem.split("-")[-1].split("_")[0]
    return (
        Published(f"{OPENMMLAB}/onnx_sdk/{stem}.zip", f"{name}.onnx", onnx_sha256),
        Published(f"{OPENMMLAB}/{stem}.pth", f"{stem}.pth", prefix),
    )


PUBLISHED = {
    "rtmo-t": _pair(
        "rtmo-t",
        "rtmo-t_8xb32-600e_body7-416x416-f48f75cb_20231219",
        # As other projects that use the same zip check it.
        "20aad6e2e42359cac1c5b4a0b2da00e29bfe91a72a782fdcf287d273a04c1b24",
    ),
    "rtmo-s": _pair("rtmo-s", "rtmo-s_8xb32-600e_body7-640x640-dac2bf74_20231211"),
    "rtmo-m": _pair("rtmo-m", "rtmo-m_16xb16-600e_body7-640x640-39e78cc4_20231211"),
    "rtmo-l": _pair("rtmo-l", "rtmo-l_16xb16-600e_body7-640x640-b37118ce_20231211"),
}
"""Short name to .onnx file and checkpoint; URLs as in mmpose's project page of RTMO."""


def quantized_path(sha256: str) -> Path:
    """Return where the int8 form of the model with a hash is kept, there or not."""
    return model_folder() / "int8" / f"{sha256[:16]}.xml"


def published_path(file: Published) -> Path:
    """Return where a published file is kept, there or not."""
    return model_folder() / file.file_name


def checkpoint_file(name: str) -> Path:
    """Return the mmpose checkpoint of a published model, by its short name; fetched the first time.

    Raises
    ------
    FightposeError
        If there is none of that name, or as `fetch_published`.
    """
    if name not in PUBLISHED:
        raise FightposeError(f"no checkpoint of {name!r} is published; there are {', '.join(PUBLISHED)}")
    return fetch_published(PUBLISHED[name][1])


def fetch_published(file: Published) -> Path:
    """Return a published file, downloading it if it is not in the model folder yet.

    Raises
    ------
    FightposeError
        If it cannot be downloaded or written, its hash differs, or the zip is damaged, hostile or holds no model.
    """
    path = published_path(file)
    if not path.is_file():
        require_writable_model_folder()
        # A zip keeps its published name, so that one that was put here by hand is found.
        package = path.with_name(file.url.rpartition("/")[2])
        by_hand = package.is_file()
        if not by_hand:
            _download(file, package)
        try:
            # A .pth file is published as it is; only models come in zips.
            if package != path:
                _unpack(package, path)
            _check(path, file)
        except FightposeError:
            # What was downloaded is of no use, and would be found again; what the user put there stays.
            path.unlink(missing_ok=True)
            if not by_hand:
                package.unlink(missing_ok=True)
            raise
        if package != path:
            if not by_hand:
                package.unlink()
            _record(file, path)
    elif file.sha256:
        # At later uses as well: the file may have been replaced in the meantime.
        _check(path, file)
    return path


def require_writable_model_folder() -> None:
    """Refuse a model folder that cannot be written, before anything is downloaded."""
    try:
        require_writable(model_folder())
    except FightposeError as error:
        raise FightposeError(
            f"cannot write to the model folder {model_folder()}; set FIGHTPOSE_MODEL_DIR (or --model-dir) to a folder "
            "that you can write, or that holds the model already"
        ) from error


def _download(file: Published, package: Path) -> None:
    """Download a published file, and say what else can be done where that fails."""
    logger.info("downloading %s (once; kept in %s)", file.url, package.parent)
    try:
        with _progress(file.file_name) as on_bytes:
            download(file.url, package, on_bytes)
    except FightposeError as error:
        # A checkpoint is published under the name under which it is kept, a model as a zip of another name.
        names = " or ".join(dict.fromkeys([package.name, file.file_name]))
        raise FightposeError(f"{error}; or put {names} into {package.parent} by hand") from error


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar in a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    # Imported here: only a download in a terminal needs it.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _unpack(package: Path, path: Path) -> None:
    """Take the model out of a published zip.

    Nothing is ever written to a path that the archive names. An archive that names one outside itself is refused all
    the same: its maker meant harm.
    """
    try:
        with zipfile.ZipFile(package) as archive:
            for member in archive.infolist():
                _refuse_hostile(member, package)
            models = [member for member in archive.infolist() if PurePosixPath(member.filename).name == MEMBER]
            if len(models) != 1:
                raise FightposeError(
                    f"{package} holds {len(models)} files {MEMBER}, expected one; it is no RTMO package"
                )
            with archive.open(models[0]) as source, atomic_path(path) as partial, partial.open("wb") as target:
                # read() checks the member's CRC at its end.
                while block := source.read(1 << 20):
                    target.write(block)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise FightposeError(f"{package} is damaged ({error}); remove it and fetch it again") from error
    except OSError as error:
        raise FightposeError(f"cannot write {path} ({error.strerror}); check the disk") from error


def _refuse_hostile(member: zipfile.ZipInfo, package: Path) -> None:
    """Raise for a member that leaves the archive's own folder, is no plain file, or is beyond all measure."""
    # Archives made on Windows may have backslashes, or drives such as C:.
    name = member.filename.replace("\\", "/")
    outside = name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]
    # Zero is what tools write that know nothing of Unix; a symbolic link has a kind of its own.
    kind = stat.S_IFMT(member.external_attr >> 16)
    if outside or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise FightposeError(f"{package} is not used: its member {member.filename!r} points outside the archive")
    if member.file_size > MAX_MODEL_BYTES:
        raise FightposeError(
            f"{package} is not used: its member {member.filename!r} unpacks to {member.file_size} bytes"
        )


def _check(path: Path, file: Published) -> None:
    """Compare a file's hash with what is known of it."""
    found = file_sha256(path)
    if not found.startswith(file.sha256):
        raise FightposeError(
            f"{path} has sha256 {found}, expected {file.sha256}{'...' if len(file.sha256) < 64 else ''}; do not use it "
            "as this model; remove it to fetch it again"
        )


def _record(file: Published, path: Path) -> None:
    """Write the JSON file beside a fetched model, so that a later change of the file is noticed."""
    sidecar = Sidecar(sha256=file_sha256(path), source={"url": file.url})
    write_text(sidecar_path(path), sidecar.model_dump_json(indent=1) + "\n")
