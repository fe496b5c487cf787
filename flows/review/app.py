"""The local review page: a small web application over one output root.

It listens on 127.0.0.1 only. Still, every web page that the same browser shows can send requests there, and so can
every user of the machine; therefore

- every request needs the token of the printed address, which becomes a cookie (HttpOnly, SameSite=Strict);
- the Host header must name this address: a foreign name that was made to resolve to 127.0.0.1 is refused;
- changes must be JSON and, where the browser says where they come from, come from this page;
- clips are addressed by a hash, and a file is sent only if it really lies below the output root;
- the page's policy allows nothing but its own files, and texts reach it as JSON, never as HTML.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request, cookie_parser
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.review.service import NoSuchClipError, ReviewService
from tasks.core.errors import FightposeError
from tasks.language import language, page_words, translated
from tasks.review.log import Change

STATIC = Path(__file__).with_name("static")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

MOST_BYTES = 64_000
"""Longest body of a request: a note of 4000 characters takes a quarter of it."""

Handler = Callable[[Request], Awaitable[Response]]


class _Correction(BaseModel):
    """The body of a request that corrects: some changes, made one after the other."""

    model_config = ConfigDict(extra="forbid")

    changes: list[Change] = Field(min_length=1, max_length=100)


class AuthenticationMiddleware:
    """Answers a request only if the page itself made it, and marks every answer with the page's policy.

    Parameters
    ----------
    app
        The application behind it.
    token
        The secret of the printed address.
    host
        Host and port under which the server is reached; its cookie carries the port, as cookies do not tell ports of
        one host apart.
    """

    def __init__(self, app: ASGIApp, token: str, host: str) -> None:
        self._app = app
        # As bytes: `compare_digest` takes no text beyond ASCII, which anybody may send.
        self._token = token.encode()
        self._host = host
        self._cookie = f"fightpose_review_{host.rpartition(':')[2]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            # There are none here; unanswered, the handshake would end as an error of the server.
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_marked(message: Message) -> None:
            """Add the headers that every answer has."""
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                # Footage of people is kept in no cache, unless an answer names its own time (thumbnails).
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope)
        refusal = self._refusal(request)
        await (refusal or self._app)(scope, receive, send_marked)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that may not come in, or that brings the token; None for all others."""
        # First of all: a cookie alone does not prove that a change comes from the page.
        if request.method not in ("GET", "HEAD") and not self._is_ours(request.headers):
            return PlainTextResponse(translated("Corrections are taken from the review page only."), 403)
        offered = request.query_params.get("token")
        if offered is not None and request.url.path == "/" and self._fits(offered):
            # The token leaves the address bar, and so the history and every screenshot.
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._cookie, offered, httponly=True, samesite="strict")
            return answer
        # All else, pictures and videos included, comes in by the cookie: browsers add no header of ours to those.
        cookie = cookie_parser(request.headers.get("cookie", "")).get(self._cookie, "")
        if not self._fits(cookie):
            return PlainTextResponse(translated("Open the address that 'fightpose review' printed."), 403)
        return None

    def _fits(self, offered: str) -> bool:
        """Tell whether a token is the right one, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(offered.encode("utf-8", "surrogatepass"), self._token)

    def _is_ours(self, headers: Headers) -> bool:
        """Tell whether a change comes from the page: forms of other pages cannot send JSON, nor hide their origin."""
        # Programs that are not browsers send no origin; they need the token all the same.
        origin = headers.get("origin")
        is_json = headers.get("content-type", "").partition(";")[0].strip() == "application/json"
        return is_json and origin in (None, f"http://{self._host}")


def create_app(service: ReviewService, token: str, host: str) -> Starlette:
    """Return the application.

    Parameters
    ----------
    service
        What it serves.
    token
        The secret without which no request is answered.
    host
        Host and port under which it is reached, for example `127.0.0.1:8765`.
    """
    api = _Api(service)
    routes = [
        Route("/", api.page),
        Route("/api/words", api.words),
        Route("/api/clips", api.clips),
        Route("/api/clips/{key}", api.clip),
        Route("/api/clips/{key}/corrections", api.correct, methods=["POST"]),
        Route("/api/clips/{key}/undo", api.undo, methods=["POST"]),
        Route("/api/clips/{key}/redo", api.redo, methods=["POST"]),
        Route("/api/apply", api.apply, methods=["POST"]),
        Route("/thumbnails/{key}", api.thumbnail),
        Route("/videos/{key}", api.video),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    # Outermost first: a foreign name is refused before anything else is looked at.
    own_name = host.rpartition(":")[0]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=[own_name], www_redirect=False),
        Middleware(AuthenticationMiddleware, token=token, host=host),
    ]
    return Starlette(routes=routes, middleware=middleware)


def address(host: str, token: str) -> str:
    """Return the address to be printed."""
    return f"http://{host}/?{urlencode({'token': token})}"


def _answered(handler: Callable[[Any, Request], Awaitable[Response]]) -> Any:
    """Turn the errors that a request can cause into answers with one line that says what to do."""

    @wraps(handler)
    async def answer(self: Any, request: Request) -> Response:
        """Run the handler."""
        try:
            return await handler(self, request)
        except NoSuchClipError as error:
            return JSONResponse({"error": translated(str(error))}, 404)
        except ValidationError as error:
            # The first of pydantic's findings only: the page shows one line.
            return JSONResponse({"error": f"not a correction: {error.errors()[0]['msg']}"}, 422)
        except FightposeError as error:
            return JSONResponse({"error": translated(str(error))}, 409)

    return answer


class _Api:
    """The handlers of all routes; file work is done in threads."""

    def __init__(self, service: ReviewService) -> None:
        self._service = service

    async def page(self, request: Request) -> Response:
        """Send the page."""
        return FileResponse(STATIC / "index.html")

    async def words(self, request: Request) -> Response:
        """Send the language of the page, and its words by their English texts."""
        return _json({"lang": language(), "words": page_words()})

    @_answered
    async def clips(self, request: Request) -> Response:
        """Send one page of the gallery."""
        return _json(await run_in_threadpool(self._service.find, dict(request.query_params)))

    @_answered
    async def clip(self, request: Request) -> Response:
        """Send one clip."""
        return _json(await run_in_threadpool(self._service.view, request.path_params["key"]))

    @_answered
    async def correct(self, request: Request) -> Response:
        """Take corrections and send the clip as it is with them."""
        body = await _body(request)
        correction = _Correction.model_validate_json(body)
        return _json(await run_in_threadpool(self._service.correct, request.path_params["key"], correction.changes))

    @_answered
    async def undo(self, request: Request) -> Response:
        """Take back one correction: the last one, or the one that the body names."""
        wanted = _Wanted.model_validate_json(await _body(request))
        return _json(await run_in_threadpool(self._service.undo, request.path_params["key"], wanted.entry))

    @_answered
    async def redo(self, request: Request) -> Response:
        """Take back the last undo."""
        await _body(request)
        return _json(await run_in_threadpool(self._service.redo, request.path_params["key"]))

    @_answered
    async def apply(self, request: Request) -> Response:
        """Put all corrections into effect."""
        await _body(request)
        return _json(await run_in_threadpool(self._service.apply))

    @_answered
    async def thumbnail(self, request: Request) -> Response:
        """Send a thumbnail."""
        path = await run_in_threadpool(self._service.thumbnail, request.path_params["key"])
        # The gallery names the overlay's time of change in the address, so that a new one is asked for at once.
        return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @_answered
    async def video(self, request: Request) -> Response:
        """Send the overlay video, or the part of it that the browser asks for."""
        path = await run_in_threadpool(self._service.video, request.path_params["key"])
        # Browsers play H.264 in mov as well, but not under the name of that container.
        return FileResponse(path, media_type="video/mp4", headers={"Cache-Control": "private, no-cache"})


class _Wanted(BaseModel):
    """The body of an undo."""

    model_config = ConfigDict(extra="forbid")

    entry: str | None = Field(None, max_length=64)


async def _body(request: Request) -> bytes:
    """Return the body of a request, refusing one that is too long before it is all in memory."""
    body = b""
    # By what arrives and not by Content-Length, which a sender may leave out or get wrong.
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise FightposeError("the request is too long; shorten the note")
    return body


def _json(value: Any) -> Response:
    """Return a JSON answer; ASCII only, as a name may hold bytes that are no UTF-8."""
    return Response(json.dumps(value, ensure_ascii=True, separators=(",", ":")), media_type="application/json")
