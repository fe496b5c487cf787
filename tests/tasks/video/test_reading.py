"""What a clip is and how it decodes: whole clips, damaged ones, and those that are no clips at all."""

from __future__ import annotations

import gc
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest

from tasks.core.errors import ClipError, FailureReason
from tasks.video.reading import decode_frames, probe_video
from tasks.video.thumbnails import frame_at
from tests.video_factory import plain_frames, write_video


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mov"])
def test_all_frames_of_a_clip_decode_in_its_size(tmp_path: Path, name: str) -> None:
    """Also in .avi and .mov."""
    video = probe_video(write_video(tmp_path / name, plain_frames(11), fps=20))
    images = [frame.image for frame in decode_frames(video)]
    assert len(images) == 11
    assert {image.shape for image in images} == {(48, 64, 3)}
    assert (video.width, video.height, video.fps) == (64, 48, 20)
    assert len(video.sha256) == 64


def test_frames_are_bgr_and_carry_their_times(tmp_path: Path) -> None:
    """The square is redder than it is blue; times count from 0."""
    video = probe_video(write_video(tmp_path / "a.mp4", plain_frames(4), fps=10))
    frames = list(decode_frames(video))
    blue, green, red = frames[0].image[16:28, 0:12].mean(axis=(0, 1))
    assert red > green > blue  # the square is (40, 200, 230) in BGR
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_the_frame_count_is_that_of_the_frames_that_decode_and_not_the_headers(tmp_path: Path) -> None:
    """Headers of interrupted recordings lie."""
    path = write_video(tmp_path / "a.avi", plain_frames(9))
    data = bytearray(path.read_bytes())
    # avih holds the total in its fifth word, strh the length of the stream in its ninth.
    for mark, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        position = data.index(mark) + offset
        data[position : position + 4] = (999).to_bytes(4, "little")
    path.write_bytes(data)
    video = probe_video(path)
    assert video.header_frames == 999
    assert sum(1 for _ in decode_frames(video)) == 9


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.avi"])
def test_a_clip_that_lost_its_tail_is_refused(tmp_path: Path, name: str) -> None:
    """It would decode in part and pass silently for a shorter clip."""
    path = write_video(tmp_path / name, plain_frames(40))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(ClipError, match=r"cut short: \d+ of \d+ bytes") as caught:
        probe_video(path)
    assert caught.value.reason is FailureReason.PROCESSING_ERROR


def test_bytes_after_the_last_atom_do_no_harm(tmp_path: Path) -> None:
    """Some recorders pad their files."""
    path = write_video(tmp_path / "a.mp4", plain_frames(5))
    path.write_bytes(path.read_bytes() + b"\0" * 300)
    assert sum(1 for _ in decode_frames(probe_video(path))) == 5


def test_damaged_bytes_inside_cost_frames_and_not_the_clip(tmp_path: Path) -> None:
    """A bad packet is skipped."""
    path = write_video(tmp_path / "a.avi", plain_frames(30))
    data = bytearray(path.read_bytes())
    start = data.index(b"movi") + 200
    data[start : start + 60] = bytes(range(60))
    path.write_bytes(data)
    assert 1 <= sum(1 for _ in decode_frames(probe_video(path))) <= 30


def test_a_text_file_with_a_video_ending_is_refused(tmp_path: Path) -> None:
    """FFmpeg's own error would not name the file."""
    path = tmp_path / "notes.mp4"
    path.write_text("this is not a video\n" * 20)
    with pytest.raises(ClipError, match="not a video that can be read") as caught:
        probe_video(path)
    assert caught.value.reason is FailureReason.PROCESSING_ERROR
    assert "notes.mp4" in str(caught.value)


def test_an_empty_file_is_an_empty_video(tmp_path: Path) -> None:
    """Left behind by full disks."""
    path = tmp_path / "a.avi"
    path.touch()
    with pytest.raises(ClipError, match="0 bytes") as caught:
        probe_video(path)
    assert caught.value.reason is FailureReason.EMPTY_VIDEO


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """Not the clip's fault: network storage may come back, so it is not a ClipError."""
    with pytest.raises(FileNotFoundError):
        probe_video(tmp_path / "gone.mp4")


def test_a_sound_file_is_refused(tmp_path: Path) -> None:
    """An mp4 may hold sound alone."""
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(ClipError, match="holds no video stream"):
        probe_video(path)


def test_a_codec_without_a_decoder_is_named_as_such(tmp_path: Path) -> None:
    """Found by fuzzing: a damaged codec tag leaves a stream that has no decoder at all."""
    path = write_video(tmp_path / "a.mov", plain_frames(3))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zz1q"))
    with pytest.raises(ClipError, match=r"has no decoder here; convert it to H\.264"):
        probe_video(path)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_frames_are_upright_as_the_container_asks(tmp_path: Path, rotation: int) -> None:
    """Phones store the picture lying and ask players to turn it."""
    image = np.full((48, 64, 3), 90, np.uint8)
    image[:16, :16] = 255  # a bright corner at the top left of the stored picture
    video = probe_video(write_video(tmp_path / "a.mp4", [image] * 3, rotation=rotation))
    shown = next(decode_frames(video)).image
    expected = np.rot90(image, rotation // 90)
    assert shown.shape == expected.shape == (video.height, video.width, 3)
    assert np.abs(shown.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("size", [(63, 47), (65, 48), (2, 2)])
def test_odd_and_tiny_sizes_decode(tmp_path: Path, size: tuple[int, int]) -> None:
    """Down to two pixels."""
    frames = [np.full((size[1], size[0], 3), 120, np.uint8)] * 3
    video = probe_video(write_video(tmp_path / "a.mp4", frames))
    assert (video.width, video.height) == size
    assert all(frame.image.shape == (size[1], size[0], 3) for frame in decode_frames(video))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_korean_names_open(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    """Composed, and decomposed as macOS writes them."""
    path = tmp_path / unicodedata.normalize(form, "주차장 싸움 (3).mp4")
    write_video(path, plain_frames(3))
    assert sum(1 for _ in decode_frames(probe_video(path))) == 3


def test_equal_bytes_have_equal_hashes_under_any_name(tmp_path: Path) -> None:
    """The hash is the clip's identity, the name is not."""
    first = write_video(tmp_path / "a.mp4", plain_frames(3))
    second = tmp_path / "b.mp4"
    second.write_bytes(first.read_bytes())
    assert probe_video(first).sha256 == probe_video(second).sha256


@pytest.mark.parametrize("form", ["progressive", "interlaced", "wide pixels", "thumbnails", "probe"])
def test_no_frame_waits_for_the_garbage_collector(tmp_path: Path, form: str) -> None:
    """A frame of 1080p takes 3 MB, and the collector counts objects: a cycle in each would hold hundreds of them."""
    path = write_video(tmp_path / "a.mp4", plain_frames(12))
    video = probe_video(path)
    video = replace(video, interlaced=form == "interlaced", sample_aspect_ratio=2.0 if form == "wide pixels" else 1.0)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        if form == "thumbnails":
            frame_at(path, 8)
        elif form == "probe":
            probe_video(path)
        else:
            assert sum(1 for _ in decode_frames(video)) == 12
        gc.collect()
        assert not [thing for thing in gc.garbage if isinstance(thing, av.VideoFrame)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
