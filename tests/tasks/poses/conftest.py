"""Fixtures of the tests that run mmpose."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest


class MmposeModel(NamedTuple):
    """An RTMO-t of random weights: its config, its checkpoint, and mmpose's own model of them."""

    config: Path
    checkpoint: Path
    reference: Any


@pytest.fixture(scope="session")
def rtmo_t(tmp_path_factory: pytest.TempPathFactory) -> MmposeModel:
    """Return the model; made once, as importing mmpose and calibrating take about 20 s."""
    torch = pytest.importorskip("torch", reason="make install-mmpose")
    pytest.importorskip("mmengine", reason="make install-mmpose")
    from tasks.poses.backends.mmpose.compat import importable_mmpose
    from tests.tasks.poses.random_rtmo import save_random_checkpoint, shipped_config

    torch.set_num_threads(1)
    with importable_mmpose():
        from mmpose.apis import init_model

        config = shipped_config("rtmo-t")
        checkpoint = save_random_checkpoint(config, tmp_path_factory.mktemp("mmpose") / "rtmo-t.pth")
        reference = init_model(str(config), None, "cpu")
    # Loaded here and not by init_model: mmengine 0.10 cannot read numpy objects with torch 2.6 or later.
    reference.load_state_dict(torch.load(checkpoint, weights_only=False)["state_dict"])
    return MmposeModel(config, checkpoint, reference)
