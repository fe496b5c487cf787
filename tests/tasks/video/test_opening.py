"""Which stream of a file is the film: never a cover, a thumbnail or a preview."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.stream import Disposition

from tasks.core.errors import ClipError
from tasks.mapping.frame_counts import decode
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.opening import film_stream
from tasks.video.reading import decode_frames, probe_video
from tasks.video.thumbnails import jpeg_of

Layout = list[tuple[str, tuple[int, int], int, Disposition]]

NONE, DEFAULT, COVER = Disposition(0), Disposition.default, Disposition.attached_pic

LAYOUTS: dict[str, tuple[str, Layout]] = {
    "cover before the film": ("a.mp4", [("mjpeg", (128, 128), 1, COVER), ("libx264", (64, 48), 9, DEFAULT)]),
    "cover after the film": ("a.mkv", [("libx264", (64, 48), 9, DEFAULT), ("mjpeg", (128, 128), 1, COVER)]),
    "preview before the film": ("a.mp4", [("libx264", (32, 24), 9, DEFAULT), ("libx264", (64, 48), 9, DEFAULT)]),
    "preview after the film": ("a.mp4", [("libx264", (64, 48), 9, DEFAULT), ("libx264", (32, 24), 9, DEFAULT)]),
    "a large single picture without a mark": (
        "a.mov",
        [("mjpeg", (128, 128), 1, DEFAULT), ("libx264", (64, 48), 9, DEFAULT)],
    ),
    "two cameras, one of them the default": (
        "a.mkv",
        [("libx264", (64, 48), 5, NONE), ("libx264", (64, 48), 9, DEFAULT)],
    ),
}
"""Streams as codec, size, frames and mark; the film has 64x48 pixels and nine frames."""


def write_streams(path: Path, layout: Layout) -> Path:
    """Write a file with several video streams."""
    with av.open(str(path), "w") as container:
        streams = []
        for codec, (width, height), _, disposition in layout:
            stream = container.add_stream(codec, rate=Fraction(25))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for stream, (_, (width, height), count, _) in zip(streams, layout, strict=True):
            for index in range(count):
                image = np.full((height, width, 3), 20 * index, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode(None))
    return path


def by_decoding(path: Path) -> tuple[int, tuple[int, int]]:
    """Return frames and size as this process decodes them."""
    video = probe_video(path)
    return sum(1 for _ in decode_frames(video)), (video.width, video.height)


def by_the_helper(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the same from the process that decodes foreign files."""
    from tasks.core.settings import LimitSettings

    limits = ClipLimits(path, LimitSettings())
    video = probe_guarded(limits)
    return sum(1 for _ in decode_guarded(video, limits)), (video.width, video.height)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("read", [by_decoding, by_the_helper])
def test_the_film_is_chosen(tmp_path: Path, name: str, read: Callable[[Path], tuple[int, tuple[int, int]]]) -> None:
    """By mark, resolution and number of frames, as ffmpeg chooses."""
    file_name, layout = LAYOUTS[name]
    assert read(write_streams(tmp_path / file_name, layout)) == (9, (64, 48))


@pytest.mark.parametrize("name", ["cover before the film", "preview before the film"])
def test_counts_and_thumbnails_are_of_the_film_too(tmp_path: Path, name: str) -> None:
    """They open files as well."""
    file_name, layout = LAYOUTS[name]
    path = write_streams(tmp_path / file_name, layout)
    assert decode(path)[0] == 9
    # The last frame of the film has a brightness that no other stream has.
    import cv2

    still = cv2.imdecode(np.frombuffer(jpeg_of(path, 8, (64, 48)), np.uint8), cv2.IMREAD_COLOR)
    assert abs(float(still.mean()) - 160) < 8


MARKS = ["attached_pic", "timed_thumbnails", "still_image", "metadata", "dependent"]


def stream_like(index: int, mark: Disposition, frames: int = 0, size: int = 64) -> SimpleNamespace:
    """Return what the choice looks at in a stream, for marks that no muxer here writes."""
    context = SimpleNamespace(width=size, height=size)
    return SimpleNamespace(index=index, disposition=mark, frames=frames, codec_context=context)


def chosen_of(*streams: SimpleNamespace) -> int:
    """Return the index of the stream that is chosen."""
    container = SimpleNamespace(streams=SimpleNamespace(video=list(streams)))
    for stream in streams:
        stream.container = container
    return film_stream(cast(InputContainer, container), Path("a.mp4")).index


@pytest.mark.parametrize("mark", MARKS)
def test_a_stream_with_a_mark_is_no_film(mark: str) -> None:
    """However large it is; alone, the file is refused."""
    assert chosen_of(stream_like(0, Disposition[mark] | DEFAULT, 9, 4000), stream_like(1, NONE, 9)) == 1
    with pytest.raises(ClipError, match="holds only a still picture, no film; leave it out of the input"):
        chosen_of(stream_like(0, Disposition[mark], 1))


def test_equal_streams_are_told_apart_by_their_frames_and_then_their_order() -> None:
    """Containers that state no frames say 0 for all."""
    assert chosen_of(stream_like(0, NONE, 5), stream_like(1, NONE, 9)) == 1
    assert chosen_of(stream_like(0, NONE), stream_like(1, NONE)) == 0
    assert chosen_of(stream_like(0, NONE, 0, 4000), stream_like(1, NONE, 9)) == 1
