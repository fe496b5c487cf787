"""Which files were cut short, and which are complete although their sizes are odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from tasks.core.errors import ClipError
from tasks.core.settings import LimitSettings
from tasks.video.decoder import probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.reading import decode_frames, probe_video
from tests.video_factory import plain_frames, write_video

Change = Callable[[bytes], bytes]


def grown(data: bytes, kind: bytes, by: int, order: str = "big") -> bytes:
    """Return a file in which the size of a part is larger than it should be."""
    # In ISO files the size precedes the type, in RIFF files it follows.
    at = data.index(kind) + (-4 if order == "big" else 4)
    size = int.from_bytes(data[at : at + 4], order) + by  # type: ignore[arg-type]
    return data[:at] + size.to_bytes(4, order) + data[at + 4 :]  # type: ignore[arg-type]


def movi_grown(data: bytes, by: int) -> bytes:
    """Return an AVI whose list of frames claims to be longer."""
    at = data.index(b"movi") - 4
    size = int.from_bytes(data[at : at + 4], "little") + by
    return data[:at] + size.to_bytes(4, "little") + data[at + 4 :]


def without_index(data: bytes) -> bytes:
    """Return an AVI without the index that follows its frames."""
    return data[: data.rindex(b"idx1")]


COMPLETE: dict[str, tuple[str, Change]] = {
    "overlong last atom": ("a.mp4", lambda data: data + (500).to_bytes(4, "big") + b"gps0" + b"\0" * 50),
    "overlong last atom of 64 bits": ("a.mov", lambda data: data + b"\0\0\0\1skip" + (1 << 40).to_bytes(8, "big")),
    "appended text": ("a.mp4", lambda data: data + b"Recorded by LOG 2, 2024-01-02 12:00\n" * 3),
    "appended zeros": ("a.mp4", lambda data: data + b"\0" * 99),
    "overlong mdat at the end": (
        "faststart.mp4",
        lambda data: grown(data, b"mdat", 8),
    ),
    "overlong moov at the end": ("a.mp4", lambda data: grown(data, b"moov", 8)),
    "tags after the tracks cut": ("a.mp4", lambda data: data[:-10]),
    "RIFF size too large": ("a.avi", lambda data: grown(data, b"RIFF", 8, "little")),
    "RIFF size far too large": ("a.avi", lambda data: grown(data, b"RIFF", 5000, "little")),
    "index of an AVI lost": ("a.avi", without_index),
    "list of frames a few bytes too long": ("a.avi", lambda data: movi_grown(without_index(data), 8)),
    "RIFF size unknown": ("a.avi", lambda data: data[:4] + b"\0\0\0\0" + data[8:]),
    "text after an AVI": ("a.avi", lambda data: data + b"trailing text of a tool"),
}
"""Name of the file, and what is done to it; its video stays complete."""

CUT: dict[str, tuple[str, Change]] = {
    "mp4 in its frames": ("faststart.mp4", lambda data: data[:-300]),
    "mp4 before its index": ("a.mp4", lambda data: data[: data.index(b"moov") - 4]),
    "mp4 in its index": ("a.mp4", lambda data: data[: data.index(b"stbl")]),
    "fragments": ("fragmented.mp4", lambda data: data[: data.rindex(b"mfra") - 304]),
    "fragment header": ("fragmented.mp4", lambda data: data[: data.rindex(b"moof") + 10]),
    "AVI in its frames": ("a.avi", lambda data: data[: data.index(b"movi") + 1500]),
    "AVI in its last frame": ("a.avi", lambda data: without_index(data)[:-5]),
}
"""The same for files that lack bytes of their video."""

OPTIONS = {"faststart.mp4": "faststart", "fragmented.mp4": "frag_keyframe+empty_moov"}


def written(path: Path) -> Path:
    """Write a clip of 40 frames, in the form that its name says."""
    write_video(path, plain_frames(40))
    flags = OPTIONS.get(path.name)
    if flags:
        plain = path.with_name("plain.mp4")
        path.rename(plain)
        with av.open(str(plain)) as source, av.open(str(path), "w", options={"movflags": flags}) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    return path


@pytest.mark.parametrize("name", COMPLETE)
def test_a_file_with_odd_sizes_but_all_its_video_is_taken(tmp_path: Path, name: str) -> None:
    """No byte of the video is missing."""
    file_name, change = COMPLETE[name]
    path = written(tmp_path / file_name)
    path.write_bytes(change(path.read_bytes()))
    assert sum(1 for _ in decode_frames(probe_video(path))) == 40


@pytest.mark.parametrize("name", CUT)
def test_a_file_without_all_its_video_is_refused(tmp_path: Path, name: str) -> None:
    """It would pass for a shorter clip."""
    file_name, change = CUT[name]
    path = written(tmp_path / file_name)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ClipError, match=r"cut short: \d+ of \d+ bytes are there; .* --allow-truncated"):
        probe_video(path)


@pytest.mark.parametrize("name", ["mp4 in its frames", "fragments", "AVI in its frames"])
def test_what_is_left_is_taken_on_request(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """For recorders that lose power; here and in the helper process."""
    file_name, change = CUT[name]
    path = written(tmp_path / file_name)
    path.write_bytes(change(path.read_bytes()))
    assert 0 < sum(1 for _ in decode_frames(probe_video(path, allow_truncated=True))) < 40
    assert probe_guarded(ClipLimits(path, LimitSettings(allow_truncated=True))).width == 64
    assert "annotated as far as it decodes" in caplog.text


def test_odd_sizes_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody may want to repair the recorder."""
    path = written(tmp_path / "a.avi")
    path.write_bytes(grown(path.read_bytes(), b"RIFF", 8, "little"))
    probe_video(path)
    assert "RIFF size is larger than the file; its video is complete" in caplog.text
