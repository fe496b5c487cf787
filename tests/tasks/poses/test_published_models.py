"""Published models, from a server on this machine that serves packages of the same shape."""

import hashlib
import http.server
import io
import os
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tasks.core import download
from tasks.core.errors import FightposeError
from tasks.poses import published_models as published
from tasks.poses.backends import table
from tasks.poses.backends.mmpose.files import hash_of_mmpose_model
from tasks.poses.backends.rtmo import sidecar_path
from tasks.poses.models import MODELS, load_model, model_file, resolve_model
from tasks.poses.published_models import PUBLISHED, Published, checkpoint_file, fetch_published, published_path
from tests.tasks.poses.fake_rtmo import save_fake_rtmo

STEM = "rtmo-s_8xb32-600e_body7-640x640-dac2bf74_20231211"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that does not write to the test's output."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """Give the folder that a server shows and its address; the model folder is an empty one."""
    monkeypatch.setattr(download, "FIRST_WAIT_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(tmp_path / "models"))
    folder = tmp_path / "site"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def package(path: Path, model: bytes, extra: Callable[[zipfile.ZipFile], None] = lambda archive: None) -> Path:
    """Write a zip as OpenMMLab's deployment kit does: the model deep inside, descriptions beside it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("20231211/rtmo_onnx/rtmo-s/end2end.onnx", model)
        archive.writestr("20231211/rtmo_onnx/rtmo-s/deploy.json", "{}")
        extra(archive)
    return path


def entry(site: tuple[Path, str], sha256: str = "") -> Published:
    """Return the table's row for rtmo-s, at the local server."""
    return Published(f"{site[1]}/{STEM}.zip", "rtmo-s.onnx", sha256)


def test_model_by_name_is_fetched_and_runs(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `--model rtmo-s` to people, and a second time without the network."""
    model = save_fake_rtmo(tmp_path / "fake.onnx").read_bytes()
    package(site[0] / f"{STEM}.zip", model)
    monkeypatch.setitem(MODELS, "rtmo-s", replace(MODELS["rtmo-s"], source=entry(site)))
    assert not resolve_model("rtmo-s").cached
    assert len(load_model("rtmo-s").detect([np.full((64, 64, 3), 255, np.uint8)])[0]) == 2
    assert resolve_model("rtmo-s").cached
    assert resolve_model("rtmo-s").sha256 == hashlib.sha256(model).hexdigest()
    (site[0] / f"{STEM}.zip").unlink()
    assert model_file(resolve_model("rtmo-s")).read_bytes() == model
    left = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert left == ["compiled", "rtmo-s.onnx", "rtmo-s.onnx.json"]


def test_change_of_a_fetched_file_is_noticed(site: tuple[Path, str], tmp_path: Path) -> None:
    """Its hash was recorded when it came."""
    package(site[0] / f"{STEM}.zip", save_fake_rtmo(tmp_path / "fake.onnx").read_bytes())
    path = fetch_published(entry(site))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(FightposeError, match="another file"):
        load_model(str(path))


@pytest.mark.parametrize("digits", [64, 8])
def test_hash_that_does_not_match_is_refused(site: tuple[Path, str], digits: int) -> None:
    """Neither the model nor its package stays, so that the next try starts anew."""
    package(site[0] / f"{STEM}.zip", b"model")
    good = hashlib.sha256(b"model").hexdigest()[:digits]
    with pytest.raises(FightposeError, match="expected 0000"):
        fetch_published(entry(site, "0" * digits))
    assert list(published.model_folder().iterdir()) == []
    assert fetch_published(entry(site, good)).read_bytes() == b"model"


def test_known_hash_is_checked_at_every_use(site: tuple[Path, str]) -> None:
    """A file put there by hand under the name of a published one has to be that one."""
    published.model_folder().mkdir()
    published_path(entry(site)).write_bytes(b"something else")
    with pytest.raises(FightposeError, match="do not use it"):
        fetch_published(entry(site, hashlib.sha256(b"model").hexdigest()))


def test_checkpoint_is_checked_by_the_digits_in_its_name(site: tuple[Path, str]) -> None:
    """As OpenMMLab names them."""
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    (site[0] / f"rtmo-{digits}.pth").write_bytes(b"weights")
    file = Published(f"{site[1]}/rtmo-{digits}.pth", f"rtmo-{digits}.pth", digits)
    assert fetch_published(file).read_bytes() == b"weights"
    with pytest.raises(FightposeError, match="expected dac2bf74"):
        fetch_published(replace(file, sha256="dac2bf74"))


def test_checkpoint_by_name_is_fetched_with_the_hash_in_the_key(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--checkpoint rtmo-s` and `models fetch rtmo-s --checkpoint`; an own config may go with it."""
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    (site[0] / f"rtmo-{digits}.pth").write_bytes(b"weights")
    file = Published(f"{site[1]}/rtmo-{digits}.pth", f"rtmo-{digits}.pth", digits)
    monkeypatch.setitem(PUBLISHED, "rtmo-s", (PUBLISHED["rtmo-s"][0], file))
    config = tmp_path / "own.py"
    config.write_text("model = 1")
    found = resolve_model("", str(config), "rtmo-s")
    assert (found.backend, found.config) == (table.MMPOSE, config)
    assert not found.cached
    assert found.sha256 == hash_of_mmpose_model(config, published_path(file))
    assert checkpoint_file("rtmo-s").read_bytes() == b"weights"
    with pytest.raises(FightposeError, match="no checkpoint of 'movenet-multipose' is published; there are rtmo-t"):
        checkpoint_file("movenet-multipose")


def test_published_checkpoint_needs_mmposes_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where mmpose is not installed, the error says how to get it."""
    monkeypatch.setattr("tasks.poses.backends.mmpose.files.importlib.util.find_spec", lambda name: None)
    with pytest.raises(FightposeError, match="make install-mmpose"):
        resolve_model("", None, "rtmo-s")
    with pytest.raises(FightposeError, match=r"belong together.*rtmo-t, rtmo-s"):
        resolve_model("", None, "mine.pth")


def test_table_states_what_the_names_say() -> None:
    """Eight digits of the checkpoint, .onnx and .pth of the same training."""
    for name, (onnx, checkpoint) in PUBLISHED.items():
        assert onnx.file_name == f"{name}.onnx"
        assert len(checkpoint.sha256) == 8
        assert f"-{checkpoint.sha256}_" in checkpoint.url
        assert Path(onnx.url).stem == Path(checkpoint.url).stem
        assert onnx.url.startswith("https://download.openmmlab.com/")


def _link(archive: zipfile.ZipFile) -> None:
    """Add a symbolic link."""
    info = zipfile.ZipInfo("20231211/link")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


@pytest.mark.parametrize(
    "extra",
    [
        lambda archive: archive.writestr("../../evil.onnx", "x"),
        lambda archive: archive.writestr("/etc/cron.d/evil", "x"),
        lambda archive: archive.writestr("a/..\\..\\evil", "x"),
        lambda archive: archive.writestr("C:/evil", "x"),
        _link,
    ],
)
def test_hostile_member_is_refused(site: tuple[Path, str], extra: Callable[[zipfile.ZipFile], None]) -> None:
    """Even though nothing would be written where it points."""
    package(site[0] / f"{STEM}.zip", b"model", extra)
    with pytest.raises(FightposeError, match="points outside"):
        fetch_published(entry(site))
    assert list(published.model_folder().iterdir()) == []


def test_member_that_unpacks_beyond_measure_is_refused(site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb of zeros fits into a small zip."""
    monkeypatch.setattr(published, "MAX_MODEL_BYTES", 1000)
    package(site[0] / f"{STEM}.zip", bytes(1001))
    with pytest.raises(FightposeError, match="unpacks to 1001 bytes"):
        fetch_published(entry(site))


def test_package_without_a_model_is_refused(site: tuple[Path, str]) -> None:
    """Another model of the zoo, say."""
    with zipfile.ZipFile(site[0] / f"{STEM}.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(FightposeError, match=r"holds 0 files end2end\.onnx"):
        fetch_published(entry(site))


@pytest.mark.parametrize("damage", ["page", "crc"])
def test_damaged_package_is_refused(site: tuple[Path, str], damage: str) -> None:
    """The log-in page of a hotel network, and a bit that fell over."""
    if damage == "page":
        data = b"<html>please log in</html>"
    else:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("end2end.onnx", b"m" * 100)
        data = buffer.getvalue().replace(b"m" * 100, b"m" * 99 + b"n")
    (site[0] / f"{STEM}.zip").write_bytes(data)
    with pytest.raises(FightposeError, match="is damaged"):
        fetch_published(entry(site))
    assert list(published.model_folder().iterdir()) == []


@pytest.mark.parametrize("form", ["zip", "onnx"])
def test_file_put_there_by_hand_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """The published zip as it is, or the model by its short name."""
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(tmp_path))
    if form == "zip":
        package(tmp_path / f"{STEM}.zip", b"model")
    else:
        (tmp_path / "rtmo-s.onnx").write_bytes(b"model")
    file = Published(f"http://127.0.0.1:9/{STEM}.zip", "rtmo-s.onnx")
    assert fetch_published(file).read_bytes() == b"model"
    assert sidecar_path(tmp_path / "rtmo-s.onnx").is_file() == (form == "zip")


def test_no_network_says_what_to_do_by_hand(site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line: what failed, and which file to put where."""
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    file = Published(f"http://127.0.0.1:9/{STEM}.zip", "rtmo-s.onnx")
    with pytest.raises(FightposeError, match=rf"or put {STEM}\.zip or rtmo-s\.onnx into .*models by hand") as caught:
        fetch_published(file)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_model_folder_without_write_access_is_told_first(site: tuple[Path, str]) -> None:
    """Before anything is downloaded."""
    published.model_folder().mkdir(mode=0o500)
    with pytest.raises(FightposeError, match="FIGHTPOSE_MODEL_DIR"):
        fetch_published(entry(site))


def test_model_folder_that_cannot_be_made_is_told_first(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(FightposeError, match="FIGHTPOSE_MODEL_DIR"):
        fetch_published(entry(site))
