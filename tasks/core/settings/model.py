"""Every setting of a run, declared once: its default, its bounds, its unit and what it does.

Options of the command line, keys of settings files, Prefect's form and the table in docs/settings.md follow from here
(`tasks.core.settings.fields`). The names and defaults are the earlier scripts'. Thresholds on scores depend on the
model (MoveNet's scores run far lower than RTMO's): they are `None` here unless the user sets them, and `resolve` fills
the open ones from the model's entry.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.core.choices import MOST_PEOPLE, InputShape, Precision, Privacy, Runtime, Scorer, SecondLook, Tracker
from tasks.core.settings.base import MOST_FRAMES, MOST_MEGABYTES, MOST_SECONDS, Group
from tasks.core.settings.camera_weights import CameraWeights
from tasks.core.settings.dataset import DatasetSettings
from tasks.core.settings.fields import Setting

OWN = "the model's own"
"""What an open threshold follows."""


class Thresholds(BaseModel):
    """Score thresholds that go with one model's score range.

    The defaults are the earlier scripts', made for RTMO, whose scores span 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    score_thr: float = Field(0.3, ge=0.0, le=1.0)
    nms_thr: float = Field(0.35, ge=0.0, le=1.0)
    track_high_thresh: float = Field(0.6, ge=0.0, le=1.0)
    track_low_thresh: float = Field(0.1, ge=0.0, le=1.0)
    track_still_thresh: float = Field(0.6, ge=0.0, le=1.0)
    quality_threshold: float = Field(0.3, ge=0.0, le=1.0)


class ModelSettings(Group):
    """Which pose model runs, and on what.

    None of it goes into keys by itself: `tasks.poses.models.model_key` is computed from exactly these settings and
    takes their place, because different settings may lead to the same answers (a name and its file, two runtimes).
    """

    model: str = Field(
        "movenet-multipose", description="Name in the model table, or a .tflite, .onnx or .json (top-down) file."
    )
    config: str | None = Field(None, description="mmpose config of RTMO (a .py file); then --model is not used.")
    checkpoint: str | None = Field(
        None,
        description="mmpose checkpoint (.pth) that goes with the config, or rtmo-t, -s, -m, -l: the published one.",
    )
    device: str = Field("cpu", description="Where the model runs: cpu, or cuda:0 where the model can.")
    runtime: Runtime = Field(
        Runtime.AUTO, description="What runs the model; auto: the fastest that is installed (see `fightpose doctor`)."
    )
    precision: Precision = Field(
        Precision.AUTO,
        description="auto: fp32, and fp16 for a checkpoint on a GPU; int8 needs `fightpose quantize-model` first.",
    )
    input_shape: InputShape = Field(
        InputShape.SQUARE,
        description="square: as mmpose; fitted: an exported RTMO in OpenVINO leaves the padding of the frame out, "
        "which is faster and shifts scores and joints a little.",
    )

    @field_validator("model", "config", "checkpoint")
    @classmethod
    def _found_again(cls, name: str | None) -> str | None:
        """Make the path of a file absolute, which holds for workers and retries in other folders; names stay names."""
        # Absolute where it is a file: a worker may run in another folder.
        path = Path(name) if name else None
        return str(path.absolute()) if path is not None and path.suffix and path.is_file() else name


class DetectionSettings(Group):
    """What is done with the model's answers; each of these alters the poses, and is part of their key."""

    score_thr: Annotated[float | None, Setting(empty=OWN)] = Field(
        None, ge=0.0, le=1.0, description="Keep people that score above this."
    )
    nms_thr: Annotated[float | None, Setting(empty=OWN)] = Field(
        None, ge=0.0, le=1.0, description="Boxes that overlap more (IoU) are one person."
    )
    second_look: SecondLook = Field(
        SecondLook.AUTO,
        description="off: one pass over each frame; auto: a second pass over enlarged crops where people are in doubt; "
        "always: over enlarged crops of everyone.",
    )
    look_budget: Annotated[float, Setting(unit="passes")] = Field(
        3.0, ge=1.0, le=20.0, description="Most that the second pass may cost, as a multiple of one pass over a frame."
    )


class PoseSettings(DetectionSettings, ModelSettings):
    """How people are found."""

    def decisive(self) -> dict[str, Any]:
        """Return what alters the poses beside the model itself; the model's key covers the rest."""
        ours = super().decisive()
        return {name: value for name, value in ours.items() if name not in ModelSettings.model_fields}


TUNED = "`fightpose tune` chooses it from reviewed clips and writes the file"


class TrackingSettings(Group):
    """How people are followed through a clip."""

    tracker: Tracker = Field(
        Tracker.FIGHTPOSE, description="How people are followed; all but fightpose need the extra 'trackers'."
    )
    track_high_thresh: Annotated[float | None, Setting(empty=OWN)] = Field(
        None, ge=0.0, le=1.0, description="Detections that score above this start and extend tracks."
    )
    track_low_thresh: Annotated[float | None, Setting(empty=OWN)] = Field(
        None, ge=0.0, le=1.0, description="Detections that score above this extend tracks."
    )
    track_still_thresh: Annotated[float | None, Setting(empty=OWN)] = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Tracks that never move and rarely score this much count as objects, not people.",
    )
    track_max_disappeared: Annotated[int, Setting(unit="frames")] = Field(
        30, ge=0, le=MOST_FRAMES, description="Frames that a track survives without a detection."
    )
    track_min_hits: Annotated[int, Setting(unit="detections")] = Field(
        3, ge=1, le=MOST_FRAMES, description="Detections before a track counts."
    )
    duplicate_oks: Annotated[float, Setting(file_only=TUNED, later=True)] = Field(
        0.7, ge=0.01, le=1.0, description="Detections of a frame whose poses agree more (OKS) are one person."
    )
    merge_similarity: Annotated[float, Setting(file_only=TUNED, later=True)] = Field(
        0.45, ge=0.01, le=1.0, description="Tracks at the same time that are more alike on average are one person."
    )
    link_overlap: Annotated[float, Setting(file_only=TUNED, later=True)] = Field(
        0.2, ge=0.0, le=1.0, description="Least overlap (IoU) of the end of a track and the start of its continuation."
    )
    link_seconds: Annotated[float, Setting(file_only=TUNED, unit="seconds", later=True)] = Field(
        1.0, ge=0.0, le=10.0, description="Most time between the end of a track and the start of its continuation."
    )
    fill_seconds: Annotated[float, Setting(file_only=TUNED, unit="seconds", later=True)] = Field(
        1.0, ge=0.0, le=10.0, description="Longest gap in a track that is filled, where the person stayed."
    )
    smoothing_seconds: Annotated[float, Setting(file_only=TUNED, unit="seconds", later=True)] = Field(
        0.1, ge=0.01, le=1.0, description="Standard deviation of the window over which boxes are smoothed."
    )


class SelectionSettings(Group):
    """Which tracks reach the annotation."""

    min_track_length: Annotated[int, Setting(unit="frames")] = Field(
        10, ge=1, le=MOST_FRAMES, description="Tracks of fewer frames are left out."
    )
    quality_threshold: Annotated[float | None, Setting(empty=OWN)] = Field(
        None, ge=0.0, le=1.0, description="Tracks of a lower mean joint score are left out."
    )
    max_persons: Annotated[int, Setting(unit="people")] = Field(
        12, ge=1, le=MOST_PEOPLE, description="At most this many people per clip, in rank order."
    )


DEFAULT_WEIGHTS = {
    "movement": 6.0,
    "position": 0.5,
    "interaction": 1.0,
    "temporal_consistency": 0.0,
    "persistence": 1.5,
    "size": 2.0,
    "reliability": 0.5,
    "distinctness": 0.25,
}
"""Weight of each component in the default composite score.

Found on 30 labelled clips of 12 sources, with the detections of several pose models and trackers, and kept round.
The components are logarithms, so that 6.0 (movement) and 2.0 (size) mean speed^1.63 * size: near people weigh more, but
not by their pixels alone. Fits with one source left out give movement, size and persistence most of the weight as well,
but none to interaction, without which one-sided attacks are missed; temporal consistency never earned a weight, and is
kept as an explanation."""

MOST_WEIGHT = 1000.0
"""Bound of the weight of a component; the score is their weighted mean, in which more would be rounded away."""


class ScoringSettings(Group):
    """How involvement is judged."""

    scorer: Scorer = Field(
        Scorer.DEFAULT, description="How involvement is scored; seed: the earlier scripts' formulas (no random seed)."
    )
    adaptive: bool = Field(True, description="Learn the weights of the frame's regions from each clip.")
    region_rate: float = Field(
        0.3, ge=0.0, le=1.0, description="Share of the new observation in each round of learning region weights."
    )
    region_rounds: Annotated[int, Setting(unit="rounds")] = Field(
        5, ge=0, le=100, description="At most this many rounds of learning region weights."
    )
    region_tolerance: float = Field(
        0.05, ge=0.0, le=5.0, description="Stop learning when the five region weights change less than this in sum."
    )
    region_tracks: Annotated[int, Setting(unit="tracks")] = Field(
        5, ge=1, le=MOST_PEOPLE, description="Learn region weights from this many of the most involved tracks."
    )
    weights: Annotated[
        dict[str, float],
        Setting(
            file_only="numbers that belong together; `fightpose review-stats OUT --calibrate FILE` writes the file"
        ),
    ] = Field(
        default_factory=lambda: dict(DEFAULT_WEIGHTS),
        description="Weight of each component of the default scorer; one that is left out counts nothing.",
    )
    camera_weights: Annotated[CameraWeights | None, Setting(option="--region-weights", empty="none")] = Field(
        None,
        description="File of `fightpose learn-region-weights`: region weights per camera, to start each clip's own "
        "from.",
    )
    window_seconds: Annotated[float, Setting(unit="seconds")] = Field(
        1.0, ge=0.01, le=3600.0, description="Seconds of each time window of the score over time."
    )

    @field_validator("camera_weights", mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        """Read region weights from the file that is named, which options and settings files do."""
        return CameraWeights.load(Path(value)) if isinstance(value, str | Path) else value

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, weights: dict[str, float]) -> dict[str, float]:
        """Refuse names that are no component, and weights that cannot make a mean."""
        unknown = sorted(weights.keys() - DEFAULT_WEIGHTS.keys())
        if unknown:
            raise ValueError(f"no such component: {', '.join(unknown)}; there are {', '.join(DEFAULT_WEIGHTS)}")
        # With all weights at 0 every track would score the same.
        if not all(0 <= w <= MOST_WEIGHT for w in weights.values()) or not any(weights.values()):
            raise ValueError(f"weights must lie in 0 to {MOST_WEIGHT:g}, at least one above 0")
        return weights


class OverlaySettings(Group):
    """What the overlay video shows."""

    save_overlayfile: bool = Field(True, description="Write an overlay video per clip.")
    overlay_regions: bool = Field(False, description="Show the five regions with their learned weights.")
    overlay_privacy: Annotated[Privacy, Setting(later=True)] = Field(
        Privacy.OFF,
        description="heads: the picture is coarse but for bodies below the waist; skeleton: nothing of the picture is "
        "kept. Thumbnails, cards and the review page show the overlay, and so the same.",
    )


class LimitSettings(Group):
    """What one clip may take before it is given up; none of it changes what is found."""

    decides: ClassVar[bool] = False

    time_limit: Annotated[float | None, Setting(unit="seconds", empty="no limit")] = Field(
        None,
        ge=0.001,
        le=MOST_SECONDS,
        description="Seconds that all steps of a clip may take; a decoder that hangs is ended in any case.",
    )
    memory_limit: Annotated[int, Setting(unit="MB")] = Field(
        4096,
        ge=64,
        le=MOST_MEGABYTES,
        description="MB that decoding a clip may take, and that the process may grow by meanwhile.",
    )
    allow_truncated: bool = Field(
        False,
        description="Annotate what is left of clips that were cut short, for recorders that lose power; else they are "
        "refused.",
    )


class Settings(Group):
    """All settings of a run."""

    poses: PoseSettings = PoseSettings()
    tracking: TrackingSettings = TrackingSettings()
    selection: SelectionSettings = SelectionSettings()
    scoring: ScoringSettings = ScoringSettings()
    overlay: OverlaySettings = OverlaySettings()
    dataset: DatasetSettings = DatasetSettings()
    limits: LimitSettings = LimitSettings()

    def decisive(self) -> dict[str, Any]:
        """Return, by group, what decides the outputs of a clip beside its content, its label and the model."""
        groups = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: group.decisive() for name, group in groups.items() if group.decides}

    def resolve(self, model: Thresholds) -> Settings:
        """Return the settings with every open threshold taken from the model's entry."""

        def fill(group: Group) -> Group:
            """Fill the fields of one group that are None and have a counterpart in the model's thresholds."""
            # Only thresholds that the user left open; a chosen one goes before the model's own.
            opened = {
                name: getattr(model, name)
                for name in type(group).model_fields
                if name in Thresholds.model_fields and getattr(group, name) is None
            }
            return group.model_copy(update=opened)

        # Only these three groups have thresholds that depend on the model.
        return self.model_copy(
            update={
                "poses": fill(self.poses),
                "tracking": fill(self.tracking),
                "selection": fill(self.selection),
            }
        )
