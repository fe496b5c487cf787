"""Large files over HTTP: continued where they broke off, tried again, and never half-written under their own name."""

from __future__ import annotations

import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.core.errors import FightposeError
from tasks.core.storage import PARTIAL_MARK

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
