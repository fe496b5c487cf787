"""Decoding in a helper process: the same frames, and a helper that crashes, hangs or wants too much costs one clip."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from tasks.core.errors import ClipError, FailureReason
from tasks.core.prefetch import ahead
from tasks.core.settings import LimitSettings, PoseSettings
from tasks.poses.detections import Detections
from tasks.poses.extract import extract_poses
from tasks.video import decoder
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.reading import Image, decode_frames, probe_video
from tests.video_factory import plain_frames, write_video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Give a clip of more frames than the shared memory has slots."""
    return write_video(tmp_path / "a.mp4", plain_frames(20))


def limits(path: Path, **settings: float) -> ClipLimits:
    """Return the limits of a clip, the usual ones unless others are given."""
    return ClipLimits(path, LimitSettings.model_validate(settings))


class Blind:
    """A pose model that sees nobody."""

    batch_size = 2

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Return nobody for each image."""
        return [Detections.none()] * len(images)


def idle_helper() -> psutil.Process:
    """Return the helper that the next clip gets."""
    return psutil.Process(decoder.idle[-1].process.pid)


def test_what_a_helper_decodes_is_what_this_process_decodes(clip):
    """Pixels, times, header and hash."""
    video = probe_guarded(limits(clip))
    assert video == probe_video(clip)
    guarded, plain = list(decode_guarded(video, limits(clip))), list(decode_frames(video))
    assert len(guarded) == 20
    assert [frame.time for frame in guarded] == [frame.time for frame in plain]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(guarded, plain, strict=True))


def test_one_helper_serves_many_clips(clip):
    """Starting one takes half a second."""
    video = probe_guarded(limits(clip))
    first = idle_helper().pid
    assert sum(1 for _ in decode_guarded(video, limits(clip))) == 20
    empty = clip.with_name("empty.mp4")
    empty.touch()
    with pytest.raises(ClipError, match="0 bytes"):
        probe_guarded(limits(empty))
    probe_guarded(limits(clip))
    assert idle_helper().pid == first


def test_two_clips_at_once_have_a_helper_each(clip):
    """Frames of one never appear in the other."""
    other = write_video(clip.with_name("b.mp4"), [np.full((32, 32, 3), 200, np.uint8)] * 20)
    one, two = probe_guarded(limits(clip)), probe_guarded(limits(other))
    pairs = list(zip(decode_guarded(one, limits(clip)), decode_guarded(two, limits(other)), strict=True))
    assert {(a.image.shape, b.image.shape) for a, b in pairs} == {((48, 64, 3), (32, 32, 3))}
    assert all(b.image.min() > 150 for _, b in pairs)


def test_a_decoder_that_crashes_costs_its_clip_and_no_other(clip):
    """As a defect in FFmpeg would do it; the next clip gets a new helper."""
    video = probe_guarded(limits(clip))
    helper = idle_helper()
    frames = decode_guarded(video, limits(clip))
    next(frames)
    os.kill(helper.pid, signal.SIGSEGV)
    with pytest.raises(ClipError, match=r"decoder crashed on it \(SIGSEGV\); convert it") as caught:
        list(frames)
    assert caught.value.reason is FailureReason.PROCESSING_ERROR
    assert sum(1 for _ in decode_guarded(video, limits(clip))) == 20


def test_a_decoder_killed_from_outside_may_do_better_next_time(clip):
    """Out of memory on the whole machine is no clip's fault: an OSError is tried again."""
    video = probe_guarded(limits(clip))
    helper = idle_helper()
    frames = decode_guarded(video, limits(clip))
    next(frames)
    helper.kill()
    with pytest.raises(OSError, match="killed from outside"):
        list(frames)


def test_a_helper_finishes_though_its_group_is_told_to_end(clip):
    """A service manager signals every process of a service; the run finishes its step and goes back into the queue."""
    video = probe_guarded(limits(clip))
    helper = idle_helper()
    frames = decode_guarded(video, limits(clip))
    next(frames)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        helper.send_signal(number)
    assert sum(1 for _ in frames) == 19
    assert idle_helper().pid == helper.pid


def test_a_helper_that_died_idle_is_replaced(clip):
    """Killed with the terminal, or by a person who looked for something to kill."""
    probe_guarded(limits(clip))
    helper = idle_helper()
    helper.kill()
    helper.wait()
    assert probe_guarded(limits(clip)).width == 64


def test_a_decoder_that_hangs_is_ended(clip, monkeypatch):
    """Stopped by a signal, it is as silent as one that loops in native code, which no thread could interrupt."""
    video = probe_guarded(limits(clip))
    helper = idle_helper()
    monkeypatch.setattr(decoder, "SILENCE_SECONDS", 0.3)
    helper.suspend()
    start = time.monotonic()
    with pytest.raises(ClipError, match="the decoder hangs on it"):
        list(decode_guarded(video, limits(clip)))
    assert time.monotonic() - start < 10
    assert not helper.is_running()


def test_whoever_stops_does_not_wait_for_a_decoder_that_hangs(clip):
    """Ctrl-C ends the main thread's wait; the thread that decodes ahead of it has to notice, and the helper ends."""
    video = probe_guarded(limits(clip))
    helper = idle_helper()
    frames = decode_guarded(video, limits(clip))

    def stop() -> None:
        """Take a frame, have the helper hang, and be interrupted while the others are waited for."""
        with ahead(frames, 1) as items:
            next(items)
            helper.suspend()
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stop()
    assert time.monotonic() - start < 10
    assert not helper.is_running()


def test_the_time_limit_of_a_clip_ends_a_decoder_that_hangs(clip):
    """Whichever comes first."""
    video = probe_guarded(limits(clip))
    helper = idle_helper()
    helper.suspend()
    with pytest.raises(ClipError, match=r"took longer than 0.3 s; raise --time-limit"):
        list(decode_guarded(video, limits(clip, time_limit=0.3)))
    assert not helper.is_running()


def test_frames_that_nobody_wants_any_more_end_their_helper(clip):
    """A step that fails in the middle must not leave a helper that waits for it."""
    frames = decode_guarded(probe_guarded(limits(clip)), limits(clip))
    helper = idle_helper()
    next(frames)
    frames.close()
    assert not helper.is_running()


def test_an_error_whose_traceback_is_kept_ends_the_helper_all_the_same(clip):
    """Prefect keeps the errors of tasks: each would hold a helper, that of the clip's every try included."""
    mine = limits(clip)
    video = probe_guarded(mine)
    helper = idle_helper()

    def fail(done: int) -> None:
        """Fail as a limit or a device would, after the first batch."""
        raise RuntimeError("the device is gone")

    resolved = PoseSettings(score_thr=0.3, nms_thr=0.5)
    with pytest.raises(RuntimeError, match="device is gone") as caught:
        extract_poses(video, Blind(), resolved, fail, mine.within(decode_guarded(video, mine)))
    assert caught.tb is not None
    assert not helper.is_running()


def test_slots_that_are_given_back_after_an_error_are_no_requests(clip):
    """A decoder that fails after some frames has not asked for all slots; its helper serves the next clip."""
    probe_guarded(limits(clip))
    helper = idle_helper()
    for slot in range(3):
        decoder.idle[-1].send({"free": slot})
    video = probe_guarded(limits(clip))
    assert sum(1 for _ in decode_guarded(video, limits(clip))) == 20
    assert idle_helper().pid == helper.pid


def test_a_helper_that_cannot_be_started_leaves_nothing_open(monkeypatch):
    """Memory or processes may be short for a while; the step is tried again."""
    monkeypatch.setattr(decoder.sys, "executable", "/no/such/python")
    before = psutil.Process().num_fds()
    with pytest.raises(FileNotFoundError):
        decoder.Decoder()
    assert psutil.Process().num_fds() == before


def png_bomb(path: Path, side: int) -> Path:
    """Write an AVI of two PNG pictures of side x side grey pixels, all zero: a thousandth of their size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        """Return one part of a PNG file."""
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(min((side + 1) * side, 30_000_000)), 1))
    picture = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        stream.codec_context.open()
        for number in range(2):
            packet = av.Packet(picture)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            container.mux(packet)
    return path


def test_a_clip_that_needs_more_memory_than_it_may_is_refused(tmp_path):
    """Inside the pixel limit, yet 75 MB a frame; this process grows by nothing."""
    path = png_bomb(tmp_path / "bomb.avi", 5000)
    before = psutil.Process().memory_info().rss
    with pytest.raises(ClipError, match=r"needs more than 64 MB of memory; raise --memory-limit"):
        probe_guarded(limits(path, memory_limit=64))
    assert psutil.Process().memory_info().rss - before < 20 << 20


def test_a_helper_ends_with_its_parent(tmp_path):
    """Also after kill -9, also in the middle of a clip."""
    write_video(tmp_path / "a.mp4", plain_frames(20))
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom tasks.video import decoder\n"
        "from tasks.video.limits import ClipLimits\n"
        "from tasks.core.settings import LimitSettings\nlimits = ClipLimits(Path(sys.argv[1]), LimitSettings())\n"
        "frames = decoder.decode_guarded(decoder.probe_guarded(limits), limits)\nnext(frames)\n"
        "print('decoding', flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "a.mp4")], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "decoding\n"
        (helper,) = psutil.Process(parent.pid).children()
        parent.kill()
    _, alive = psutil.wait_procs([helper], timeout=10)
    assert alive == []


def test_names_that_are_no_utf8_reach_the_helper(tmp_path):
    """Old recorders write CP949."""
    path = tmp_path / os.fsdecode(b"\xbd\xce\xbf\xf2.mp4")
    write_video(tmp_path / "a.mp4", plain_frames(3)).rename(path)
    video = probe_guarded(limits(path))
    assert video.path == path
    assert sum(1 for _ in decode_guarded(video, limits(path))) == 3


def test_a_missing_clip_is_an_os_error(tmp_path):
    """As without a helper: network storage may come back."""
    with pytest.raises(FileNotFoundError):
        probe_guarded(limits(tmp_path / "gone.mp4"))


def test_warnings_of_the_helper_reach_the_log(tmp_path, caplog):
    """A damaged packet is told, wherever it was decoded."""
    path = write_video(tmp_path / "a.avi", plain_frames(30))
    data = bytearray(path.read_bytes())
    start = data.index(b"movi") + 200
    data[start : start + 60] = bytes(range(60))
    path.write_bytes(data)
    plain = sum(1 for _ in decode_frames(probe_video(path)))
    told = [record.getMessage() for record in caplog.records]
    caplog.clear()
    assert sum(1 for _ in decode_guarded(probe_guarded(limits(path)), limits(path))) == plain
    assert [record.getMessage() for record in caplog.records] == told
