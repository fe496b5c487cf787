"""The clips of an output root that people have reviewed, as clips whose people are known.

The corrected annotation of a clip says who is who: its people with a role, each with its box, looked at every half
second. A clip that is checked, of class 1 and without any role says that the first two people fight and that their
tracks are right. Somebody who was dropped is not known, so that a track of them at the top counts as wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tasks.annotations.format import Annotation, AnnotationError, in_display
from tasks.clips.discovery import Clip
from tasks.clips.labels import group_rule
from tasks.clips.manifest import read_manifests
from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tasks.core.storage import require_output_root
from tasks.mapping.receipts import recorded_settings
from tasks.poses.stored import kept_poses, model_key_in
from tasks.regions.camera_weights import camera_of
from tasks.review.apply import automatic_annotation, other_people
from tasks.review.corrections import apply_changes
from tasks.review.log import Change, SetChecked, read_review, standing_changes
from tasks.tuning.figures import Label
from tasks.tuning.measure import Case

KNOWN_EVERY = 0.5
"""Seconds between two known frames of a clip: so long it takes for an ID to be lost in contact."""

FIRST = 2
"""People that a checked clip confirms: those that the network is shown."""


@dataclass(slots=True)
class Reviewed:
    """What an output root can teach.

    Attributes
    ----------
    settings
        The settings that its annotations were made with, thresholds resolved.
    cases
        Clips whose people are known, and whose poses are there.
    clips
        Number of all annotated or failed clips of the output root.
    problems
        Clips that were reviewed and cannot be used, each with the reason.
    """

    settings: Settings
    cases: list[Case] = field(default_factory=list)
    clips: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def groups(self) -> list[str]:
        """The source or camera of each case; every clip is its own where there is one source only."""
        sources = [case.label.source for case in self.cases]
        return sources if len(set(sources)) > 1 else [case.label.clip for case in self.cases]


def read_reviewed(output_root: Path) -> Reviewed:
    """Return the clips of an output root whose people are known.

    Raises
    ------
    FightposeError
        If the folder is none of an earlier run, the log is damaged, or nothing in it teaches anything.
    """
    require_output_root(output_root)
    standing = standing_changes(read_review(output_root))
    # Clips that the splits keep together are one source; without such a rule, those of a camera.
    source_of = group_rule(recorded_settings(output_root).dataset) or camera_of
    clips = read_manifests(output_root)
    found: list[tuple[Case, Settings, str]] = []
    problems: list[tuple[str, str]] = []
    for clip in clips:
        changes = [entry.change for entry in standing.get(clip.frame_dir, [])]
        try:
            case = _case(clip, output_root, changes, source_of(clip.frame_dir)) if changes else None
        except (AnnotationError, KeyError, TypeError, ValueError) as error:
            # A clip that cannot be used costs only itself.
            problems.append((clip.frame_dir, str(error)))
            continue
        if case is not None:
            found.append(case)
    if not found:
        reason = f" ({problems[0][0]}: {problems[0][1]})" if problems else ""
        raise FightposeError(
            f"no reviewed clip in {output_root} can be learned from{reason}; "
            "call people fighters and bystanders on the page of 'fightpose review', then tune"
        )
    # Scores of two models are not comparable, and neither are thresholds on them.
    models = sorted({model for _, _, model in found})
    if len(models) > 1:
        raise FightposeError(
            f"the reviewed clips of {output_root} were annotated with {len(models)} pose models; "
            "run annotate on all of them with one, then tune"
        )
    # Clips of several runs may differ in settings; those of the last one are where tuning starts.
    return Reviewed(found[-1][1], [case for case, _, _ in found], len(clips), problems)


def _case(clip: Clip, output_root: Path, changes: Sequence[Change], source: str) -> tuple[Case, Settings, str] | None:
    """Return a clip as a case, with its settings and pose model; None where nobody in it is known."""
    automatic = automatic_annotation(clip, output_root)
    applied = apply_changes(automatic, changes, other_people(clip, output_root, automatic))
    # Corrections that were passed over would make the known people wrong ones.
    if applied.misfits:
        raise ValueError(f"its corrections contradict each other ({applied.misfits[0]}); mend them on the review page")
    if applied.annotation is None:
        return None
    frames = known_people(applied.annotation, applied.left_out, changes)
    if not any(person["role"] == "fighter" for people in frames.values() for person in people):
        return None
    # The settings that made the annotation, not those of the last run: the corrections speak of its people.
    settings, made = Settings.model_validate(automatic["settings"]), automatic["provenance"]
    model = model_key_in(made)
    poses = kept_poses(output_root, str(made["video_sha256"]), model, settings.poses)
    if not poses.is_file():
        raise ValueError("its stored poses are gone; run annotate again")
    return Case(poses, Label(clip.frame_dir, source, frames)), settings, model


def known_people(
    annotation: Annotation, left_out: Annotation, changes: Iterable[Change]
) -> dict[int, list[dict[str, Any]]]:
    """Return who is where in a corrected annotation, as `Label.frames` has it.

    Parameters
    ----------
    annotation
        The corrected annotation.
    left_out
        People who are not in it and have a role all the same, such as bystanders, see `Applied.left_out`.
    changes
        The corrections that made it.
    """
    roles = dict(annotation["review"]["roles"])
    checked = [change.checked for change in changes if isinstance(change, SetChecked)]
    # A fight that was checked without a word about anybody confirms its first two people.
    if not roles and checked and checked[-1] and annotation["label"] == 1:
        roles = {str(track_id): "fighter" for track_id in annotation["track_ids"][:FIRST].tolist()}
    step = max(1, round(KNOWN_EVERY * float(annotation["fps"])))
    frames: dict[int, list[dict[str, Any]]] = {}
    # Tracks have their boxes where pixels are square; annotations have them as stored.
    of_clip = {name: annotation[name] for name in ("img_shape", "sample_aspect_ratio") if name in annotation}
    for arrays in (in_display(annotation), in_display(left_out | of_clip)):
        for place, track_id in enumerate(np.asarray(arrays.get("track_ids", [])).tolist()):
            role = roles.get(str(track_id))
            if role is None:
                continue
            seen = arrays["keypoint_score"][place].max(axis=1) > 0
            # From half a step on, so that known frames lie evenly within the clip.
            for frame in range(step // 2, int(annotation["total_frames"]), step):
                if seen[frame]:
                    person = {"person": track_id, "role": role, "box": arrays["bbox"][place][frame].tolist()}
                    frames.setdefault(frame, []).append(person)
    return dict(sorted(frames.items()))
