"""Every setting of a run, declared once: its default, its bounds, its unit and what it does.

Options of the command line, keys of settings files, Prefect's form and the table in docs/settings.md follow from here
(`tasks.core.settings.fields`). The names and defaults are the earlier scripts'. Thresholds on scores depend on the
model (MoveNet's scores run far lower than RTMO's): they are `None` here unless the user sets them, and `resolve` fills
the open ones from the model's entry.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.core.choices import InputShape, Precision, Privacy, Runtime, Scorer, SecondLook, SplitBy, Tracker
from tasks.core.settings.camera_weights import CameraWeights
from tasks.core.settings.fields import Setting
from tasks.core.text import shares_of

OWN = "the model's own"
"""What an open threshold follows."""

MOST_FRAMES = 1_000_000
"""Bound of numbers of frames: eleven hours at 25 frames per second."""

MOST_PEOPLE = 100
"""Bound of numbers of people or tracks; an annotation takes memory and disk for each in every frame."""

MOST_SECONDS = 7 * 24 * 3600
"""Bound of time limits: a clip that takes a week is not worth waiting for."""

MOST_MEGABYTES = 1 << 20
"""Bound of memory limits: 1 TiB."""

LARGEST_LABEL = 9_999
"""Bound of class numbers: a network has an output for each number up to the largest."""


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


class _Group(BaseModel):
    """A group of settings: immutable, and a misspelt name is an error."""

    # Infinity and NaN pass every comparison of bounds in one direction, and JSON cannot hold them.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    decides: ClassVar[bool] = True
    """Whether its settings decide what the outputs hold, and so are part of their key."""

    def decisive(self) -> dict[str, Any]:
        """Return the settings that go into the key of outputs, as plain values.

        Settings marked `later` are left out at their default: outputs of versions that lack them stay unchanged.
        """
        defaults = {
            name: info.get_default(call_default_factory=True)
            for name, info in type(self).model_fields.items()
            if any(isinstance(note, Setting) and note.later for note in info.metadata)
        }
        unused = {name for name, default in defaults.items() if getattr(self, name) == default}
        return self.model_dump(mode="json", exclude=unused)


class ModelSettings(_Group):
    """Which pose model runs, and on what.

    None of it goes into keys by itself: `tasks.poses.models.model_key` is computed from exactly these settings and
    stands for them, because different settings may lead to the same answers (a name and its file, two runtimes).
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
        path = Path(name) if name else None
        return str(path.absolute()) if path is not None and path.suffix and path.is_file() else name


class DetectionSettings(_Group):
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


class TrackingSettings(_Group):
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
    smoothing_seconds: Annotated[float, Setting(file_only=TUNED, unit="seconds", later=True)] = Field(
        0.1, ge=0.01, le=1.0, description="Standard deviation of the window over which boxes are smoothed."
    )


class SelectionSettings(_Group):
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


class ScoringSettings(_Group):
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
        Setting(file_only="eight numbers that belong together; `fightpose review-stats --calibrate` writes the file"),
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
        if not all(0 <= w <= MOST_WEIGHT for w in weights.values()) or not any(weights.values()):
            raise ValueError(f"weights must lie in 0 to {MOST_WEIGHT:g}, at least one above 0")
        return weights


class OverlaySettings(_Group):
    """What the overlay video shows."""

    save_overlayfile: bool = Field(True, description="Write an overlay video per clip.")
    overlay_regions: bool = Field(False, description="Show the five regions with their learned weights.")
    overlay_privacy: Annotated[Privacy, Setting(later=True)] = Field(
        Privacy.OFF,
        description="heads: the picture is coarse but for bodies below the waist; skeleton: nothing of the picture is "
        "kept. Thumbnails, cards and the review page show the overlay, and so the same.",
    )


class DatasetSettings(_Group):
    """Which clips are annotated, which class each is of, and which stay together in the splits of the data set.

    None of it alters poses, ranking or overlay. A clip's label is the first that the CSV file, the pattern or the
    folders give; else 1 below a folder `Fight` and 0 elsewhere.
    """

    decides: ClassVar[bool] = False

    include: tuple[str, ...] = Field(
        (),
        description="Only clips whose path below the input, or file name, matches one of these patterns ('Fight/*').",
    )
    exclude: tuple[str, ...] = Field((), description="No clips that match one of these patterns ('*_old.mp4').")
    clip_list: Annotated[Path | None, Setting(option="--list", empty="all clips")] = Field(
        None, description="Text file with one clip per line, its path below the input: only these."
    )
    classes: Annotated[dict[str, int], Setting(empty="Fight=1, all else 0")] = Field(
        default_factory=dict,
        description="Class number by name, such as Fall=2, of folders (the innermost counts) or of what the pattern "
        "finds.",
    )
    labels: Annotated[Path | None, Setting(empty="none")] = Field(
        None, description="CSV file with the columns clip and label; goes before all else."
    )
    label_pattern: Annotated[str | None, Setting(empty="none")] = Field(
        None, description="Regular expression on a clip's path whose first group, or whole match, names the class."
    )
    groups: Annotated[Path | None, Setting(empty="none")] = Field(
        None, description="CSV file with the columns clip and group; a group is in one split only."
    )
    group_pattern: Annotated[str | None, Setting(empty="none")] = Field(
        None,
        description="Regular expression on a clip's path that finds its camera or source video, which is in one split "
        "only.",
    )

    split_by: SplitBy = Field(
        SplitBy.RANDOM,
        description="folder: folders called train, val (valid, validation) or test decide, as in published sets. A "
        "column split in the table of labels or groups decides in any case.",
    )
    split_pattern: Annotated[str | None, Setting(empty="none")] = Field(
        None, description="Regular expression on a clip's path whose first group, or whole match, names its split."
    )
    split: str = Field("70/20/10", description="Shares of train, val and test of clips whose split is not given.")
    split_seed: Annotated[int, Setting(unit="seed")] = Field(
        0, ge=0, le=1_000_000, description="Another number puts clips into other splits."
    )
    folds: Annotated[int, Setting(unit="folds")] = Field(
        0, ge=0, le=100, description="Write dataset.fold1.pkl and so on for cross-validation, whole groups to a fold."
    )

    @field_validator("split")
    @classmethod
    def _shares(cls, split: str) -> str:
        """Refuse text that states no shares."""
        shares_of(split)
        return split

    @field_validator("folds")
    @classmethod
    def _two_folds(cls, folds: int) -> int:
        """Refuse a single fold, which leaves nothing to train on."""
        if folds == 1:
            raise ValueError("one fold leaves nothing to train on; take 2 or more, or 0 for none")
        return folds

    @field_validator("labels", "groups", "clip_list")
    @classmethod
    def _found_again(cls, path: Path | None) -> Path | None:
        """Make paths absolute: a later retry, from another folder, reads the files again."""
        return path and path.absolute()

    @field_validator("classes")
    @classmethod
    def _class_numbers(cls, classes: dict[str, int]) -> dict[str, int]:
        """Refuse numbers that no network has an output for."""
        if not all(0 <= number <= LARGEST_LABEL for number in classes.values()):
            raise ValueError(f"class numbers lie in 0 to {LARGEST_LABEL}")
        return classes

    @model_validator(mode="after")
    def _one_source_of_each(self) -> DatasetSettings:
        """Refuse settings one of which could never have an effect."""
        if self.label_pattern is not None and not self.classes:
            raise ValueError("label_pattern needs classes: they give the numbers of the names that it finds")
        if self.groups is not None and self.group_pattern is not None:
            raise ValueError("groups and group_pattern exclude each other")
        return self


class LimitSettings(_Group):
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


class Settings(_Group):
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

        def fill(group: _Group) -> _Group:
            """Fill the fields of one group that are None and have a counterpart in the model's thresholds."""
            opened = {
                name: getattr(model, name)
                for name in type(group).model_fields
                if name in Thresholds.model_fields and getattr(group, name) is None
            }
            return group.model_copy(update=opened)

        return self.model_copy(
            update={
                "poses": fill(self.poses),
                "tracking": fill(self.tracking),
                "selection": fill(self.selection),
            }
        )
