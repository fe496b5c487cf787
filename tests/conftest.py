"""What all tests share: a quiet Prefect, one test server per session, and a pose model that costs nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from flows.prefect_server.server import prefect_api, prepare_environment
from tasks.poses.detections import Detections
from tasks.poses.models import load_model
from tasks.video.reading import Image
from tests.scenes import STANDING

# Before anything imports Prefect: it reads its settings once.
prepare_environment(console_level="CRITICAL")
# Messages are compared in English, whatever the locale of the machine.
os.environ["FIGHTPOSE_LANG"] = "en"
# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C. A test of what it
# does would fail there and nowhere else.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


SET_APART = ("integration", "browser", "client")
"""Markers of tests that run only when they are asked for by name, whatever other markers are.

Integration tests take minutes; the client's need an environment of its own. Playwright keeps an event loop running in
the process that it was used in, which Prefect's tests cannot have.
"""


@pytest.fixture(scope="session", autouse=True)
def _models_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what tests compile and quantise out of the user's model folder; child processes inherit it."""
    os.environ["FIGHTPOSE_MODEL_DIR"] = str(tmp_path_factory.mktemp("models"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests out that are set apart."""
    unasked = [marker for marker in SET_APART if marker not in (config.option.markexpr or "")]
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in unasked)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


class StandInModel:
    """A pose model that sees two people who swing their arms at each other, and counts the frames that it was given."""

    batch_size = 8

    def __init__(self, people: int = 2, from_frame: int = 0) -> None:
        self.people = people
        self.from_frame = from_frame
        self.frames = 0

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return the same people in every image, a little further on in each, none before `from_frame`."""
        found = []
        for image in images:
            found.append(self._people(image) if self.frames >= self.from_frame else Detections.none())
            self.frames += 1
        return found

    def _people(self, image: Image) -> Detections:
        """Place the people side by side in the middle of the image."""
        height, width = image.shape[:2]
        size = np.array([0.25 * height, 0.8 * height])
        swing = 0.1 * height * np.sin(self.frames / 2)
        bodies = []
        for index in range(self.people):
            corner = np.array([width * (0.2 + 0.3 * index) + self.frames % 3, 0.1 * height])
            body = corner + STANDING * size
            body[[7, 9, 15], 0] += swing
            bodies.append(body)
        keypoints = np.array(bodies, np.float32).reshape(-1, 17, 2)
        bbox = (
            np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1) if self.people else np.zeros((0, 4))
        )
        scores = np.full((len(keypoints), 17), 0.8, np.float32)
        return Detections(bbox.astype(np.float32), np.full(len(keypoints), 0.8, np.float32), keypoints, scores)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandInModel:
    """Put the stand-in in place of the embedded model, in this process."""
    model = StandInModel()
    monkeypatch.setattr("tasks.steps.model_of", lambda settings: model)
    monkeypatch.setattr("flows.annotate_dataset.model_of", lambda settings: model)
    return model


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Prefect server with a database of its own, for this session and its child processes.

    The one that local runs start, secret and all; its database is copied, not migrated, from the second session on.
    """
    # Sets logging up once, here: under `CliRunner`, whose stderr is another, the handler of absl (a library of the data
    # card's) would take pytest's stderr for a file of its own and close it.
    import prefect.main  # noqa: F401
    from prefect import context
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOCAL_STORAGE_PATH,
        temporary_settings,
    )

    # A server that the user has named is not for tests; a heartbeat costs each run of a flow up to a second.
    chosen = {
        PREFECT_API_URL: None,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("prefect"),
    }
    before = context.GLOBAL_SETTINGS_CONTEXT
    with temporary_settings(chosen), prefect_api() as address:
        # Threads begin with the settings of the process, not with those of the thread that starts them.
        context.GLOBAL_SETTINGS_CONTEXT = context.SettingsContext.get()
        try:
            yield address
        finally:
            context.GLOBAL_SETTINGS_CONTEXT = before


@pytest.fixture(scope="session")
def embedded_model() -> None:
    """Fetch and load the embedded model, once per session."""
    load_model("movenet-multipose")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Give a folder for outputs that does not exist yet."""
    return tmp_path / "out"
