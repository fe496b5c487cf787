"""Export to .onnx: kept only where it shows mmpose's people."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.errors import FightposeError
from tasks.core.settings import Thresholds
from tasks.poses.backends.rtmo import sidecar_path
from tasks.poses.detections import suppress_duplicates
from tasks.poses.models import load_model, resolve_model
from tests.command_line import run_alone
from tests.tasks.poses.conftest import MmposeModel
from tests.tasks.poses.random_rtmo import pictures, save_random_checkpoint, shipped_config
from tests.video_factory import plain_frames, write_video

# Warnings are those of mmengine, mmcv and mmpose about each other's imports.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")

CLIP = pictures(3, 640, 360, seed=3)


@pytest.mark.mmpose
@pytest.mark.parametrize("name", ["rtmo-t", "rtmo-s"])
def test_exported_file_shows_the_people_of_mmpose(name: str, rtmo_t: MmposeModel, tmp_path: Path) -> None:
    """The file alone is enough for --model: size, thresholds and hash stand in the JSON beside it."""
    from tasks.poses.backends.mmpose.model import MmposeRtmo
    from tasks.poses.export import export_model

    config, checkpoint = rtmo_t.config, rtmo_t.checkpoint
    if name != "rtmo-t":
        config = shipped_config(name)
        checkpoint = save_random_checkpoint(config, tmp_path / f"{name}.pth")
    out = tmp_path / "out" / f"{name}.onnx"
    agreement = export_model(config, checkpoint, out, CLIP)
    assert agreement.holds
    assert agreement.people > 10
    written = json.loads(sidecar_path(out).read_text())
    assert written["input_size"] == ([416, 416] if name == "rtmo-t" else [640, 640])
    assert written["source"]["checkpoint"] == checkpoint.name
    assert resolve_model(str(out)).thresholds == Thresholds()
    expected = MmposeRtmo(config, checkpoint, "cpu").detect(CLIP[:1])
    got = load_model(str(out)).detect(CLIP[:1])
    first, second = (suppress_duplicates(people, 0.3, 0.35) for (people,) in (expected, got))
    np.testing.assert_allclose(first.keypoints, second.keypoints, atol=0.5)


@pytest.mark.mmpose
def test_commands_find_mmpose_by_themselves(rtmo_t: MmposeModel, tmp_path: Path) -> None:
    """In processes that have imported nothing of it before; the poses of both forms are stored."""
    clip = write_video(tmp_path / "clip.mp4", [image for image in CLIP for _ in range(4)])
    out = tmp_path / "rtmo.onnx"
    files = [str(rtmo_t.config), str(rtmo_t.checkpoint)]

    def run(*command: str) -> str:
        """Run a command of fightpose and return what it printed."""
        done = run_alone(*command, PREFECT_HOME=tmp_path / "home", PREFECT_API_URL=None)
        return done.stdout + done.stderr

    told = run("export-model", *files, str(out), "--frames-of", str(clip))
    assert sidecar_path(out).is_file(), told
    for name, model in (
        ("file", ["--model", str(out)]),
        ("mmpose", ["--config", files[0], "--checkpoint", files[1], "--device", "cpu"]),
    ):
        told = run("annotate", str(clip), "--output-root", str(tmp_path / name), *model)
        assert len(list((tmp_path / name / ".fightpose/poses").rglob("*.npz"))) == 1, told
        # Weights that are random follow nobody.
        assert "NO_TRACKS" in told


@pytest.mark.mmpose
def test_frame_without_people_gives_nobody(rtmo_t: MmposeModel, tmp_path: Path) -> None:
    """No candidate at all: the shape that depends on the data is at its smallest."""
    from tasks.poses.export import export_model

    out = tmp_path / "rtmo.onnx"
    export_model(rtmo_t.config, rtmo_t.checkpoint, out, CLIP)
    (people,) = load_model(str(out)).detect([np.full((360, 640, 3), 114, np.uint8)])
    assert len(suppress_duplicates(people, 0.3, 0.35)) == 0


@pytest.mark.mmpose
def test_disagreement_is_refused_with_figures(
    rtmo_t: MmposeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left behind: neither the file nor its JSON."""
    from tasks.poses import export

    real = export.Rtmo.detect

    def shifted(self: Any, images: Any) -> Any:
        """Move every joint by two pixels."""
        found = real(self, images)
        for people in found:
            people.keypoints[...] += 2
        return found

    monkeypatch.setattr(export.Rtmo, "detect", shifted)
    out = tmp_path / "rtmo.onnx"
    with pytest.raises(FightposeError, match=r"disagrees with mmpose \(\d+ people in 3 frames.*joints within 2\.8"):
        export.export_model(rtmo_t.config, rtmo_t.checkpoint, out, CLIP)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.mmpose
def test_frames_without_people_prove_nothing(rtmo_t: MmposeModel, tmp_path: Path) -> None:
    """An empty comparison would always hold."""
    from tasks.poses.export import export_model

    with pytest.raises(FightposeError, match="sees nobody"):
        export_model(rtmo_t.config, rtmo_t.checkpoint, tmp_path / "rtmo.onnx", [np.full((64, 64, 3), 114, np.uint8)])


@pytest.mark.mmpose
def test_other_endings_are_refused(rtmo_t: MmposeModel, tmp_path: Path) -> None:
    """--model tells kinds of files by their ending."""
    from tasks.poses.export import export_model

    with pytest.raises(FightposeError, match=r"must end in \.onnx"):
        export_model(rtmo_t.config, rtmo_t.checkpoint, tmp_path / "rtmo.bin", CLIP)


def test_export_without_mmpose_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line instead of an ImportError."""
    from tasks.poses.export import export_model

    monkeypatch.setitem(sys.modules, "mmengine", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(FightposeError, match="make install-mmpose"):
        export_model(tmp_path / "a.py", tmp_path / "a.pth", tmp_path / "a.onnx", CLIP)


def test_frames_for_the_check_lie_apart(tmp_path: Path) -> None:
    """Neighbours would show the same people eight times."""
    from tasks.poses.export import CHECK_FRAMES, CHECK_STEP, check_frames

    short = write_video(tmp_path / "short.mp4", plain_frames(CHECK_STEP + 1))
    assert len(check_frames(short)) == 2
    long = write_video(tmp_path / "long.mp4", plain_frames(CHECK_STEP * CHECK_FRAMES + 5))
    assert len(check_frames(long)) == CHECK_FRAMES


def test_people_are_compared_as_sets() -> None:
    """The order of rows says nothing, and someone seen by one side alone counts."""
    from tasks.poses.detections import Detections
    from tasks.poses.export import matching_rows

    points = np.array([0, 50, 100], np.float32)[:, None, None] + np.zeros((3, 17, 2), np.float32)
    people = Detections(np.zeros((3, 4), np.float32), np.ones(3, np.float32), points, np.ones((3, 17), np.float32))
    pairs = matching_rows(people, people.select(np.array([2, 0])))
    assert pairs.tolist() == [[0, 1], [2, 0]]
