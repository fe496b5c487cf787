"""Connections of the review page: one that never finishes its request is closed.

Uvicorn waits for the rest of a request as long as it takes. A program that opens connections and sends half a request
on each would hold them, and the memory behind them, for as long as the page is served.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 20.0
"""How long the parts of one request may take to arrive: a browser on this machine needs milliseconds."""


class ImpatientProtocol(H11Protocol):
    """Uvicorn's HTTP protocol, which in addition closes connections whose request does not get complete."""

    _looked_at: Any = None
    _was_waiting = False
    _next_look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and look at it from now on."""
        super().connection_made(transport)
        # A timer of the loop costs no thread and no task for each of the several connections that a browser opens.
        self._next_look = self.loop.call_later(REQUEST_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        # The timer would keep the connection, and the memory behind it, for another period.
        if self._next_look is not None:
            self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close the connection if the same request was incomplete at the last look, or none has begun since."""
        cycle = self.cycle
        # No cycle before the first head is complete; a finished one is followed by the head of the next request; the
        # body of a request comes in parts.
        is_waiting = cycle is None or cycle.response_complete or cycle.more_body
        if is_waiting and self._was_waiting and cycle is self._looked_at:
            self.transport.close()
            return
        # Closed at the second look only: a request that began just before the first one gets a whole period, too.
        self._looked_at, self._was_waiting = cycle, is_waiting
        self._next_look = self.loop.call_later(REQUEST_SECONDS, self._look)
