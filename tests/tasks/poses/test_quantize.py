"""int8 forms: made from clips, kept by hash, used by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest

from tasks.core.choices import Precision
from tasks.core.errors import FightposeError
from tasks.poses.agreement import Likeness
from tasks.poses.models import ModelEntry, load_model, resolve_model
from tasks.poses.published_models import quantized_path
from tasks.poses.quantize import calibration_frames, quantize_model
from tests.tasks.poses.fake_rtmo import save_fake_rtmo
from tests.video_factory import person_image, plain_frames, write_video


def test_too_few_frames_are_refused(tmp_path: Path) -> None:
    """A clip of half a second says nothing about a camera."""
    clip = write_video(tmp_path / "a.mp4", plain_frames(6))
    with pytest.raises(FightposeError, match="1 frames are too few"):
        calibration_frames([clip])
    with pytest.raises(FightposeError, match="0 frames are too few"):
        calibration_frames([])


def test_frames_come_from_all_clips_that_can_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every twelfth frame of each; a broken clip costs only itself."""
    clips = [write_video(tmp_path / f"{n}.mp4", plain_frames(49)) for n in range(2)]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert len(calibration_frames([broken, *clips])) == 10
    assert "broken.mp4: not a video that can be read" in caplog.text


def test_without_nncf_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setattr("tasks.poses.quantize.importlib.util.find_spec", lambda name: None)
    with pytest.raises(FightposeError, match="make install-int8"):
        quantize_model(resolve_model(str(save_fake_rtmo(tmp_path / "x.onnx"))), [])


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    """Return a model whose int8 form is the model itself, made without NNCF."""
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setattr("tasks.poses.quantize.importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("tasks.poses.quantize.quantized_by_nncf", lambda path, *rest: openvino.Core().read_model(path))
    return resolve_model(str(save_fake_rtmo(tmp_path / "x.onnx")))


def red_dots(count: int) -> list[np.ndarray]:
    """Return frames whose reddest pixel is where the stand-in sees a person, in other places each."""
    frames = [np.zeros((64, 64, 3), np.uint8) for _ in range(count)]
    for place, frame in enumerate(frames):
        frame[20, 20 + place] = (0, 0, 255)
    return frames


def test_a_form_that_finds_other_people_is_kept_only_by_force(stand_in, monkeypatch):
    """The figures are in the message, and the form of before stays as it was."""
    quantize_model(stand_in, red_dots(8))
    made = quantized_path(stand_in.sha256)
    before = {path.name: path.read_bytes() for path in made.parent.iterdir()}
    assert sorted(before) == [made.with_suffix(suffix).name for suffix in (".bin", ".json", ".xml")]
    monkeypatch.setattr("tasks.poses.quantize.likeness", lambda *people: Likeness(4, 9, 0.5, 0.75))
    with pytest.raises(FightposeError, match=r"the same number in 50.0% of the frames, mean OKS 0.750\); .*--force"):
        quantize_model(stand_in, red_dots(8))
    assert {path.name: path.read_bytes() for path in made.parent.iterdir()} == before
    made.with_suffix(".json").unlink()
    assert not quantize_model(stand_in, red_dots(8), force=True).holds
    assert "50.0%" in made.with_suffix(".json").read_text()


@pytest.mark.model
# NNCF and what it imports warn about themselves.
@pytest.mark.filterwarnings("ignore")
def test_the_embedded_model_becomes_int8_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """From frames to a model that `--precision int8` loads and that still sees a person; NNCF prints nothing."""
    pytest.importorskip("nncf", reason="pip install -e .[int8]")
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(tmp_path))
    entry = resolve_model("movenet-multipose")
    frames = [person_image(320, 240, centre=0.2 + 0.05 * n) for n in range(8)]
    found = quantize_model(entry, frames, force=True)
    assert capfd.readouterr() == ("", "")
    assert found.frames == 4
    made = quantized_path(entry.sha256)
    assert sorted(path.suffix for path in made.parent.iterdir()) == [".bin", ".json", ".xml"]
    people = load_model("movenet-multipose", precision=Precision.INT8).detect(frames[:1])[0]
    assert np.max(people.score) > 0.1
