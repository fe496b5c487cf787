"""The pictures of pages, by Chromium: the review page, and Prefect's form, card, table and run of a shard.

    python -m tests.docs.screenshots [DEMO-OUTPUT]

Part of `make docs-pictures`. The review page shows what `make demo` wrote. For Prefect's UI a server and workers of its
own are started, with a stand-in for the model, which takes minutes. Writes `docs/review-page.jpg`,
`docs/prefect-form.jpg`, `docs/prefect-card.jpg`, `docs/prefect-table.jpg` and `docs/pictures/prefect-shard.jpg`.
"""

from __future__ import annotations

import base64
import contextvars
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from tests.browser.conftest import serving
from tests.integration.clips import make_clips
from tests.integration.cluster import Cluster, client

DOCS = Path(__file__).parents[2] / "docs"
CLIPS = 10
"""More than the eight up to which each clip has a run of its own: these make a shard."""

SIZE = {"width": 1280, "height": 860}
WIDTH = 900
"""Of the pictures, pixels: what a page of the docs shows."""


def aside(call: Any) -> Any:
    """Call something in a thread: playwright keeps an event loop in this one, and Prefect would start another."""
    # With the context, in which the address of the server is.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, call).result()


@contextmanager
def browser(secret: str = "") -> Iterator[Any]:
    """Give a page of a Chromium; with the secret of a Prefect server it is logged in there."""
    with sync_playwright() as driver:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = opened.new_context(viewport=SIZE)
        # Where Prefect's UI keeps what was entered in its log-in form.
        stored = base64.b64encode(secret.encode()).decode()
        context.add_init_script(f"localStorage.setItem('prefect-password', '{stored}')")
        page = context.new_page()
        page.set_default_timeout(180_000)
        yield page
        opened.close()


def keep(page: Any, path: Path, width: int = WIDTH, above: str = "") -> None:
    """Write what the page shows, or what of it is above a text, as a small JPEG, so many pixels wide."""
    size = page.viewport_size
    # A card ends with paths of this machine, which do not belong into the docs.
    height = page.locator(f"text={above}").first.bounding_box()["y"] if above else size["height"]
    shot = page.screenshot(clip={"x": 0, "y": 0, "width": size["width"], "height": height})
    image = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    scaled = (width, round(width * image.shape[0] / image.shape[1]))
    cv2.imwrite(str(path), cv2.resize(image, scaled, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 82])


def shard_of(name: str = "annotate-shard") -> Any:
    """Return the finished run of the shard."""
    with client() as api:
        (deployment,) = [one for one in api.read_deployments() if one.name == name]
        return next(run for run in api.read_flow_runs() if run.deployment_id == deployment.id)


def review_page(demo: Path) -> None:
    """Take the picture of one clip on the review page, with some people's roles marked; the demo stays as it is."""
    with tempfile.TemporaryDirectory(prefix="fightpose-") as name:
        root = shutil.copytree(demo / "annotated", Path(name) / "out")
        with serving(root) as address, browser() as page:
            page.set_viewport_size({"width": 1360, "height": 900})
            page.goto(address)
            page.click("text=cam02")
            page.wait_for_selector("#clip-name")
            for key in ("1", "f", "2", "f", "3", "b", "1"):
                page.keyboard.press(key)
                page.wait_for_timeout(1_500)
            # Both fighters and the bystander are clear of each other there.
            page.evaluate("document.querySelector('input[type=range]').value = 62")
            page.dispatch_event("input[type=range]", "input")
            page.wait_for_timeout(6_000)
            keep(page, DOCS / "review-page.jpg", 1360)


def prefect_pages() -> None:
    """Run one folder as a shard and one clip by clip, and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="fightpose-") as name, Cluster(Path(name) / "server") as cluster:
        folder = Path(name)
        make_clips(folder / "clips", CLIPS, width=320, height=180)
        cluster.provision(gpu=2, cpu=2)
        cluster.worker("gpu", "gpu-1")
        cluster.worker("cpu", "cpu-1")
        run_of(cluster, folder / "clips", folder / "out")
        # So few that each has a run and a card of its own; one of them fails.
        make_clips(folder / "few", 3, width=320, height=180)
        (folder / "few/Fight/broken.mp4").write_bytes(b"")
        few = run_of(cluster, folder / "few", folder / "out-few")
        root, shard = cluster.api.removesuffix("/api"), shard_of()
        table, card = artifact_of("table", few.id), artifact_of("markdown")
        with browser(cluster.access.secret or "") as page:
            page.goto(f"{root}/runs/flow-run/{shard.id}")
            page.wait_for_selector("text=Completed")
            # The graph of the tasks is drawn after the page.
            page.wait_for_timeout(10_000)
            keep(page, DOCS / "pictures/prefect-shard.jpg")
            with_form = aside(lambda: _deployment("annotate-dataset"))
            page.goto(f"{root}/deployments/deployment/{with_form}/run")
            page.wait_for_selector("text=settle_seconds")
            page.wait_for_timeout(3_000)
            keep(page, DOCS / "prefect-form.jpg")
            page.goto(f"{root}/artifacts/artifact/{card}")
            page.wait_for_selector("text=annotation:")
            keep(page, DOCS / "prefect-card.jpg", above="annotation:")
            page.goto(f"{root}/artifacts/artifact/{table}")
            page.wait_for_selector("text=broken.mp4")
            page.wait_for_timeout(2_000)
            keep(page, DOCS / "prefect-table.jpg")


def run_of(cluster: Cluster, clips: Path, out: Path) -> Any:
    """Run the deployment over a folder and return the run when it has completed."""
    run = cluster.run("annotate-dataset", input=str(clips), output_root=str(out))
    ended = cluster.wait(run, 1800)
    assert ended.state is not None
    assert ended.state.is_completed(), ended.state
    return ended


def artifact_of(kind: str, run: Any = None) -> Any:
    """Return the identifier of an artifact of a type, of a run or of any, whose clip has an annotation."""
    with client() as api:
        found = [one for one in api.read_artifacts() if one.type == kind and run in (None, one.flow_run_id)]
        return next(one.id for one in found if kind == "table" or "annotation:" in str(one.data))


def _deployment(name: str) -> Any:
    """Return the identifier of a deployment."""
    with client() as api:
        return api.read_deployment_by_name(f"{name}/{name}").id


if __name__ == "__main__":
    start = time.monotonic()
    demo = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
    review_page(demo)
    prefect_pages()
    print(f"{time.monotonic() - start:.0f} s")  # noqa: T201 - a program of developers
