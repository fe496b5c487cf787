"""What surveillance folders hold besides sound clips: each kind has a defined result."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from tasks.clips.discovery import discover_clips, find_clip
from tasks.core.errors import ClipError, FailureReason
from tasks.core.settings import LimitSettings
from tasks.video import decoder
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.opening import MAX_PIXELS
from tasks.video.reading import Frame, decode_frames, probe_video
from tests.video_factory import plain_frames, write_video


def frames_of(path: Path) -> list[Frame]:
    """Return all frames of a clip."""
    return list(decode_frames(probe_video(path)))


def encoded(path: Path, codec: str, pix_fmt: str, sizes: list[tuple[int, int]], times: list[int] | None = None) -> Path:
    """Write one stream whose packets come from one encoder per frame size, in turn.

    Parameters
    ----------
    path
        Its ending chooses the container.
    codec, pix_fmt
        FFmpeg's names.
    sizes
        Width and height of each frame; intra-frame codecs only where they differ.
    times
        Time of each frame in milliseconds; 40 ms apart if None.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        contexts = {}
        for number, size in enumerate(sizes):
            context = stream.codec_context if size == sizes[0] else contexts.get(size)
            if context is None:
                context = contexts[size] = av.CodecContext.create(codec, "w")
                context.width, context.height, context.pix_fmt = *size, pix_fmt
                context.time_base, context.framerate = Fraction(1, 1000), Fraction(25)
            frame = av.VideoFrame.from_ndarray(plain_frames(1, *size)[0], format="bgr24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (times or range(0, 40 * len(sizes), 40))[number], Fraction(1, 1000)
            for packet in context.encode(frame):
                packet.stream = stream
                container.mux(packet)
        for context in (stream.codec_context, *contexts.values()):
            for packet in context.encode(None):
                packet.stream = stream
                container.mux(packet)
    return path


def claiming(path: Path, side: int) -> Path:
    """Write a small clip and make every place of it claim frames of side x side pixels."""
    encoded(path, "mjpeg", "yuvj420p", [(64, 48)] * 5)
    data = bytearray(path.read_bytes())
    place = 0
    # The frame header of JPEG: marker, length, 8 bits, height, width.
    while (place := data.find(b"\xff\xc0\x00\x11\x08", place)) >= 0:
        data[place + 5 : place + 9] = struct.pack(">HH", side, side)
        place += 9
    if path.suffix == ".avi":
        place = data.index(b"strf") + 8 + 4
        data[place : place + 8] = struct.pack("<ii", side, side)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", [".avi", ".mov"])
@pytest.mark.parametrize("side", [60_000, 12_000])
def test_a_frame_size_beyond_all_measure_is_refused_before_memory_is_taken(tmp_path, ending, side):
    """60,000 x 60,000 pixels would be 10 GB a frame; 12,000 x 12,000 FFmpeg itself would still decode."""
    path = claiming(tmp_path / f"a{ending}", side)
    probe_guarded(ClipLimits(write_video(tmp_path / "sound.mp4", plain_frames(2)), LimitSettings()))
    helper = psutil.Process(decoder.idle[-1].process.pid)
    before = helper.memory_info().rss
    with pytest.raises(ClipError, match="no frame can be decoded") as caught:
        probe_guarded(ClipLimits(path, LimitSettings()))
    assert caught.value.reason is FailureReason.EMPTY_VIDEO
    if side == 60_000:
        assert "Picture size 60000x60000 is invalid" in caught.value.info
    assert helper.memory_info().rss - before < 30 << 20


def test_the_largest_frames_that_exist_are_not_refused():
    """8K is 7680 x 4320."""
    assert MAX_PIXELS > 7680 * 4320


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.mp4\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
    ids=["concat", "hls", "sdp"],
)
def test_play_lists_with_the_ending_of_a_clip_open_nothing(tmp_path, text):
    """FFmpeg goes by content: a text file could make it read other files, or listen to the network."""
    write_video(tmp_path / "other.mp4", plain_frames(3))
    path = tmp_path / "clip.mp4"
    path.write_text(text)
    with pytest.raises(ClipError, match="not a video that can be read"):
        probe_video(path)


def test_a_size_that_changes_in_the_middle_is_scaled_to_the_first(tmp_path):
    """Some recorders do it; pixel coordinates keep one meaning, and no frame is lost."""
    path = encoded(tmp_path / "a.avi", "mjpeg", "yuvj420p", [(64, 48)] * 5 + [(128, 96)] * 4 + [(32, 24)] * 3)
    frames = frames_of(path)
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 12
    # The bright square stands at the same place in all of them.
    assert all(frame.image[20:24, 2:8].mean() > frame.image[2:8, 40:].mean() + 20 for frame in (frames[0], frames[6]))


def test_variable_frame_times_are_handed_on(tmp_path):
    """Recorders drop frames; every one that is there is decoded with its own time."""
    times = [0, 40, 80, 500, 510, 2000, 2040]
    frames = frames_of(encoded(tmp_path / "a.mp4", "libx264", "yuv420p", [(64, 48)] * 7, times))
    assert [frame.time for frame in frames] == pytest.approx([t / 1000 for t in times], abs=0.002)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [("libx264", "yuv420p10le"), ("libx264", "gray"), ("libx265", "yuv420p10le"), ("mjpeg", "yuvj444p")],
)
def test_deep_and_grey_video_becomes_8_bit_bgr(tmp_path, codec, pix_fmt):
    """Infrared cameras film in grey, newer ones in 10 bits."""
    frames = frames_of(encoded(tmp_path / "a.mov", codec, pix_fmt, [(64, 48)] * 6))
    assert len(frames) == 6
    image = frames[0].image
    assert image.dtype == np.uint8
    assert image.shape == (48, 64, 3)
    assert image[20:24, 2:8].mean() > image[2:8, 40:].mean() + 20
    if pix_fmt == "gray":
        assert np.ptp(image.astype(int), axis=2).max() <= 2


def test_a_stream_without_timestamps_decodes_in_full(tmp_path):
    """Raw H.264, as some recorders dump it; named by the user, since its ending is none of a clip."""
    with av.open(str(tmp_path / "a.h264"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in plain_frames(9):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    video = probe_video(tmp_path / "a.h264")
    assert sum(1 for _ in decode_frames(video)) == 9
    assert video.fps == 25


def test_a_clip_of_no_frames_is_empty(tmp_path):
    """Header and trailer, nothing between."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(ClipError) as caught:
        probe_video(path)
    assert caught.value.reason is FailureReason.EMPTY_VIDEO


def test_a_clip_of_one_frame_decodes(tmp_path):
    """What becomes of it is the selection's business (INSUFFICIENT_LENGTH)."""
    assert len(frames_of(write_video(tmp_path / "a.mp4", plain_frames(1)))) == 1


def test_a_tail_that_broke_off_costs_frames_where_the_container_states_no_size(tmp_path):
    """Matroska is written so that it can be cut anywhere; mp4, mov and avi are refused (test_video)."""
    path = write_video(tmp_path / "a.mkv", plain_frames(40))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    assert 10 < len(frames_of(path)) < 40


def ten_hours(path: Path, seconds_per_frame: int) -> Path:
    """Write a clip of ten hours: the packets of ten coded frames, repeated under later times."""
    source = write_video(path.with_name("source.mkv"), plain_frames(10, 16, 16))
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        packets = [(bytes(packet), packet.is_keyframe) for packet in given.demux(video=0) if packet.size]
        for number in range(36_000 // seconds_per_frame):
            data, key = packets[number % len(packets)]
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(seconds_per_frame), key
            packet.pts = packet.dts = number
            container.mux(packet)
    return path


def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path):
    """Ten hours with a frame every twenty seconds; what is held after a tenth of them is held at the end."""
    path = ten_hours(tmp_path / "long.mkv", 20)
    limits = ClipLimits(path, LimitSettings())
    video = probe_guarded(limits)
    helper = psutil.Process(decoder.idle[-1].process.pid)
    held: list[int] = []

    def counted() -> Iterator[int]:
        """Yield one per frame, and look at the memory of both processes at a tenth and at the end."""
        for number, _ in enumerate(decode_guarded(video, limits), 1):
            if number in (180, 1_800):
                held.append(psutil.Process().memory_info().rss + helper.memory_info().rss)
            yield 1

    assert sum(counted()) == 1_800
    assert held[1] - held[0] < 16 << 20


def test_thousands_of_files_in_one_folder_are_found_in_a_moment(tmp_path):
    """Each with outputs of its own; and one of them alone without reading all."""
    for number in range(3_000):
        (tmp_path / f"클립 {number:05d}.mp4").touch()
    clips = discover_clips(tmp_path, tmp_path / "out").clips
    assert len({clip.annotation_path for clip in clips}) == 3_000
    assert find_clip(clips[77].path, tmp_path, tmp_path / "out") == clips[77]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_a_clip_that_may_not_be_read_is_an_os_error(tmp_path):
    """It is tried again, and its failure says why."""
    path = write_video(tmp_path / "a.mp4", plain_frames(2))
    path.chmod(0)
    with pytest.raises(PermissionError):
        probe_guarded(ClipLimits(path, LimitSettings()))
