"""How fast a clip runs, and whether the times of its frames can be used.

Some recorders write all frames of a clip into a few milliseconds, or give every frame the same time. Such a clip has a
rate of hundreds or thousands of frames per second by its times; its real rate is what the codec states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

DEFAULT_FPS = 25.0
"""Assumed where a container states no believable frame rate."""

MIN_FPS, MAX_FPS = 0.5, 480.0
"""Rates outside are a time base that a broken muxer wrote into the field."""

MAX_COMMON_FPS, SHORT_SECONDS = 125.0, 1.0
"""Only slow-motion cameras are faster, and their clips last longer than a second: a shorter one is squeezed."""

GRID_FRAMES = 0.6
"""Frame times that stay this close (in frames) to a constant rate are that rate: recorders jitter."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What is known about a clip's clock from its header and first packets.

    Attributes
    ----------
    fps
        Mean frame rate, frames per second.
    timed
        Whether the times of the frames can be used; if not, the clip runs at the constant rate `fps`.
    """

    fps: float
    timed: bool


def timing_of(stream: VideoStream, first_times: Sequence[float]) -> Timing:
    """Return the frame rate of a stream, and whether its frame times are usable.

    Parameters
    ----------
    stream
        The film.
    first_times
        Times of its first packets in seconds, in any order; too few say nothing.
    """
    stated = [stream.average_rate, stream.guessed_rate]
    if stream.container.format.name in ("h264", "hevc", "m4v", "mpegvideo"):
        # A bare stream has no container that knows: FFmpeg assumes 25 there, while the codec may state the rate.
        stated.insert(0, _codec_rate(stream))
    rate = next((float(rate) for rate in stated if rate is not None and _is_believable(rate)), None)
    if _is_squeezed(stream, first_times):
        codec = _codec_rate(stream)
        return Timing(float(codec) if codec is not None and codec <= MAX_COMMON_FPS else DEFAULT_FPS, False)
    return Timing(DEFAULT_FPS if rate is None else rate, True)


def constant_rate(times: npt.NDArray[np.float64], fps: float) -> bool:
    """Tell whether frame times keep a constant rate close to the one stated, but for jitter.

    Parameters
    ----------
    times
        (T,) seconds, ascending.
    fps
        The rate that the header states.
    """
    if len(times) < 3:
        return True
    measured = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
    # Rounded rates (29.97 for 30000/1001) drift slowly, so the clip's own mean rate makes the grid.
    if not math.isclose(measured, fps, rel_tol=0.02):
        return False
    grid = times[0] + np.arange(len(times)) / measured
    return float(np.abs(times - grid).max()) * fps <= GRID_FRAMES


def usable_times(times: Sequence[float | None], fps: float) -> npt.NDArray[np.float64] | None:
    """Return the times of all frames of a clip of variable rate, (T,) seconds from 0 and ascending; else None.

    Parameters
    ----------
    times
        Of the decoded frames in order; None where the container gave a frame none.
    fps
        The clip's mean rate by its header.
    """
    if not times or any(time is None or not math.isfinite(time) for time in times):
        return None
    clock = np.array(times, np.float64)
    steps = np.diff(clock)
    # A clock that runs back or stops for minutes was set in between: it measures nothing.
    if len(steps) and (steps.min() <= 0 or steps.max() > LARGEST_GAP_S):
        return None
    return None if constant_rate(clock, fps) else clock - clock[0]


LARGEST_GAP_S = 60.0
"""Longest time between two frames that is believed, in seconds."""


def _is_believable(rate: Fraction | None) -> bool:
    """Tell whether a rate that a header states can be one."""
    return rate is not None and math.isfinite(rate) and MIN_FPS <= rate <= MAX_FPS


def _codec_rate(stream: VideoStream) -> Fraction | None:
    """Return the rate that the codec's own header states, None where it states none that can be one."""
    rate = stream.codec_context.framerate
    return rate if _is_believable(rate) else None


def _is_squeezed(stream: VideoStream, first_times: Sequence[float]) -> bool:
    """Tell whether frame times lie so close that no camera recorded them so."""
    if len(first_times) < 3:
        return False
    # By the packets: containers may state no count or duration, and times may all be the same.
    span = max(first_times) - min(first_times)
    rate = (len(first_times) - 1) / max(span, 1e-9)
    if rate <= MAX_COMMON_FPS:
        return False
    codec = _codec_rate(stream)
    # Slow motion lasts, and its codec does not state an ordinary rate.
    contradicted = codec is not None and codec <= MAX_COMMON_FPS and rate > 2.5 * codec
    whole = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else span
    return rate > MAX_FPS or contradicted or max(whole, span) < SHORT_SECONDS
