"""The video writer: what it writes opens, keeps number and times of frames, and is never half there."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.core.errors import FightposeError
from tasks.video import writing as video_writer
from tasks.video.writing import VideoWriter, exact_rate


def grey_frames(count: int, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Return frames that grow lighter from first to last."""
    return [np.full((size[1], size[0], 3), 40 + 150 * i // max(count - 1, 1), np.uint8) for i in range(count)]


def decoded(path: Path) -> list[av.VideoFrame]:
    """Decode every frame of a video."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize(
    ("ending", "codec"), [(".mp4", "h264"), (".mov", "h264"), (".avi", "mpeg4"), (".AVI", "mpeg4")]
)
def test_every_container_opens_with_its_codec_and_all_frames(tmp_path: Path, ending: str, codec: str) -> None:
    """Regression: `if writer.write(frame)` took each codec for failed; OpenCV 5 keeps the black probe frame."""
    path = tmp_path / f"클립 하나{ending}"
    with VideoWriter(path, 30000 / 1001, (64, 48)) as writer:
        for frame in grey_frames(11):
            writer.write(frame)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == Fraction(30000, 1001)
    frames = decoded(path)
    assert len(frames) == 11
    # The first frame is the first one given, not a black one.
    assert abs(frames[0].to_ndarray(format="bgr24").mean() - 40) < 4
    assert list(tmp_path.iterdir()) == [path]


def test_mp4_can_play_before_it_is_loaded(tmp_path: Path) -> None:
    """The index stands before the pictures (faststart)."""
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25, (64, 48)) as writer:
        writer.write(grey_frames(1)[0])
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_size_is_padded_with_its_own_edge(tmp_path: Path) -> None:
    """A frame of 63x47 becomes 64x48, and the new column looks like the last one."""
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, 25, (63, 47)) as writer:
        writer.write(np.full((47, 63, 3), 180, np.uint8))
    picture = decoded(path)[0].to_ndarray(format="bgr24")
    assert picture.shape == (48, 64, 3)
    assert abs(int(picture[-1, -1, 0]) - 180) < 6


def test_variable_times_are_kept(tmp_path: Path) -> None:
    """Frame times of an input with a variable rate stand in the mp4, counted from its first frame."""
    times = [5.0, 5.04, 5.15, 5.2, 5.5]
    path = tmp_path / "variable.mp4"
    with VideoWriter(path, 25, (64, 48)) as writer:
        for frame, time_s in zip(grey_frames(5), times, strict=True):
            writer.write(frame, time_s)
    assert [f.time for f in decoded(path)] == pytest.approx([t - 5.0 for t in times], abs=2e-4)


def test_times_rounded_to_milliseconds_still_give_the_exact_rate(tmp_path: Path) -> None:
    """Containers that round times to milliseconds must not turn a constant rate into a variable one."""
    path = tmp_path / "rounded.mp4"
    with VideoWriter(path, 30000 / 1001, (64, 48)) as writer:
        for i, frame in enumerate(grey_frames(20)):
            writer.write(frame, round(i * 1.001 / 30, 3))
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


def test_clock_that_jumps_or_stands_still_loses_no_frame(tmp_path: Path) -> None:
    """Missing, repeated and far-off times, as in damaged clips, leave every frame in, later than the one before."""
    times = [0.0, 0.04, None, 1e7, 1e7 + 0.04, 0.5, 0.5, float("nan")]
    path = tmp_path / "jumps.mp4"
    with VideoWriter(path, 25, (64, 48)) as writer:
        for frame, time_s in zip(grey_frames(len(times)), times, strict=True):
            writer.write(frame, time_s)
    shown = [f.time for f in decoded(path)]
    assert len(shown) == len(times)
    assert all(np.diff(shown) > 0)
    assert shown[-1] < 1


def test_error_in_the_block_leaves_nothing_behind(tmp_path: Path) -> None:
    """Regression: early returns left the writer open."""
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "a.mp4", 25, (64, 48)) as writer:  # noqa: PT012
        writer.write(grey_frames(1)[0])
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_error_of_the_encoder_surfaces_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong in the encoder is raised to the caller."""

    def fail(self: VideoWriter, frame: np.ndarray, pts: int) -> None:
        """Stand in for a disk that is full."""
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VideoWriter, "_encode", fail)
    with pytest.raises(OSError, match="No space left"), VideoWriter(tmp_path / "a.avi", 25, (64, 48)) as writer:  # noqa: PT012
        for frame in grey_frames(50):
            writer.write(frame)
    assert not list(tmp_path.iterdir())


def test_video_without_frames_is_an_error(tmp_path: Path) -> None:
    """A video of nothing is not written."""
    with pytest.raises(FightposeError, match="no frame"), VideoWriter(tmp_path / "a.mp4", 25, (64, 48)):
        pass
    assert not list(tmp_path.iterdir())


def test_missing_encoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyAV without the encoder is an error at once that names codec and remedy."""
    encoding = video_writer.Encoding("mp4", "no_such_codec", True, 10**6, {})
    monkeypatch.setitem(video_writer.ENCODINGS, ".mp4", encoding)
    with pytest.raises(FightposeError, match=r"no_such_codec encoder.*pip install"):
        VideoWriter(tmp_path / "a.mp4", 25, (64, 48))
    assert not list(tmp_path.iterdir())


def test_wrong_frames_and_names_are_refused(tmp_path: Path) -> None:
    """A frame of another size, an unknown ending and an impossible rate are told apart from the encoder's errors."""
    with pytest.raises(ValueError, match="must be uint8"), VideoWriter(tmp_path / "a.mp4", 25, (64, 48)) as writer:
        writer.write(np.zeros((48, 65, 3), np.uint8))
    with pytest.raises(FightposeError, match=r"ends in \.mp4"):
        VideoWriter(tmp_path / "a.mkv", 25, (64, 48))
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="frame rate"):
            VideoWriter(tmp_path / "a.mp4", fps, (64, 48))
    assert not list(tmp_path.iterdir())


def test_rates_are_the_fractions_that_were_meant() -> None:
    """Floats of the NTSC family and odd camera rates become exact fractions, within the codec's reach."""
    assert exact_rate(29.97002997) == Fraction(30000, 1001)
    assert exact_rate(15.008) == Fraction(1876, 125)
    assert exact_rate(25) == 25
    assert exact_rate(119.88011988, 65535).numerator <= 65535
    assert exact_rate(1e-5) > 0
