"""Real clips annotated by the command line, and the environment of the programs that read the results."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import main as cli
from flows.cli.demo import DEMO_CLIPS
from tasks.core.download import fetch
from tasks.video.reading import Image, decode_frames, probe_video
from tests.video_factory import write_video

ROOT = Path(__file__).parents[2]

LENGTHS = (1, 2, 99, 100, 101, 1000)
"""Frames; mmaction2 samples 100, by other rules below, from and above that number."""

MOST_PEOPLE = 6
"""What the embedded model finds in one pass."""

Ask = Callable[..., dict[str, Any]]


def client_environment() -> dict[str, str]:
    """Return the environment of the client's processes: none of our modules, as on a training machine."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="session")
def client_python() -> Path:
    """Give the interpreter of the environment in which mmaction2 and datumaro are."""
    python = Path(os.environ.get("FIGHTPOSE_CLIENT_PYTHON", ROOT / ".venv-client/bin/python"))
    if not python.is_file():
        pytest.skip("make test-client")
    return python


@pytest.fixture(scope="session")
def mmaction(client_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Give a function that puts a request to mmaction2 in its own environment."""
    script = Path(__file__).with_name("mmaction_runs.py")

    def ask(
        passes: list[tuple[Path, str]] = (), pairs: Any = (), training: Path | None = None, configs: Any = ()
    ) -> dict[str, Any]:
        """Run the client once; it takes seconds to import."""
        folder = tmp_path_factory.mktemp("request")
        request = {"passes": list(passes), "pairs": list(pairs), "training": training, "configs": list(configs)}
        (folder / "request.json").write_text(json.dumps(request, default=str), encoding="utf-8")
        command = [client_python, script, folder / "request.json", folder / "answer.json"]
        run = subprocess.run(command, cwd=folder, env=client_environment(), capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr[-3000:]
        return json.loads((folder / "answer.json").read_text(encoding="utf-8"))

    return ask


def real_frames(camera: int, step: int) -> list[Image]:
    """Return the frames of a demo clip, every `step`-th pixel."""
    source = probe_video(fetch([DEMO_CLIPS[camera]])[0])
    return [np.ascontiguousarray(frame.image[::step, ::step]) for frame in decode_frames(source)]


def annotated(clips: Path, out: Path, *options: object) -> None:
    """Run `fightpose annotate` over a folder."""
    arguments = ["annotate", clips, "--output-root", out, "--second-look", "off", "--no-save-overlayfile", *options]
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="session")
def outputs_by_length(tmp_path_factory: pytest.TempPathFactory, prefect_server: str, embedded_model: None) -> Path:
    """Give the outputs of real clips of every length, half of them in a folder `Fight`."""
    folder = tmp_path_factory.mktemp("lengths")
    for camera, name in enumerate(("Fight", "NonFight")):
        frames = real_frames(camera, 6)
        # There and back again, so that a long clip has no jump in it.
        endless = cycle(chain(frames, reversed(frames)))
        (folder / "clips" / name).mkdir(parents=True)
        for length in LENGTHS:
            # The long one once: it takes a thousand runs of the model.
            if length < 1000 or name == "Fight":
                write_video(folder / "clips" / name / f"{length}.mp4", islice(endless, length), fps=60)
    annotated(folder / "clips", folder / "out", "--min-track-length", 1, "--track-min-hits", 1)
    return folder / "out"


@pytest.fixture(scope="session")
def outputs_by_people(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: str, embedded_model: None
) -> list[Path]:
    """Give the annotations of one crowded real clip with at most 1, 2, ... people in them."""
    folder = tmp_path_factory.mktemp("people")
    cameras = [real_frames(camera, 6)[:30] for camera in range(4)]
    # Two cameras above two others: twelve people, of whom the model finds what it can.
    sheets = [
        np.concatenate([np.concatenate(images[:2], axis=1), np.concatenate(images[2:], axis=1)])
        for images in zip(*cameras, strict=True)
    ]
    (folder / "clips/Fight").mkdir(parents=True)
    write_video(folder / "clips/Fight/crowd.mp4", sheets, fps=60)
    files = []
    for most in range(1, MOST_PEOPLE + 1):
        annotated(folder / "clips", folder / "out", "--max-persons", most)
        # The next run replaces the file; poses are not extracted again.
        files.append(folder / f"{most}.pkl")
        (folder / "out/clips/Fight/crowd_enhanced_stgcn_annotation.pkl").rename(files[-1])
    return files
