"""All eight ways in which a container may ask for a picture to be shown, against what ffmpeg shows."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tasks.video.orientation import Orientation, orientation_of
from tasks.video.reading import decode_frames, probe_video
from tasks.video.thumbnails import jpeg_of
from tests.video_factory import write_video

ONE = 1 << 16

# The 2x2 part (a, b, c, d) of a display matrix, and where ffmpeg 9.0 puts the stored picture's corners: its top left,
# top right, bottom left and bottom right, read from its output for a clip with each matrix.
SHOWN = {
    (1, 0, 0, 1): ("TL", "TR", "BL", "BR"),
    (-1, 0, 0, 1): ("TR", "TL", "BR", "BL"),
    (1, 0, 0, -1): ("BL", "BR", "TL", "TR"),
    (-1, 0, 0, -1): ("BR", "BL", "TR", "TL"),
    (0, 1, 1, 0): ("TL", "BL", "TR", "BR"),
    (0, 1, -1, 0): ("TR", "BR", "TL", "BL"),
    (0, -1, 1, 0): ("BL", "TL", "BR", "TR"),
    (0, -1, -1, 0): ("BR", "TR", "BL", "TL"),
}

GREYS = (30, 100, 170, 240)
"""Brightness of the stored picture's four corners."""


def quarters(width: int = 64, height: int = 48) -> np.ndarray:
    """Return a picture whose four quarters differ in brightness."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = GREYS[0], GREYS[1]
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = GREYS[2], GREYS[3]
    return image


def matrix_of(a: float, b: float, c: float, d: float) -> list[int]:
    """Return a display matrix as mp4 stores it."""
    return [round(a * ONE), round(b * ONE), 0, round(c * ONE), round(d * ONE), 0, 0, 0, 1 << 30]


def with_matrix(path: Path, parts: tuple[float, float, float, float]) -> Path:
    """Write a clip and put a display matrix into its track header, as cameras do."""
    write_video(path, [quarters()] * 3)
    data = bytearray(path.read_bytes())
    # The matrix is at byte 40 of a version 0 track header's content, big-endian.
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = np.array(matrix_of(*parts), ">i4").tobytes()
    path.write_bytes(data)
    return path


def corners_of(image: np.ndarray) -> tuple[str, str, str, str]:
    """Return where each of the stored picture's corners is shown."""
    height, width = image.shape[:2]
    places = {
        "TL": image[: height // 3, : width // 3],
        "TR": image[: height // 3, -width // 3 :],
        "BL": image[-height // 3 :, : width // 3],
        "BR": image[-height // 3 :, -width // 3 :],
    }
    found = {place: float(part.mean()) for place, part in places.items()}
    one, two, three, four = (min(found, key=lambda place: abs(found[place] - grey)) for grey in GREYS)
    return one, two, three, four


@pytest.mark.parametrize("parts", SHOWN)
def test_a_clip_is_shown_as_ffmpeg_shows_it(tmp_path: Path, parts: tuple[int, int, int, int]) -> None:
    """In decoded frames and in thumbnails."""
    video = probe_video(with_matrix(tmp_path / "a.mp4", parts))
    image = next(decode_frames(video)).image
    assert corners_of(image) == SHOWN[parts]
    assert image.shape[:2] == (video.height, video.width)
    assert (video.width, video.height) == ((48, 64) if parts[0] == 0 else (64, 48))
    import cv2

    size = (video.width, video.height)
    still = cv2.imdecode(np.frombuffer(jpeg_of(video.path, 1, size), np.uint8), cv2.IMREAD_COLOR)
    assert corners_of(still) == SHOWN[parts]


def test_a_matrix_that_scales_still_turns() -> None:
    """QuickTime files scale by it."""
    scaled = np.array(matrix_of(0, 2, -1.5, 0), "=i4").tobytes()
    assert orientation_of(scaled) is Orientation.CLOCKWISE


@pytest.mark.parametrize("parts", [(0.7, 0.7, -0.7, 0.7), (0, 0, 0, 0), (1, 1, 0, 1), (1, 0, 0, 0), (0, 1, 0, 0)])
def test_what_is_no_turn_is_reported_and_shown_as_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, parts: tuple[float, float, float, float]
) -> None:
    """Turned by 45 degrees, sheared, or of no size."""
    assert orientation_of(np.array(matrix_of(*parts), "=i4").tobytes()) is None
    video = probe_video(with_matrix(tmp_path / "a.mp4", parts))
    assert corners_of(next(decode_frames(video)).image) == ("TL", "TR", "BL", "BR")
    # Muxers and FFmpeg drop a matrix of zeros, which then is none.
    assert "display matrix" in caplog.text or parts == (0, 0, 0, 0)


def test_a_short_matrix_is_none() -> None:
    """Side data is foreign bytes."""
    assert orientation_of(b"\0" * 8) is None
    assert orientation_of(None) is Orientation.UPRIGHT


def test_the_matrix_that_pyav_writes_is_read(tmp_path: Path) -> None:
    """The way of other tests, which write it by name instead of by bytes."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_matrix(matrix_of(-1, 0, 0, 1))
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(quarters(), format="bgr24")))
        container.mux(stream.encode(None))
    assert corners_of(next(decode_frames(probe_video(path))).image) == SHOWN[(-1, 0, 0, 1)]
