"""The records that walk through the pipeline: what was filmed, found, tracked and judged.

Each is a frozen dataclass of arrays, one row per detection or per track, validated in one place (`__post_init__`)
and read and written in one place (`save`, `load`: npz without pickled objects). Pixel coordinates have their origin at
the top left corner of the *displayed* frame (after the rotation that the container asks for), x to the right, y down.
Keypoints are COCO's 17, in COCO order.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tasks.core.errors import FightposeError
from tasks.core.records.scratch import blocks, blocks_of_frames, let_go, read_column, taken
from tasks.core.skeleton import NUM_KEYPOINTS
from tasks.core.storage import atomic_path

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

MAX_STORED_BYTES = 8 << 30
"""Most that a file of poses may unpack to: 30 people in every frame of ten hours take 6 GB."""

FINGERPRINT_SIDE = 16
"""Cells along each side of the shrunk frames of a fingerprint."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a clip is, as far as its header and first frame tell.

    Attributes
    ----------
    path
        The clip.
    sha256
        Hash of the file's bytes: the clip's identity for caching.
    width, height
        Size of a displayed frame in pixels, after rotation.
    fps
        Mean frame rate, frames per second; 25 where the container states none.
    header_frames
        Frame count that the container claims, or that its duration makes likely; 0 where it claims neither. Headers
        lie: the true count is that of the decoded frames, `Poses.frame_count`.
    container, codec
        Names as FFmpeg gives them.
    sample_aspect_ratio
        Width divided by height of a stored pixel, upright; 1 for square pixels. `width` and `height` are those of the
        display frame, whose pixels are square (`tasks.core.pixel_aspect`).
    interlaced
        Whether frames hold two half pictures that make one whole picture.
    timed
        Whether the times of the frames can be used; if not, the clip runs at the constant rate `fps`.
    revised
        Whether versions before 0.1 read the clip in another way (another stream, mirrored, with pixels that are not
        square, interlaced, or at a rate that cannot be): poses that they stored are not of these frames.
    """

    path: Path
    sha256: str
    width: int
    height: int
    fps: float
    header_frames: int
    container: str
    codec: str
    sample_aspect_ratio: float = 1.0
    interlaced: bool = False
    timed: bool = True
    revised: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """The people found in a clip: one row per detection, rows sorted by frame.

    Attributes
    ----------
    frame_index
        (N,) int32, from 0 in decode order, ascending.
    bbox
        (N, 4) float32, x1, y1, x2, y2 in pixels.
    score
        (N,) float32, the model's score of the person. Its range depends on the model.
    keypoints
        (N, 17, 2) float32, pixels, COCO order.
    keypoint_scores
        (N, 17) float32; 0 where a joint is missing.
    frame_count
        Number of decoded frames, those with nobody in them included.
    width, height
        Frame size in pixels.
    fps
        Frames per second, the mean where the rate varies.
    sample_aspect_ratio
        Width divided by height of a stored pixel. All coordinates here are of the display frame, whose pixels are
        square; only annotations are in stored pixels (`tasks.core.pixel_aspect`).
    times
        (T,) float64, seconds from 0, ascending: when each frame is shown, in a clip of variable rate. None where the
        rate is constant, or nothing is known.
    fingerprint
        (S, 16, 16) uint8 of the clip's pictures (`tasks.poses.fingerprint`), by which copies of it are known; None
        where no pictures were seen.
    """

    frame_index: IntArray
    bbox: FloatArray
    score: FloatArray
    keypoints: FloatArray
    keypoint_scores: FloatArray
    frame_count: int
    width: int
    height: int
    fps: float
    sample_aspect_ratio: float = 1.0
    times: npt.NDArray[np.float64] | None = None
    fingerprint: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Check shapes and the order of frames once, where the record is made.

        Raises
        ------
        ValueError
            If an array has the wrong shape, a frame index is out of range or out of order, or a value is not finite.
        """
        # Checked here once, so that no later step has to doubt shapes or order.
        n = len(self.frame_index)
        expected = {
            "frame_index": (n,),
            "bbox": (n, 4),
            "score": (n,),
            "keypoints": (n, NUM_KEYPOINTS, 2),
            "keypoint_scores": (n, NUM_KEYPOINTS),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
            # NaN passes every comparison of a threshold as false, and would spread unseen.
            for part in blocks(n):
                if not np.isfinite(array[part]).all():
                    raise ValueError(f"{name} holds values that are not finite")
                # The last row of the block before is compared with the first of this one.
                if name == "frame_index" and np.any(np.diff(array[max(part.start - 1, 0) : part.stop]) < 0):
                    raise ValueError("rows are not sorted by frame_index")
                let_go(array)
        # As rows are sorted, the first and the last index bound all others.
        if n and (self.frame_index[0] < 0 or self.frame_index[-1] >= self.frame_count):
            raise ValueError(f"frame_index leaves the clip's {self.frame_count} frames")
        if self.times is not None and (self.times.shape != (self.frame_count,) or np.any(np.diff(self.times) <= 0)):
            raise ValueError(f"times are not those of {self.frame_count} frames, ascending")

    def __len__(self) -> int:
        return len(self.frame_index)

    def select(self, rows: npt.NDArray[Any]) -> Self:
        """Return the record of some rows, given as a mask or as ascending indices."""
        return replace(
            self,
            frame_index=taken(self.frame_index, rows),
            bbox=taken(self.bbox, rows),
            score=taken(self.score, rows),
            keypoints=taken(self.keypoints, rows),
            keypoint_scores=taken(self.keypoint_scores, rows),
        )

    def let_go(self) -> None:
        """Hand back the memory of columns on disk, see `tasks.core.records.scratch`."""
        let_go(self.frame_index, self.bbox, self.score, self.keypoints, self.keypoint_scores)

    def save(self, path: Path) -> None:
        """Write the record as npz, atomically."""
        with atomic_path(path) as partial, partial.open("wb") as stream:
            # What is at its default is left out: files of ordinary clips are those of earlier versions.
            values = {field.name: getattr(self, field.name) for field in fields(self)}
            if self.sample_aspect_ratio == 1:
                del values["sample_aspect_ratio"]
            told = {name: np.asarray(value) for name, value in values.items() if value is not None}
            np.savez_compressed(stream, **told)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path, scratch: Path | None = None) -> Self:
        """Read a record that `save` wrote; never unpickles.

        Parameters
        ----------
        path
            The file.
        scratch
            Folder in which the columns of a long clip are kept on disk, not in memory (`tasks.core.records.scratch`).

        Raises
        ------
        ValueError
            If the file is not such a record, is damaged, or unpacks to more than `MAX_STORED_BYTES`.
        OSError
            If it cannot be read.
        """
        try:
            # Opened here, because np.load leaves a file open that it cannot read.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
                # The sizes of a zip's members are in its directory; no more than that is ever unpacked.
                if sum(member.file_size for member in data.zip.infolist()) > MAX_STORED_BYTES:
                    raise ValueError(f"unpacks to more than {MAX_STORED_BYTES} bytes")
                return cls(
                    read_column(data, "frame_index", np.int32, scratch),
                    read_column(data, "bbox", np.float32, scratch),
                    read_column(data, "score", np.float32, scratch),
                    read_column(data, "keypoints", np.float32, scratch),
                    read_column(data, "keypoint_scores", np.float32, scratch),
                    int(data["frame_count"]),
                    int(data["width"]),
                    int(data["height"]),
                    float(data["fps"]),
                    float(data["sample_aspect_ratio"]) if "sample_aspect_ratio" in data else 1.0,
                    data["times"].astype(np.float64) if "times" in data else None,
                    data["fingerprint"].astype(np.uint8) if "fingerprint" in data else None,
                )
        except FightposeError:
            # No room in the scratch folder: nothing is wrong with the file.
            raise
        except Exception as error:
            # EINVAL is what seeking to a place that a damaged directory names gives; the rest is the disk's.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            # A damaged zip or header surfaces in a dozen types: BadZipFile, zlib.error, KeyError, EOFError,
            # SyntaxError, MemoryError for a shape that cannot be, and more.
            line = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"{path}: not a file of poses ({line})") from error


def fingerprint_of(path: Path) -> npt.NDArray[np.uint8] | None:
    """Return the fingerprint in a file of `Poses.save` without reading the poses; None in one of earlier versions.

    Raises
    ------
    ValueError, OSError
        See `Poses.load`.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            # Some 120 KB; a damaged directory may claim any size.
            if "fingerprint" not in data or data.zip.getinfo("fingerprint.npy").file_size > 1 << 20:
                return None
            cells = np.asarray(data["fingerprint"], np.uint8)
            return cells if cells.shape[1:] == (FINGERPRINT_SIDE, FINGERPRINT_SIDE) else None
    except OSError:
        raise
    except Exception as error:
        # A damaged zip or header surfaces in a dozen types, as in `Poses.load`.
        raise ValueError(f"{path}: not a file of poses") from error


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Detections that belong to a person followed through the clip.

    Attributes
    ----------
    poses
        The detections that belong to a track (those that belong to none are left out), rows sorted by frame.
    track_id
        (N,) int32, from 1. Within one frame no ID occurs twice.
    filled
        (N,) bool, True where a row was estimated inside a gap of its track and not seen by the model.
    """

    poses: Poses
    track_id: IntArray
    filled: BoolArray

    def __post_init__(self) -> None:
        """Check what every later step relies on.

        Raises
        ------
        ValueError
            If the lengths differ, an ID is below 1, or an ID occurs twice in a frame.
        """
        n = len(self.poses)
        if self.track_id.shape != (n,) or self.filled.shape != (n,):
            raise ValueError(f"track_id and filled need {n} rows")
        frame = self.poses.frame_index
        for part in blocks_of_frames(frame):
            if self.track_id[part].min(initial=1) < 1:
                raise ValueError("track IDs start at 1")
            # Both in one number, which sorts faster than pairs.
            key = frame[part].astype(np.int64) << 32 | self.track_id[part]
            if len(np.unique(key)) != len(key):
                raise ValueError("a track ID stands twice in a frame")
            let_go(frame, self.track_id)

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def ids(self) -> IntArray:
        """The distinct track IDs, ascending, (P,) int32."""
        return np.unique(np.concatenate([np.unique(self.track_id[part]) for part in blocks(len(self))]))

    def select(self, rows: npt.NDArray[Any]) -> Self:
        """Return the record of some rows, given as a mask or as ascending indices."""
        return type(self)(self.poses.select(rows), taken(self.track_id, rows), taken(self.filled, rows))

    def let_go(self) -> None:
        """Hand back the memory of columns on disk, see `tasks.core.records.scratch`."""
        self.poses.let_go()
        let_go(self.track_id, self.filled)


@dataclass(frozen=True, slots=True, eq=False)
class RegionScores:
    """How much each track is in each of the five regions, before any weight.

    Attributes
    ----------
    track_ids
        (P,) int32, ascending.
    scores
        (P, 5) float32 in [0, 1], columns in the order of `REGIONS`; the mean over all frames of the track.
    """

    track_ids: IntArray
    scores: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class RegionWeights:
    """The learned weight of each region.

    Attributes
    ----------
    weights
        (5,) float32 in [0, 1], order of `REGIONS`.
    path
        (R + 1, 5) float32: the weights before the first round and after each of the R rounds.
    """

    weights: FloatArray
    path: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Involvement:
    """Who takes part in the fight: one row per track, **in rank order** (most involved first).

    Attributes
    ----------
    track_ids
        (P,) int32.
    score
        (P,) float32, the composite score, descending, in [0, 1].
    components
        Name to (P,) float32 in [0, 1]: the parts that the composite is made of.
    quality
        (P,) float32, mean keypoint score of the track's seen rows.
    length
        (P,) int32, number of frames in which the track has a row.
    best_partner
        (P,) int32, ID of the track it interacts with most, 0 where there is none.
    region_scores
        (P, 5) float32, unweighted, order of `REGIONS`.
    region_weights
        The weights that the position component used.
    window_frames
        (S + 1,) int32, edges of the time windows: window s covers frames [edge s, edge s + 1).
    window_score
        (P, S) float32 in [0, 1], the involvement within each window; 0 where the track has no row there.
    """

    track_ids: IntArray
    score: FloatArray
    components: dict[str, FloatArray]
    quality: FloatArray
    length: IntArray
    best_partner: IntArray
    region_scores: FloatArray
    region_weights: RegionWeights
    window_frames: IntArray
    window_score: FloatArray
