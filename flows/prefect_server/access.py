"""The secret of a Prefect server: who may ask it, and how everybody who may learns it.

A program that may ask a Prefect server can start runs, and so execute commands on its workers. Prefect has basic
authentication for this: the server's setting `server.api.auth_string`, the clients' `api.auth_string`. Here the secret
is made, kept in a file that only its owner can read, and handed on in environment variables, never in arguments, which
every user of a machine can list.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

USER = "fightpose"
"""Prefect wants `user:password`; the user's name has no meaning."""

SECRET_BYTES = 32
"""Random bytes of a secret: beyond any guessing."""

SERVER_SECRET = "PREFECT_SERVER_API_AUTH_STRING"  # noqa: S105 - names of variables
CLIENT_SECRET = "PREFECT_API_AUTH_STRING"  # noqa: S105
ADDRESS = "PREFECT_API_URL"


@dataclass(frozen=True)
class Access:
    """How a Prefect server is reached.

    Parameters
    ----------
    address
        Address of its API, such as `http://127.0.0.1:4200/api`.
    secret
        What it asks for, as `user:password`; None for a server without authentication.
    """

    address: str
    # Kept out of log lines and tracebacks.
    secret: str | None = field(repr=False)

    def for_clients(self) -> dict[str, str]:
        """Return the environment variables by which Prefect's clients find the server."""
        return {ADDRESS: self.address, **({CLIENT_SECRET: self.secret} if self.secret else {})}


def new_secret() -> str:
    """Return a new random secret."""
    return f"{USER}:{secrets.token_urlsafe(SECRET_BYTES)}"


def for_server(secret: str) -> dict[str, str]:
    """Return the environment variables that make a server ask for a secret, and its own services know it."""
    return {SERVER_SECRET: secret, CLIENT_SECRET: secret}


def kept_secret(path: Path) -> str:
    """Return the secret in a file, made at first use: browsers and other machines stay logged in after a restart.

    Parameters
    ----------
    path
        The file. Only its owner can read it, whatever the mask of the process.
    """
    try:
        known = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        known = ""
    if not known:
        known = new_secret()
        write_private(path, f"{known}\n")
    return known


def write_shell_file(path: Path, variables: Mapping[str, str]) -> None:
    """Write environment variables as a file that a shell can source, readable for its owner only."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    write_private(path, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Write a file that was never readable for others, not even while it is being written."""
    partial = path.with_name(f".partial-{path.name}")
    partial.unlink(missing_ok=True)
    # Exclusive: nobody can have put a link or an open file of theirs in its place.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    partial.replace(path)
