"""Whole pictures from interlaced frames, which hold two half pictures of different moments in alternating lines.

Recorders of analogue cameras store 720x576i: whatever moves is torn into a comb of lines, and a pose model finds fewer
people in it. FFmpeg's filter keeps one of the two half pictures and fills the lines between from its surroundings in
place and time. One frame stays one frame, so that frame numbers keep their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import av
from av.error import EOFError as FilterEndError
from av.filter import Graph

FILTER = "yadif"

SHARE = 0.5
"""A clip is interlaced where more than this share of its first frames says so."""


def is_interlaced(marks: Sequence[bool]) -> bool:
    """Tell by the marks on its first frames (`VideoFrame.interlaced_frame`) whether a clip is interlaced."""
    return sum(marks) > SHARE * len(marks)


def deinterlaced(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yield whole pictures for the frames of one stream, as many as there are frames and in the same order.

    Frames that are not marked as interlaced pass as they are. Where the frames change in size or format, as some
    recorders do in the middle, a new filter goes on.
    """
    graph, form = None, None
    for frame in frames:
        if form != (frame.width, frame.height, frame.format.name):
            if graph is not None:
                yield from _rest_of(graph)
            graph, form = _new_graph(frame), (frame.width, frame.height, frame.format.name)
        assert graph is not None  # noqa: S101 - for the type checker: the first frame made one
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        yield from _rest_of(graph)


def _new_graph(frame: av.VideoFrame) -> Graph:
    """Return a filter for frames like this one."""
    graph = Graph()
    # The size of a time tick does not matter to the filter, but it must have one.
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    # send_frame: one picture for each frame, and not one for each half.
    filtered = graph.add(FILTER, "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(filtered)
    filtered.link_to(sink)
    graph.configure()
    return graph


def _ready(graph: Graph) -> Iterator[av.VideoFrame]:
    """Yield the pictures that a filter has finished."""
    while True:
        try:
            picture = graph.pull()
        except (BlockingIOError, FilterEndError):
            # It needs the next frame first, or has ended.
            return
        assert isinstance(picture, av.VideoFrame)  # noqa: S101 - for the type checker
        yield picture


def _rest_of(graph: Graph) -> Iterator[av.VideoFrame]:
    """End a filter and yield what it still holds."""
    graph.push(None)
    yield from _ready(graph)
