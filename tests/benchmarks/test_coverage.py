"""The coverage benchmark's own arithmetic, on hand-made detections."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.core.records import Poses, Tracks
from tasks.video.reading import decode_frames, probe_video
from tests.benchmarks.coverage import __main__ as command
from tests.benchmarks.coverage.empty_scenes import write_empty_scenes
from tests.benchmarks.coverage.measures import count_frames, count_tracked, longest_track_s, shares
from tests.benchmarks.labelled import Label
from tests.tasks.poses.fake_rtmo import save_fake_rtmo
from tests.tasks.poses.fake_top_down import save_top_down
from tests.video_factory import write_video

BOX = [10.0, 10.0, 30.0, 60.0]
LABEL = Label(
    "a.mp4",
    "s",
    {1: [{"person": 1, "role": "fighter", "box": BOX}, {"person": 2, "role": "bystander", "box": [70, 10, 90, 60]}]},
)


def poses(boxes: list[list[float]], frames: list[int]) -> Poses:
    """Return detections whose joints fill their boxes, in a clip of 20 frames at 10 frames per second."""
    bbox = np.array(boxes, np.float32).reshape(-1, 4)
    spread = np.linspace(0, 1, 17, dtype=np.float32)[None, :, None]
    joints = bbox[:, None, :2] + spread * (bbox[:, None, 2:] - bbox[:, None, :2])
    index = np.array(frames, np.int32)
    ones = np.ones((len(bbox), 17), np.float32)
    return Poses(index, bbox, ones[:, 0], joints, ones, frame_count=20, width=100, height=80, fps=10)


def test_covered_people_are_counted_by_role() -> None:
    """One of two labelled people is covered; detections in other frames do not count."""
    figures = shares(count_frames(poses([BOX, BOX], [0, 1]), LABEL))
    assert (figures["fighters"], figures["bystanders"]) == (1, 0)
    assert (figures["people_per_frame"], figures["doubles"]) == (1, 0)


def test_two_skeletons_on_one_person_are_a_double() -> None:
    """One of the two labelled people has two."""
    assert shares(count_frames(poses([BOX, BOX], [1, 1]), LABEL))["doubles"] == pytest.approx(0.5)


def test_nobody_found_is_no_coverage() -> None:
    """A clip without a detection is not an error."""
    nobody = poses([], [])
    tracks = Tracks(nobody, np.zeros(0, np.int32), np.zeros(0, bool))
    count = count_frames(nobody, LABEL) + count_tracked(tracks, LABEL, 10)
    assert shares(count)["fighters"] == shares(count)["fighters_tracked"] == 0
    assert longest_track_s(tracks, 10) == 0


def test_only_tracks_of_the_least_length_count() -> None:
    """Twelve frames at ten per second are 1.2 seconds."""
    found = poses([BOX] * 12, list(range(12)))
    tracks = Tracks(found, np.ones(12, np.int32), np.zeros(12, bool))
    assert longest_track_s(tracks, 10) == pytest.approx(1.2)
    assert longest_track_s(tracks, 13) == 0
    assert count_tracked(tracks, LABEL, 10)["tracked fighter covered"] == 1
    assert count_tracked(tracks, LABEL, 13)["tracked fighter covered"] == 0


def test_scenes_without_people_are_the_same_in_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their noise comes from the frame's number."""
    monkeypatch.setattr("tests.benchmarks.coverage.empty_scenes.FRAMES", 2)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = (write_empty_scenes(tmp_path / name) for name in ("first", "second"))
    assert [path.name for path in first] == [path.name for path in second]
    a, b = (next(decode_frames(probe_video(paths[0]))).image for paths in (first, second))
    assert (a == b).all()


def test_several_models_make_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`default` is what ships; the others bear their names, and all stand in one JSON file and one folder of pictures.

    The stand-ins of RTMO and of a top-down model see someone where the picture is red.
    """
    (tmp_path / "clips").mkdir()
    image = np.zeros((128, 128, 3), np.uint8)
    image[60:66, 60:66] = (0, 0, 255)
    write_video(tmp_path / "clips" / "red.mp4", [image] * 12)
    someone = {"person": "p1", "role": "fighter", "box": [51, 43, 75, 83]}
    (tmp_path / "labels.json").write_text(json.dumps({"red.mp4": {"source": "s", "frames": {"5": [someone]}}}))
    top_down = save_top_down(tmp_path)
    monkeypatch.setattr(command, "SHIPPED", str(save_fake_rtmo(tmp_path / "shipped.onnx")))
    monkeypatch.setattr("tests.benchmarks.coverage.empty_scenes.FRAMES", 2)
    arguments = ["coverage", "--clips", str(tmp_path / "clips"), "--labels", str(tmp_path / "labels.json")]
    arguments += ["--model", "default", "--model", str(top_down), "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--pictures", str(tmp_path / "pictures")])
    command.main()
    rows = json.loads((tmp_path / "out.json").read_text())
    other = f"{top_down.stem}: "
    assert list(rows) == ["default", "always", other + "default", other + "always"]
    assert rows["default"]["fighters"] == rows["default"]["fighters_tracked"] == 1
    assert rows["default"]["cost"] == rows["default"]["cpu"] == 1 < rows["always"]["cost"] <= 3
    assert f"{other}always" in capsys.readouterr().out
    assert {folder.name for folder in (tmp_path / "pictures").iterdir()} == {"shipped", top_down.stem}
    # Two files of one name would overwrite each other's rows.
    monkeypatch.setattr(sys, "argv", [*arguments, "--model", str(top_down)])
    with pytest.raises(SystemExit):
        command.main()
