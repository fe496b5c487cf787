"""Frames counted by decoding, and remembered."""

import json
import os

import psutil
import pytest

from tasks.core.errors import FightposeError
from tasks.core.settings import LimitSettings
from tasks.core.storage import file_sha256
from tasks.mapping.frame_counts import DecodedVideos, decode, input_problem
from tasks.video import decoder
from tasks.video.decoder import probe_guarded
from tasks.video.limits import ClipLimits
from tests.video_factory import plain_frames, write_video


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mov"])
def test_frames_are_counted_by_decoding(tmp_path, ending):
    """Headers are not trusted."""
    assert decode(write_video(tmp_path / f"a{ending}", plain_frames(13))) == (13, 25.0)


def test_what_is_no_video_is_a_clear_error(tmp_path):
    """It names the file."""
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(FightposeError, match=r"a\.mp4: cannot be decoded"):
        decode(tmp_path / "a.mp4")


def test_an_input_is_decoded_once_for_its_content(tmp_path):
    """A copy under another name, or another time of change, needs no decoding; other content does."""
    path = write_video(tmp_path / "a.mp4", plain_frames(5))
    videos = DecodedVideos(tmp_path)
    assert videos.input(path) == (file_sha256(path), 5)
    videos.save()
    stored = tmp_path / ".fightpose/decoded.json"
    stored.write_text(stored.read_text().replace("[5]", "[7]"))
    os.utime(path, (1, 1))
    assert DecodedVideos(tmp_path).input(path)[1] == 7
    write_video(path, plain_frames(6))
    assert DecodedVideos(tmp_path).input(path)[1] == 6


@pytest.mark.parametrize("text", ["", "[]", '{"a.mp4": 3}', '{"a.mp4": [1]}', '{"a.mp4": [1, 2, 3, 4, 5]}'])
def test_a_damaged_memory_counts_for_nothing(tmp_path, text):
    """Everything is decoded again, and remembered anew."""
    path = write_video(tmp_path / "a.mp4", plain_frames(5))
    stored = tmp_path / ".fightpose/decoded.json"
    stored.parent.mkdir()
    stored.write_text(text)
    videos = DecodedVideos(tmp_path)
    assert videos.overlay(path) == (5, 25.0)
    videos.save()
    status = path.stat()
    assert json.loads(stored.read_text()) == {"a.mp4": [status.st_size, status.st_mtime_ns, 5, 25.0]}


def test_overlays_that_are_gone_are_forgotten(tmp_path):
    """Of what was not looked at, what is still there is remembered, and so is content, which may come again."""
    videos = DecodedVideos(tmp_path)
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        videos.overlay(write_video(tmp_path / name, plain_frames(5)))
    videos.input(tmp_path / "a.mp4")
    content = f"sha256:{file_sha256(tmp_path / 'a.mp4')}"
    videos.save()
    (tmp_path / "a.mp4").unlink()
    again = DecodedVideos(tmp_path)
    again.overlay(tmp_path / "b.mp4")
    again.save()
    assert json.loads((tmp_path / ".fightpose/decoded.json").read_text()).keys() == {"b.mp4", "c.mp4", content}


def test_a_folder_that_cannot_be_written_is_checked_all_the_same(tmp_path, caplog):
    """A warning says what it costs."""
    path = write_video(tmp_path / "a.mp4", plain_frames(5))
    (tmp_path / ".fightpose").write_text("a file stands here")
    videos = DecodedVideos(tmp_path)
    assert videos.overlay(path) == (5, 25.0)
    videos.save()
    assert "the next check decodes everything again" in caplog.text


def test_an_input_agrees_with_its_annotation_or_says_what_is_wrong(tmp_path):
    """Content first, then frames; one that is gone says nothing, and one without a hash is counted."""
    path = write_video(tmp_path / "a.mp4", plain_frames(5))
    videos, sha256 = DecodedVideos(tmp_path), file_sha256(path)
    assert input_problem(path, sha256, 5, videos) is None
    assert input_problem(path, None, 5, videos) is None
    assert input_problem(tmp_path / "gone.mp4", sha256, 5, videos) is None
    assert input_problem(path, sha256, 6, videos) == (False, "input 5, annotation 6")
    assert input_problem(path, "other", 5, videos) == (True, "the input's content changed; run annotate again")


def test_an_input_that_hangs_the_decoder_is_a_finding(tmp_path, monkeypatch):
    """Inputs are foreign; a helper stopped by a signal is as silent as one that loops in native code."""
    path = write_video(tmp_path / "a.mp4", plain_frames(5))
    probe_guarded(ClipLimits(path, LimitSettings()))
    psutil.Process(decoder.idle[-1].process.pid).suspend()
    monkeypatch.setattr(decoder, "SILENCE_SECONDS", 0.3)
    problem = input_problem(path, file_sha256(path), 5, DecodedVideos(tmp_path))
    assert problem is not None
    assert problem[0]
    assert "the decoder hangs on it" in problem[1]
