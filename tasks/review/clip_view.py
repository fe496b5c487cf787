"""One clip as the review page shows it: the corrected people, their course through time, and what was said so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.annotations.format import Annotation, in_display, people_arrays
from tasks.annotations.other_tracks import OtherTracks
from tasks.core.region_layout import LAYOUT
from tasks.involvement.selection import take
from tasks.overlay.canvas import palette_colors
from tasks.review.corrections import Applied, apply_changes
from tasks.review.id_switches import find_suspects
from tasks.review.log import (
    Change,
    Entry,
    SetChecked,
    SetExcluded,
    SetLabel,
    SplitTrack,
    WriteNote,
    named_people,
)

MOST_OTHERS = 40
"""Most people that the page lists below those of the annotation: the rest of a crowd are fragments of seconds."""


def clip_view(
    annotation: Annotation, entries: Sequence[Entry], undos: Sequence[Entry], others: OtherTracks | None = None
) -> dict[str, Any]:
    """Return what the page shows of an annotated clip, as JSON-able values.

    Parameters
    ----------
    annotation
        The automatic annotation.
    entries
        The corrections that count, oldest first.
    undos
        The undos that count, oldest first: the last one can be taken back.
    others
        The people that the annotation leaves out, None where they are not known.
    """
    changes = [entry.change for entry in entries]
    applied = apply_changes(annotation, changes, others)
    shown = applied.annotation
    # The page draws over the overlay, whose pixels are square.
    height, width = in_display(annotation)["img_shape"]
    return {
        "frames": int(annotation["total_frames"]),
        # Frames per second: the page needs a rate to turn frames into time, also where none is known.
        "fps": float(annotation.get("fps") or 25.0),
        "width": int(width),
        "height": int(height),
        "label": int(shown["label"]) if shown else int(annotation["label"]),
        "automatic_label": int(annotation["label"]),
        "automatic_order": [int(track_id) for track_id in annotation["track_ids"]],
        "window_frames": [int(edge) for edge in annotation["window_frames"]],
        "region_weights": {name: round(float(w), 3) for name, w in annotation["region_weights"].items()},
        "region_layout": [region._asdict() for region in LAYOUT],
        **_people(annotation, applied, changes, others),
        # Of the corrected people, so that what was split or swapped already is not suspected again.
        "suspects": [
            {
                "kind": suspect.kind,
                "frame": suspect.frame,
                "ids": list(suspect.track_ids),
                "likely": round(suspect.likely, 3),
            }
            for suspect in (find_suspects(shown) if shown else [])
        ],
        "next_id": _next_id(annotation, changes, others),
        **_said(entries, undos, applied),
    }


def empty_view(label: int, entries: Sequence[Entry], undos: Sequence[Entry]) -> dict[str, Any]:
    """Return the same for a clip whose annotation is absent or unreadable: it can be judged as a whole only."""
    # Nothing about people can be said without an annotation; the label, a note and the exclusion can.
    labels = [entry.change.label for entry in entries if isinstance(entry.change, SetLabel)]
    return {
        "frames": 0,
        "fps": 25.0,
        # Only a shape for the empty player: nothing is drawn over it.
        "width": 16,
        "height": 9,
        "label": labels[-1] if labels else label,
        "automatic_label": label,
        "automatic_order": [],
        "window_frames": [],
        "region_weights": {},
        "region_layout": [region._asdict() for region in LAYOUT],
        "people": [],
        "rest": [],
        "suspects": [],
        "next_id": 1,
        **_said(entries, undos, None),
    }


def _said(entries: Sequence[Entry], undos: Sequence[Entry], applied: Applied | None) -> dict[str, Any]:
    """Return what was said about a clip."""
    changes = [entry.change for entry in entries]
    last: dict[type[Any], Any] = {type(change): change for change in changes}
    # Without an annotation nobody can have been dropped: the last word about the clip decides.
    excluded = applied.excluded if applied else bool(last[SetExcluded].excluded) if SetExcluded in last else False
    return {
        "excluded": excluded,
        "note": last[WriteNote].text if WriteNote in last else "",
        "checked": last[SetChecked].checked if SetChecked in last else False,
        "misfits": applied.misfits if applied else [],
        "history": [
            {"id": entry.id, "time": entry.time, "who": entry.who, "text": entry.change.words()} for entry in entries
        ],
        "redo": undos[-1].id if undos else None,
    }


def _people(
    annotation: Annotation, applied: Applied, changes: Sequence[Change], others: OtherTracks | None
) -> dict[str, Any]:
    """Return the people of the annotation in rank order, and the rest, which it leaves out, likeliest first."""
    shown = in_display(applied.annotation or annotation)
    # People who are left out come without what is said of the clip, which `in_display` needs.
    of_clip = {key: annotation[key] for key in ("img_shape", "sample_aspect_ratio") if key in annotation}
    left_out = in_display(applied.left_out | of_clip)
    rest = [(left_out, place) for place in range(len(left_out.get("track_ids", [])))]
    named = named_people(changes)
    # People that corrections name are in the annotation or in `left_out` already.
    unnamed = [i for i, track_id in enumerate(others.ids) if track_id not in named][:MOST_OTHERS] if others else []
    if others:
        # One at a time: each takes an array over all frames of the clip.
        people = (people_arrays(others.tracks, take(others.people, np.array([i]))) for i in unnamed)
        rest += [(in_display(arrays | of_clip), 0) for arrays in people]
    automatic = [int(track_id) for track_id in annotation["track_ids"]]
    ids = [int(track_id) for track_id in shown["track_ids"]]
    # New IDs come last, so that those in the overlay video keep the colours that they have there.
    left = [int(arrays["track_ids"][place]) for arrays, place in rest]
    colors = palette_colors(list(dict.fromkeys([*automatic, *ids, *left])))
    roles = applied.annotation["review"]["roles"] if applied.annotation else {}
    listed = [_person(shown, place, colors, roles) for place in range(len(ids))] if applied.annotation else []
    folded = [_person(arrays, place, colors, roles) for arrays, place in rest]
    # The highest score first: a fighter who was left out is most likely near the top.
    folded.sort(key=lambda person: -person["score"])
    return {"people": listed, "rest": folded}


def _person(arrays: Annotation, place: int, colors: dict[int, tuple[int, int, int]], roles: Any) -> dict[str, Any]:
    """Return one person as the page shows it, from arrays over people."""
    track_id = int(arrays["track_ids"][place])
    # OpenCV's order of colours; the page writes red first.
    blue, green, red = colors[track_id]
    # (T,): a frame in which no joint has a score is one without the person.
    seen = arrays["keypoint_score"][place].max(axis=1) > 0
    frames = np.flatnonzero(seen)
    # Boxes are sent from the first to the last frame of the person: most of the rest are there briefly.
    first, end = (int(frames[0]), int(frames[-1]) + 1) if len(frames) else (0, 0)
    return {
        "id": track_id,
        "color": f"#{red:02x}{green:02x}{blue:02x}",
        "role": roles.get(str(track_id)),
        "score": round(float(arrays["composite_scores"][place]), 4),
        "quality": round(float(arrays["track_quality"][place]), 3),
        "length": int(arrays["track_length"][place]),
        "partner": int(arrays["best_partner"][place]),
        "components": _rounded(arrays["score_breakdown"], place),
        "regions": _rounded(arrays["region_breakdown"], place),
        "windows": [round(float(score), 3) for score in arrays["window_scores"][place]],
        "spans": _spans(seen),
        "first": first,
        "boxes": _boxes(arrays["bbox"][place, first:end], seen[first:end]),
    }


def _rounded(breakdown: dict[str, Any], place: int) -> dict[str, float]:
    """Return one person's part of a breakdown."""
    return {name: round(float(values[place]), 3) for name, values in breakdown.items()}


def _spans(seen: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Return the stretches of frames in which a person has a pose, as first frame and frame after the last."""
    # Nobody is there before and after the clip, so that each stretch has both a start and an end.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]])))
    return [[int(a), int(b)] for a, b in edges.reshape(-1, 2)]


def _boxes(bbox: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> list[list[int] | int]:
    """Return the box of each frame in whole pixels, 0 where there is none (short in JSON)."""
    whole = bbox.round().astype(int).tolist()
    return [box if there else 0 for box, there in zip(whole, seen.tolist(), strict=True)]


def _next_id(annotation: Annotation, changes: Sequence[Change], others: OtherTracks | None) -> int:
    """Return an ID that nobody in the clip has or ever had, the people that the annotation leaves out included."""
    given = [change.new_id for change in changes if isinstance(change, SplitTrack)]
    return max([*map(int, annotation["track_ids"]), *given, *(others.ids if others else [])]) + 1
