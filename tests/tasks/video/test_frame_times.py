"""Frame rates, and clips whose frame times cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.mapping.frame_counts import decode
from tasks.video.frame_times import usable_times
from tasks.video.reading import decode_frames, probe_video
from tasks.video.writing import VideoWriter
from tests.video_factory import plain_frames, write_video


def write_timed(path: Path, ticks: Sequence[int], timescale: int = 90_000, stated: int = 25) -> Path:
    """Write a clip whose frames have times of their own, in ticks, and whose codec states a rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(stated), options={"bf": "0"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, timescale)
        # The codec's own header states its rate, whatever the times are.
        stream.codec_context.options = {"x264-params": f"fps={stated}/1:force-cfr=1", "bf": "0"}
        for image, tick in zip(plain_frames(len(ticks)), ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = tick, Fraction(1, timescale)
            for packet in stream.encode(frame):
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


SQUEEZED = {
    "362 frames per second": [248 * i for i in range(60)],
    "3187 frames per second": [28 * i for i in range(60)],
    "a frame per tick": list(range(60)),
}


@pytest.mark.parametrize("name", SQUEEZED)
@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_squeezed_frame_times_are_not_used(tmp_path: Path, name: str, ending: str) -> None:
    """The clip runs at the rate that its codec states, and so does its overlay."""
    video = probe_video(write_timed(tmp_path / f"a{ending}", SQUEEZED[name]))
    assert not video.timed
    assert video.fps == pytest.approx(25)
    with VideoWriter(tmp_path / "overlay.mp4", video.fps, (video.width, video.height)) as writer:
        for frame in decode_frames(video):
            assert frame.time is None
            writer.write(frame.image, frame.time)
    frames, fps = decode(tmp_path / "overlay.mp4")
    assert frames == 60
    assert fps == pytest.approx(video.fps)


@pytest.mark.parametrize("fps", [1, 5, 10, 15, 25, 30, 50, 60, 100, 120])
@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv"])
def test_ordinary_rates_are_kept(tmp_path: Path, fps: int, ending: str) -> None:
    """Also those of short clips."""
    video = probe_video(write_video(tmp_path / f"a{ending}", plain_frames(20), fps=fps))
    assert video.timed
    assert video.fps == pytest.approx(fps, rel=0.01)


def test_slow_motion_of_more_than_a_second_is_believed(tmp_path: Path) -> None:
    """A camera of 240 frames per second."""
    video = probe_video(write_video(tmp_path / "a.mp4", plain_frames(300), fps=240))
    assert (video.timed, video.fps) == (True, 240)


def test_a_bare_stream_runs_at_the_rate_of_its_codec(tmp_path: Path) -> None:
    """There FFmpeg assumes 25 frames per second."""
    with av.open(str(tmp_path / "a.h264"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=Fraction(15))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in plain_frames(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    assert probe_video(tmp_path / "a.h264").fps == pytest.approx(15)


def test_a_clock_of_variable_rate_is_kept_and_others_are_not() -> None:
    """Jitter, rounded rates and broken clocks are no variable rate."""
    grid = np.arange(100) / 25
    jitter = grid + np.random.default_rng(1).uniform(-0.008, 0.008, 100)
    dropped = np.delete(grid, np.arange(30, 60, 2))
    assert usable_times(grid.tolist(), 25.0) is None
    assert usable_times((grid * 1.001).tolist(), 25.0) is None
    assert usable_times(jitter.tolist(), 25.0) is None
    assert usable_times([*grid[:-1].tolist(), None], 25.0) is None
    assert usable_times([*grid[:50].tolist(), 0.1, *grid[51:].tolist()], 25.0) is None
    assert usable_times([], 25.0) is None
    times = usable_times((dropped + 7).tolist(), 25.0)
    assert times is not None
    assert times == pytest.approx(dropped)
