"""The tracked people that an annotation leaves out, kept beside it.

An annotation holds the first `max_persons` people. The others are still needed: a fighter that the ranking
missed is moved up on the review page, and a fragment of a fighter is merged with the rest of it. So
`<output root>/.fightpose/tracks/<frame_dir>.npz` holds all other tracks of a clip: one row per track and frame, not
(people x frames), because a long video has hundreds of short tracks.

The file names the annotation that it belongs to by a key over IDs and boxes. After a run under other settings an older
file has another key and is not used, and neither is one that is damaged: the page then shows the annotated people only,
as it does for output roots of earlier versions.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import Annotation, confidence_of, in_display, people_arrays
from tasks.core.records import Involvement, Poses, RegionWeights, Tracks
from tasks.core.region_layout import REGIONS
from tasks.core.storage import atomic_path
from tasks.involvement.selection import take

logger = logging.getLogger(__name__)

MAX_STORED_BYTES = 4 << 30
"""Most that such a file may unpack to."""

_POSES = ("frame_index", "bbox", "score", "keypoints", "keypoint_scores")
_PEOPLE = ("track_ids", "score", "quality", "length", "best_partner", "region_scores", "window_score")


@dataclass(frozen=True, slots=True, eq=False)
class OtherTracks:
    """People of a clip who are not in its annotation.

    Attributes
    ----------
    tracks
        Their rows.
    people
        What the ranking says about them, in rank order.
    """

    tracks: Tracks
    people: Involvement

    @property
    def ids(self) -> list[int]:
        """The track IDs, in rank order."""
        return [int(track_id) for track_id in self.people.track_ids]

    def joined_to(self, annotation: Annotation, wanted: Collection[int]) -> Annotation:
        """Return an annotation with some of these people added after its own; the one that is given stays as it is.

        Parameters
        ----------
        annotation
            The automatic annotation of the same clip.
        wanted
            IDs of the people to add; those who are not here are passed over.
        """
        places = [place for place, track_id in enumerate(self.ids) if track_id in wanted]
        if not places:
            return annotation
        added = people_arrays(self.tracks, take(self.people, np.array(places)))
        # Only keys with one entry for each person; what belongs to the clip as a whole is the annotation's own.
        joined = annotation | {key: _concatenated(annotation[key], added[key]) for key in added}
        # Worked out again over all of them: it depends on who comes near.
        if "identity_confidence" in annotation:
            joined["identity_confidence"] = confidence_of(joined)
        return joined


def other_tracks(tracks: Tracks, ranking: Involvement, annotated: npt.NDArray[np.int32]) -> OtherTracks:
    """Return everyone of a ranking who is not annotated and has a joint at all.

    Parameters
    ----------
    tracks
        All tracks of the clip, boxes as the annotation has them.
    ranking
        All tracks in rank order.
    annotated
        IDs of the people in the annotation.
    """
    # Without a single joint a person is in no frame of an annotation.
    people = take(ranking, np.flatnonzero(~np.isin(ranking.track_ids, annotated) & (ranking.quality > 0)))
    return OtherTracks(tracks.select(np.isin(tracks.track_id, people.track_ids)), people)


def save_other_tracks(path: Path, others: OtherTracks, annotation: Annotation) -> None:
    """Write the people that an annotation leaves out, atomically; also where there are none, so that no old file stays.

    Parameters
    ----------
    path
        Of `tasks.mapping.receipts.tracks_path`.
    others
        The people.
    annotation
        The annotation as it is written.
    """
    poses, people = others.tracks.poses, others.people
    arrays: dict[str, npt.NDArray[Any]] = {
        # By which a file that an earlier run left is told from this one.
        "belongs_to": np.array(annotation_key(annotation)),
        "track_id": others.tracks.track_id,
        "filled": others.tracks.filled,
        **{name: getattr(poses, name) for name in _POSES},
        **{f"people_{name}": getattr(people, name) for name in _PEOPLE},
        **{f"component_{name}": values for name, values in people.components.items()},
    }
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def load_other_tracks(path: Path, annotation: Annotation) -> OtherTracks | None:
    """Return the people that an automatic annotation leaves out; None where they were not kept or are others.

    Parameters
    ----------
    path
        Of `tasks.mapping.receipts.tracks_path`.
    annotation
        The automatic annotation of the clip.
    """
    try:
        # Opened here, because np.load leaves a file open that it cannot read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            # A small file may unpack to more than the memory holds; the sizes are read before any data.
            if sum(member.file_size for member in data.zip.infolist()) > MAX_STORED_BYTES:
                raise ValueError(f"unpacks to more than {MAX_STORED_BYTES} bytes")
            if str(data["belongs_to"]) != annotation_key(annotation):
                # Left by a run under other settings: no damage, so that there is nothing to warn of.
                return None
            return _read(data, annotation)
    except FileNotFoundError:
        return None
    except Exception as error:
        # A damaged zip surfaces in a dozen types, see `Poses.load`.
        line = " ".join(f"{type(error).__name__}: {error}".split())
        logger.warning("%s: cannot be read (%s); the annotated people are shown only", path, line)
        return None


def _read(data: Any, annotation: Annotation) -> OtherTracks:
    """Return the record of an open file; the records themselves check shapes and values."""
    # Kept as tracked, where pixels are square; annotations are in stored pixels.
    height, width = in_display(annotation)["img_shape"]
    ratio = float(annotation.get("sample_aspect_ratio", 1.0))
    frames, fps = int(annotation["total_frames"]), float(annotation["fps"])
    rows = {name: data[name] for name in _POSES}
    poses = Poses(**rows, frame_count=frames, width=int(width), height=int(height), fps=fps)
    poses = replace(poses, sample_aspect_ratio=ratio)
    tracks = Tracks(poses, data["track_id"], data["filled"])
    names = annotation["score_breakdown"]
    # All that belongs to the clip as a whole is in the annotation.
    weights = RegionWeights(
        np.array([annotation["region_weights"][name] for name in REGIONS], np.float32),
        np.asarray(annotation["region_weights_path"]),
    )
    values = {name: data[f"people_{name}"] for name in _PEOPLE}
    count = len(values["track_ids"])
    # These arrays go together by position: a shorter one would give people the scores of others.
    if any(len(value) != count for value in values.values()):
        raise ValueError("its arrays are of different lengths")
    people = Involvement(
        **values,
        components={name: data[f"component_{name}"] for name in names},
        region_weights=weights,
        window_frames=annotation["window_frames"],
    )
    return OtherTracks(tracks, people)


def annotation_key(annotation: Annotation) -> str:
    """Return a key of the people of an annotation and their places: of its IDs and boxes."""
    digest = hashlib.sha256()
    for name in ("track_ids", "bbox"):
        digest.update(np.ascontiguousarray(annotation[name]).tobytes())
    # 128 bits are plenty to tell runs apart.
    return digest.hexdigest()[:32]


def _concatenated(first: Any, second: Any) -> Any:
    """Return arrays over people one after the other, also where they are in a dict by name."""
    if isinstance(first, dict):
        return {name: np.concatenate([first[name], second[name]]) for name in first}
    return np.concatenate([first, second])
