"""int8 forms: made from clips, kept by hash, used by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.core.choices import Precision
from tasks.core.errors import FightposeError
from tasks.poses.models import load_model, resolve_model
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
    with pytest.raises(FightposeError, match=r"pip install 'fightpose\[int8\]'"):
        quantize_model(resolve_model(str(save_fake_rtmo(tmp_path / "x.onnx"))), [])


@pytest.mark.model
# NNCF and what it imports warn about themselves.
@pytest.mark.filterwarnings("ignore")
def test_the_embedded_model_becomes_int8_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From frames to a model that `--precision int8` loads and that still sees a person."""
    pytest.importorskip("nncf", reason="pip install -e .[int8]")
    monkeypatch.setenv("FIGHTPOSE_MODEL_DIR", str(tmp_path))
    entry = resolve_model("movenet-multipose")
    frames = [person_image(320, 240, centre=0.2 + 0.05 * n) for n in range(8)]
    found = quantize_model(entry, frames)
    assert found.frames == 4
    made = quantized_path(entry.sha256)
    assert sorted(path.suffix for path in made.parent.iterdir()) == [".bin", ".json", ".xml"]
    people = load_model("movenet-multipose", precision=Precision.INT8).detect(frames[:1])[0]
    assert np.max(people.score) > 0.1
