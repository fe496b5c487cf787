"""A pose model's way through a clip."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import numpy.typing as npt

from tasks.core.errors import ClipError, FailureReason
from tasks.core.prefetch import ahead
from tasks.core.records import Poses, VideoInfo
from tasks.core.settings import PoseSettings
from tasks.poses.detections import Detections
from tasks.poses.fingerprint import Fingerprint
from tasks.poses.models import PoseModel
from tasks.poses.second_look import Looker
from tasks.video.frame_times import usable_times
from tasks.video.reading import Frame, Image, decode_frames

CODE_VERSION = 4
"""Part of the cache key of poses: raise it when a change alters what is found."""

BYTES_AHEAD = 64 << 20
"""Decoded frames that wait for the model take at most so many bytes (two of them in any case)."""


def extract_poses(
    video: VideoInfo,
    model: PoseModel,
    settings: PoseSettings,
    on_frames: Callable[[int], None] = lambda done: None,
    frames: Iterable[Frame] | None = None,
) -> Poses:
    """Find the people in every frame of a clip.

    Frames are decoded in a thread of their own, ahead of the model by a bounded number, so that memory does not grow
    with the clip.

    Parameters
    ----------
    video
        The clip.
    model
        A loaded model.
    settings
        With `score_thr` and `nms_thr` resolved to numbers.
    on_frames
        Called with the number of frames done so far, after every batch.
    frames
        The clip's frames; decoded in this process if None.

    Raises
    ------
    ClipError
        EMPTY_VIDEO if no frame decodes.
    """
    # A new one for each clip: it remembers people from batch to batch.
    looker = Looker(model, video.width, video.height, video.fps, settings)
    found: list[Detections] = []
    times: list[float | None] = []
    fingerprint = Fingerprint(video.fps)

    def images(frames: Iterable[Frame]) -> Iterator[Image]:
        """Note when each frame is shown, and what it looks like."""
        for frame in frames:
            times.append(frame.time)
            fingerprint.add(frame)
            yield frame.image

    # `images` runs in this thread, so that `times` needs no lock and is in the order of the frames.
    with ahead(decode_frames(video) if frames is None else frames, frames_ahead(video, model.batch_size)) as decoded:
        for batch in _batches(images(decoded), model.batch_size):
            found += looker.find(batch)
            on_frames(len(found))
    if not found:
        raise ClipError(FailureReason.EMPTY_VIDEO, video.path, "no frame can be decoded; copy or export the clip again")
    # Where the times of frames cannot be used, the constant rate of the header holds.
    poses = _joined(found, video, usable_times(times, video.fps) if video.timed else None)
    return replace(poses, fingerprint=fingerprint.cells())


def frames_ahead(video: VideoInfo, batch_size: int) -> int:
    """Return how many decoded frames of a clip may wait: a batch, as far as the memory for it goes."""
    # Three bytes per pixel.
    return max(2, min(batch_size, BYTES_AHEAD // (video.width * video.height * 3)))


def _batches(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    """Group a stream of images into lists of at most `size`."""
    stream = iter(images)
    while batch := list(islice(stream, size)):
        yield batch


def _joined(found: list[Detections], video: VideoInfo, times: npt.NDArray[np.float64] | None) -> Poses:
    """Put the detections of all frames into one record; `times` are those of a clip of variable rate."""
    return Poses(
        frame_index=np.repeat(np.arange(len(found), dtype=np.int32), [len(people) for people in found]),
        bbox=np.concatenate([people.bbox for people in found]),
        score=np.concatenate([people.score for people in found]),
        keypoints=np.concatenate([people.keypoints for people in found]),
        keypoint_scores=np.concatenate([people.keypoint_scores for people in found]),
        frame_count=len(found),
        width=video.width,
        height=video.height,
        # What the frames say, where the header cannot: the mean of a rate that varies.
        fps=video.fps if times is None else float((len(times) - 1) / times[-1]),
        sample_aspect_ratio=video.sample_aspect_ratio,
        times=times,
    )
