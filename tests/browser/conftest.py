"""A headless Chromium of the system, and review pages served for it."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from flows.review.app import address, create_app
from flows.review.service import ReviewService

TOKEN = "browser-token"  # noqa: S105 - of the tests


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Give a running headless Chromium; skip where there is none, or nothing to drive it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install '.[dev]'")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # Its sandbox does not work for root, as tests run in containers; the pages are ours.
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def serving(output_root: Path) -> Iterator[str]:
    """Serve the review page of an output root and give its address."""
    service = ReviewService(output_root, "tester")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # Before the thread runs: a browser that comes earlier waits instead of being refused.
    listener.listen()
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(create_app(service, TOKEN, host), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    service.start()
    thread.start()
    try:
        yield address(host, TOKEN)
    finally:
        server.should_exit = True
        thread.join()
        service.stop()
        listener.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[[Path], Any]]:
    """Give a function that serves an output root and opens its page; what the page complains about fails the test."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def opened(output_root: Path) -> Any:
            """Open the page."""
            # Served first, so that the page is closed before its server: else its last request would be refused.
            url = stack.enter_context(serving(output_root))
            context = chromium.new_context(viewport={"width": 1440, "height": 900})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(15_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
            page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            page.goto(url)
            return page

        yield opened
    # A missing thumbnail of a synthetic clip is told as a failed resource, and replaced by words.
    assert [text for text in complaints if "404" not in text and "409" not in text] == []
