"""Prefect's own UI: the form says what may be entered, a run over a folder is started from it, and its results show."""

from __future__ import annotations

import base64
import contextvars
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.objects import FlowRun

from tests.integration.clips import make_clips
from tests.integration.cluster import Cluster, client

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=window.hit=1> [x](javascript:window.hit=1) `q`.mp4"
ORDER = [
    "input", "output_root", "mode", "settings", "num_workers", "demo_count", "in_flight", "fail_on", "fail_share",
    "settle_seconds",
]  # fmt: skip
"""The parameters in the order of the form: what must be given first, what few will ever touch last."""

UIS = ("", "/v2")
"""Prefect 3.9 has two; its front page leads to the second."""


def aside(call: Callable[[], Any]) -> Any:
    """Call something in a thread: Playwright keeps an event loop in this one, and Prefect would start another."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, call).result()


@pytest.fixture(scope="module")
def cluster(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a server with workers and with the stand-in for the model."""
    with Cluster(tmp_path_factory.mktemp("ui")) as running:
        aside(lambda: running.provision(gpu=2, cpu=2))
        running.worker("gpu", "gpu-1")
        running.worker("cpu", "cpu-1")
        yield running


@pytest.fixture
def page(chromium: Any, cluster: Cluster) -> Iterator[Any]:
    """Give a page of a browser that is logged in; whatever a name makes run in it fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    # Where Prefect's UIs keep what was entered in their log-in form.
    stored = base64.b64encode((cluster.access.secret or "").encode()).decode()
    context.add_init_script(f"localStorage.setItem('prefect-password', '{stored}')")
    opened = context.new_page()
    # A machine that is busy with other tests takes its time to draw.
    opened.set_default_timeout(120_000)
    yield opened
    assert opened.evaluate("window.hit") is None
    context.close()


def root(cluster: Cluster) -> str:
    """Return the address of the UI."""
    return cluster.api.removesuffix("/api")


def form_of(page: Any, cluster: Cluster, ui: str) -> None:
    """Open the form that starts a run over a folder."""
    with client() as api:
        deployment = api.read_deployment_by_name("annotate-dataset/annotate-dataset")
    page.goto(f"{root(cluster)}{ui}/deployments/deployment/{deployment.id}/run")
    page.wait_for_selector("text=settle_seconds")


def fill(page: Any, place: int, value: str) -> None:
    """Fill a field of the form and see that it keeps the value: a form that is drawn again would lose it."""
    field = page.get_by_role("textbox").nth(place)
    for _ in range(60):
        field.fill(value)
        page.wait_for_timeout(500)
        if field.input_value() == value:
            return
    raise AssertionError(f"field {place} of the form does not keep {value}")


def started(page: Any) -> FlowRun:
    """Return the run that the form has started; its page is of no use on a machine too busy to show it."""
    for _ in range(600):
        with client() as api:
            if runs := [run for run in api.read_flow_runs() if run.deployment_id and not run.parent_task_run_id]:
                (run,) = runs
                return run
        page.wait_for_timeout(500)
    raise AssertionError(f"no run was started; the form says: {page.inner_text('form')}")


def picture(page: Any, name: str) -> None:
    """Keep a picture for the docs where a folder for them is named."""
    if folder := os.environ.get("FIGHTPOSE_TEST_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


@pytest.mark.parametrize("ui", UIS)
def test_the_ui_asks_for_the_string_that_up_prints_and_works_with_it(chromium, cluster, ui):
    """Before that it shows nothing; a wrong string is refused; afterwards it stays logged in."""
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{root(cluster)}{ui}/deployments")
    field = page.locator("input").first
    for entered in ("fightpose:wrong", cluster.access.secret):
        field.wait_for()
        assert page.locator("text=annotate-dataset").count() == 0
        field.fill(entered)
        field.press("Enter")
        # The form stays where the string was wrong, and goes where it was right.
        page.wait_for_timeout(3000)
    page.goto(f"{root(cluster)}{ui}/deployments")
    page.wait_for_selector("text=annotate-dataset")
    page.reload()
    page.wait_for_selector("text=annotate-dataset")
    picture(page, f"logged-in{ui.replace('/', '-')}")
    context.close()


@pytest.mark.parametrize("ui", UIS)
def test_the_form_has_every_parameter_in_order_with_its_description(page, cluster, ui):
    """In both UIs; nothing that a user has to guess."""
    form_of(page, cluster, ui)
    text = page.inner_text("form")
    places = [text.index(f"\n{name}") for name in ORDER]
    assert places == sorted(places)
    for description in (
        "Folder of clips, or one clip.",
        "Folder below which the input's tree is mirrored.",
        "pool deals shards of clips to the work pool.",
        "When failed clips make this run a failed one",
    ):
        assert description in text
    picture(page, f"form{ui.replace('/', '-')}")


def test_a_value_out_of_range_is_refused_with_its_reason(page, cluster):
    """By the form; nothing is started."""
    form_of(page, cluster, "")
    fill(page, 1, "/nowhere")
    fill(page, 2, "/nowhere/out")
    page.locator("input[type=number]").nth(1).fill("500")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_selector("text=500 is greater than the maximum of 200")
    picture(page, "refused")
    # What an enum may be is a list to choose from, not a field to fill.
    shown = page.locator("form button.p-select-button__control").all_inner_texts()
    assert [text.strip() for text in shown] == ["pool", "none"]
    with client() as api:
        assert api.read_flow_runs() == []


def test_a_run_that_is_started_from_the_form_annotates_the_folder_and_shows_what_came_of_it(page, cluster, tmp_path):
    """A whole run: form, clips on the pool, table of the folder, card of a clip; names stay names."""
    clips = make_clips(tmp_path / "clips", 3, frames=24, width=320, height=180)
    clips[0].rename(clips[0].with_name(HOSTILE))
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"no video")
    form_of(page, cluster, "")
    fill(page, 1, str(tmp_path / "clips"))
    fill(page, 2, str(tmp_path / "out"))
    page.get_by_role("button", name="Submit").click()
    run = started(page)
    ended = cluster.wait(run, 1800)
    assert ended.state is not None
    assert ended.state.is_completed()
    assert len(cluster.extractions()) == 3
    assert len(list((tmp_path / "out").rglob("*_annotation.pkl"))) == 3

    table, card = artifact(run, "table"), artifact(child(run, HOSTILE), "markdown")
    assert artifact(run, "progress") is not None
    for ui in UIS:
        page.goto(f"{root(cluster)}{ui}/artifacts/artifact/{table}")
        page.wait_for_selector("text=PROCESSING_ERROR")
        assert page.get_by_text("\\x3cimg src=x onerror=window.hit=1\\x3e \\x5bx\\x5d(javascript:window.hit=1)").count()
        assert page.locator("td a, td img").count() == 0
        picture(page, f"table{ui.replace('/', '-')}")
        page.goto(f"{root(cluster)}{ui}/artifacts/artifact/{card}")
        page.wait_for_selector(f"text={HOSTILE}")
        assert page.locator("img[alt='frame 12'], img[src^='data:image/jpeg']").count() == 1
        assert page.locator("a[href^='javascript:']").count() == 0
        assert "Extraction took" in page.inner_text("main, body")
        picture(page, f"card{ui.replace('/', '-')}")
    page.goto(f"{root(cluster)}/runs/flow-run/{run.id}")
    page.wait_for_selector("text=Completed")
    page.wait_for_timeout(5000)
    picture(page, "run")


def artifact(run: FlowRun, kind: str) -> Any:
    """Return the identifier of a run's artifact of a type."""
    chosen = ArtifactFilter.model_validate({"flow_run_id": {"any_": [run.id]}, "type": {"any_": [kind]}})
    with client() as api:
        (found,) = api.read_artifacts(artifact_filter=chosen)
    return found.id


def child(run: FlowRun, name: str) -> FlowRun:
    """Return the run of one clip."""
    with client() as api:
        (found,) = [made for made in api.read_flow_runs() if str(made.parameters.get("video", "")).endswith(name)]
    return found
