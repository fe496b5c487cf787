"""Serving the review page until it is stopped."""

from __future__ import annotations

import getpass
import secrets
import socket
from contextlib import suppress
from pathlib import Path

from flows.cli.output import Output
from tasks.core.errors import FightposeError

HOST = "127.0.0.1"
"""Nothing but this machine: footage of people must not be shown to a network by mistake."""


def serve(output_root: Path, port: int, who: str | None, output: Output) -> None:
    """Serve the review page of an output root, and print its address.

    Parameters
    ----------
    output_root
        The output root.
    port
        TCP port; 0 for any that is free.
    who
        Name that corrections are signed with; the login name if None.
    output
        How the address is printed.

    Raises
    ------
    FightposeError
        If the folder holds nothing to review, or the port is taken.
    """
    import uvicorn

    from flows.review.app import address, create_app
    from flows.review.service import ReviewDesk

    desk = ReviewDesk(output_root, who or _login())
    with _listening(port) as listener:
        host = f"{HOST}:{listener.getsockname()[1]}"
        token = secrets.token_urlsafe(24)
        app = create_app(desk, token, host)
        # Server and date tell nothing that anybody needs; requests are not logged, as they would fill the terminal.
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        url = address(host, token)
        # If quiet, too: without the address nobody gets in.
        Output(output.as_json).tell({"url": url}, [f"Review page: {url}"])
        output.progress("Open it in a browser on this machine; Ctrl-C ends it.")
        desk.start()
        try:
            # Ctrl-C is the way to end it, not an accident. uvicorn closes everything first and then raises the signal
            # again, which ends in this exception most times, and at times in nothing.
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
            output.progress("Closed. Corrections are kept; 'fightpose apply-review' puts them into effect.")
        finally:
            desk.stop()


def _listening(port: int) -> socket.socket:
    """Return a socket bound to the port, so that the address is known before it is printed."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A port of a page that was just closed can be taken again at once.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        # A browser that is quicker than the server waits instead of being refused.
        listener.listen()
    except OSError as error:
        listener.close()
        raise FightposeError(f"port {port} cannot be used: {error.strerror}; choose another --port") from error
    return listener


def _login() -> str:
    """Return the login name, or a word where the system has none for this user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number that no user has.
        return "reviewer"
