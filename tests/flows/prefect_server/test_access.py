"""The secret of a server: random, kept where only its owner can read it, and handed on in the environment."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from flows.prefect_server.access import (
    CLIENT_SECRET,
    Access,
    kept_secret,
    new_secret,
    write_private,
    write_shell_file,
)


def test_every_secret_is_another_one_that_prefect_can_read():
    """As user:password in ASCII."""
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(secret.isascii() and secret.count(":") == 1 and len(secret) > 45 for secret in made)


def test_a_kept_secret_stays_and_only_its_owner_can_read_it(tmp_path: Path):
    """Whatever the mask of the process; an empty file is no secret."""
    path = tmp_path / "secret"
    earlier = os.umask(0)
    try:
        secret = kept_secret(path)
    finally:
        os.umask(earlier)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept_secret(path) == secret
    path.write_text("\n")
    assert kept_secret(path) not in ("", secret)


def test_a_private_file_does_not_follow_a_link_that_somebody_has_put_there(tmp_path: Path):
    """Neither in its own place nor in that of the partial one."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    for name in ("file", ".partial-file"):
        (tmp_path / name).symlink_to(victim)
    write_private(tmp_path / "file", "mine")
    assert victim.read_text() == "untouched"
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "file").is_symlink()


def test_a_shell_that_sources_the_file_has_the_variables(tmp_path: Path):
    """A secret of the user's own may hold any character."""
    access = Access("http://127.0.0.1:4200/api", "me:a b'c$(touch planted)\"`\\")
    write_shell_file(tmp_path / "environment", access.for_clients())
    shown = subprocess.run(
        ["sh", "-c", f'. ./environment && printf %s "${CLIENT_SECRET}"'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == access.secret
    assert not (tmp_path / "planted").exists()


def test_a_secret_is_not_in_what_is_printed_of_an_access():
    """Log lines and tracebacks show such values."""
    assert "hidden" not in repr(Access("http://a", "user:hidden"))
    assert CLIENT_SECRET not in Access("http://a", None).for_clients()
