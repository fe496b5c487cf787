"""The validator: every kind of planted damage is found, and nothing in sound data."""

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks.annotations.format import Annotation
from tasks.annotations.validate import CONTRACT_KEYS, OWN_KEYS, validate_annotation
from tasks.annotations.validate_dataset import validate_dataset
from tasks.clips.splits import make_splits
from tasks.core.region_layout import REGIONS
from tests.tasks.samples import sample_annotation


def rules(annotation: Annotation) -> set[str]:
    """Return the names of the broken rules."""
    return {problem.rule for problem in validate_annotation(annotation)}


def put(key: str, value: Any) -> Callable[[Annotation], None]:
    """Return a damage that replaces one key."""
    return lambda annotation: annotation.__setitem__(key, value)


def cast(key: str, kind: Any) -> Callable[[Annotation], None]:
    """Return a damage that changes the type of an array."""
    return lambda annotation: annotation.__setitem__(key, annotation[key].astype(kind))


def change(key: str, place: Any, value: Any) -> Callable[[Annotation], None]:
    """Return a damage that changes values in an array."""
    return lambda annotation: annotation[key].__setitem__(place, value)


def people(annotation: Annotation, keep: list[int]) -> None:
    """Take people out of every array that has them."""
    count = annotation["keypoint"].shape[0]
    for value in (annotation, annotation["score_breakdown"], annotation["region_breakdown"]):
        for key, part in value.items():
            if (
                isinstance(part, np.ndarray)
                and len(part) == count
                and key not in ("window_frames", "region_weights_path")
            ):
                value[key] = part[keep]


def swap_ranks(annotation: Annotation) -> None:
    """Exchange the first two people, scores included."""
    people(annotation, [1, 0, 2])


# Person 1 of the sample (track 3) is present in frame 0 with joint 3 missing, person 0 is absent in frame 3.
DAMAGE: dict[str, tuple[str, Callable[[Annotation], None]]] = {
    "a key filename": ("key-filename", put("filename", "a.mp4")),
    "an unknown schema": ("schema-version", put("schema_version", 99)),
    "an absolute identifier": ("frame-dir", put("frame_dir", "/in/a")),
    "an identifier that leads upwards": ("frame-dir", put("frame_dir", "../a")),
    "an identifier that no file name can be": ("frame-dir", put("frame_dir", "a\0b")),
    "an empty identifier": ("frame-dir", put("frame_dir", "")),
    "an identifier that is no text": ("frame-dir", put("frame_dir", 7)),
    "a label that is text": ("label", put("label", "Fight")),
    "a negative label": ("label", put("label", -1)),
    "no frames": ("total-frames", put("total_frames", 0)),
    "a frame count that is no whole number": ("total-frames", put("total_frames", 20.0)),
    "a swapped frame count": ("frame-count", put("total_frames", 19)),
    "a frame size of three numbers": ("frame-size", put("img_shape", (360, 640, 3))),
    "a frame size of zero": ("frame-size", put("original_shape", (0, 640))),
    "two frame sizes": ("frame-sizes-differ", put("original_shape", (640, 360))),
    "no frame rate": ("fps", put("fps", 0.0)),
    "settings that are text": ("dict", put("settings", "default")),
    "a provenance that is a list": ("dict", put("provenance", [])),
    "a breakdown that is an array": ("dict", put("score_breakdown", np.zeros(3, np.float32))),
    "keypoints that are a list": ("keypoint-shape", put("keypoint", [[1.0]])),
    "keypoints of 18 joints": ("keypoint-shape", put("keypoint", np.zeros((3, 20, 18, 2), np.float32))),
    "keypoints with scores in them": ("keypoint-shape", put("keypoint", np.zeros((3, 20, 17, 3), np.float32))),
    "keypoints without person axis": ("keypoint-shape", put("keypoint", np.zeros((20, 17, 2), np.float32))),
    "float16 keypoints": ("dtype", cast("keypoint", np.float16)),
    "float64 scores": ("dtype", cast("keypoint_score", np.float64)),
    "whole-number boxes": ("dtype", cast("bbox", np.int32)),
    "IDs that are fractions": ("dtype", cast("track_ids", np.float32)),
    "gap marks that are numbers": ("dtype", cast("filled", np.uint8)),
    "scores of fewer frames": ("shape", put("keypoint_score", np.zeros((3, 19, 17), np.float32))),
    "boxes of fewer people": ("shape", put("bbox", np.zeros((2, 20, 4), np.float32))),
    "IDs of fewer people": ("shape", put("track_ids", np.array([1, 2]))),
    "scores of more people": ("shape", put("composite_scores", np.ones(4, np.float32))),
    "scores that are a list": ("shape", put("composite_scores", [0.9, 0.5, 0.1])),
    "a component of fewer people": ("shape", put("score_breakdown", {"movement": np.ones(2, np.float32)})),
    "windows of other people": ("shape", put("window_scores", np.zeros((2, 2), np.float32))),
    "nobody": ("nobody", lambda annotation: people(annotation, [])),
    "NaN in a joint": ("not-finite", change("keypoint", (0, 0, 0, 0), np.nan)),
    "infinity in a joint's score": ("not-finite", change("keypoint_score", (0, 0, 0), np.inf)),
    "NaN in a box": ("not-finite", change("bbox", (0, 0, 0), np.nan)),
    "NaN in a component": ("not-finite", lambda a: a["score_breakdown"]["movement"].__setitem__(0, np.nan)),
    "NaN in the settings": ("not-finite", lambda a: a["settings"].__setitem__("x", [float("nan")])),
    "a missing joint that has a place": ("joint-missing", change("keypoint", (0, 0, 3), 5.0)),
    "a missing person who has a place": ("joint-missing", change("keypoint", (0, 3), 5.0)),
    "a person in no frame": ("person-missing", change("keypoint_score", 0, 0.0)),
    "a joint at the origin": ("joint-at-origin", change("keypoint", (0, 0, 5), 0.0)),
    "a person at the origin": ("person-at-origin", change("keypoint", (0, 0), 0.0)),
    "a person without box": ("box-missing", change("bbox", (0, 0), 0.0)),
    "a box without person": ("box-without-person", change("bbox", (0, 3), (10.0, 10.0, 20.0, 20.0))),
    "a gap mark where nobody is": ("filled", change("filled", (0, 3), True)),
    "a wrong track length": ("track-length", change("track_length", 0, 3)),
    "an inverted box": ("box-inverted", change("bbox", (0, 0), (90.0, 90.0, 10.0, 10.0))),
    "a box as width and height": ("box-inverted", change("bbox", (0, 0), (300.0, 90.0, 40.0, 100.0))),
    "a box far outside": ("box-outside", change("bbox", (0, 0, 2), 5000.0)),
    "a joint far outside": ("joint-outside", change("keypoint", (0, 0, 5, 1), -900.0)),
    "height and width exchanged": ("box-outside", lambda a: a.update(img_shape=(640, 90), original_shape=(640, 90))),
    "a rank out of order": ("rank-order", swap_ranks),
    "an ID twice": ("id-twice", change("track_ids", 0, 2)),
    "an ID of 0": ("id-range", change("track_ids", 0, 0)),
    "a person who is the own partner": ("partner", change("best_partner", 0, 3)),
    "a negative partner": ("partner", change("best_partner", 0, -1)),
    "a joint's score above 1": ("score-range", change("keypoint_score", (0, 0, 0), 2.0)),
    "a negative joint's score": ("score-range", change("keypoint_score", (0, 0, 0), -0.5)),
    "a composite score above 1": ("score-range", change("composite_scores", 0, 3.0)),
    "a negative quality": ("score-range", change("track_quality", 0, -1.0)),
    "a component above 1": ("score-range", lambda a: a["score_breakdown"]["movement"].__setitem__(0, 7.0)),
    "a window's score above 1": ("score-range", change("window_scores", (0, 0), 2.0)),
    "a weight that never was one": ("score-range", change("region_weights_path", (0, 0), 2.0)),
    "windows beyond the clip": ("windows", put("window_frames", np.array([0, 10, 99], np.int32))),
    "windows in disorder": ("windows", put("window_frames", np.array([0, 15, 10], np.int32))),
    "windows that do not begin": ("windows", put("window_frames", np.array([5, 10, 20], np.int32))),
    "windows that are text": ("windows", put("window_frames", "0-20")),
    "regions of other names": ("region-names", put("region_weights", {"left": 1.0})),
    "regions in another order": ("region-names", lambda a: a.update(
        region_breakdown={name: a["region_breakdown"][name] for name in reversed(REGIONS)})),
    "weights that are not where their path ends": ("region-weights", change("region_weights_path", (-1, 0), 0.1)),
    "a path of four regions": ("region-weights", put("region_weights_path", np.ones((2, 4), np.float32))),
    "weights that are text": ("region-weights", lambda a: a["region_weights"].__setitem__(REGIONS[0], "1")),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_planted_damage_is_found(name):
    """Each kind by its own rule."""
    rule, damage = DAMAGE[name]
    annotation = sample_annotation()
    damage(annotation)
    problems = validate_annotation(annotation)
    assert rule in {problem.rule for problem in problems}
    assert all(problem.text and "\n" not in problem.text and len(problem.text) < 300 for problem in problems)


@pytest.mark.parametrize("key", [*CONTRACT_KEYS, *OWN_KEYS])
def test_every_missing_key_is_found(key):
    """Also those that consumers ignore: reports and the overlay's legend need them."""
    annotation = sample_annotation()
    del annotation[key]
    assert "key-missing" in rules(annotation)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("frames", [1, 2, 20, 300])
def test_nothing_is_found_in_sound_data(count, frames):
    """From one person in one frame to many in many."""
    assert validate_annotation(sample_annotation(count, frames)) == []


def test_a_foreign_annotation_needs_the_contracts_keys_only():
    """What pyskl's own data sets hold."""
    annotation = {key: value for key, value in sample_annotation().items() if key in CONTRACT_KEYS}
    assert validate_annotation(annotation) == []
    annotation["original_shape"] = (720, 1280)
    assert validate_annotation(annotation) == []


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, np.zeros(2), np.zeros((0, 0)), (), True])
def test_no_value_of_any_key_makes_the_check_fail(value):
    """Every key may hold anything; the check says so instead of stumbling."""
    sound = sample_annotation()
    for key in sound:
        annotation = {**sound, key: copy.deepcopy(value)}
        sound_too = {
            "settings": dict,
            "provenance": dict,
            "score_breakdown": dict,
            "fps": int,
            "label": int,
            "frame_dir": str,
        }
        assert type(value) is sound_too.get(key) or validate_annotation(annotation), key
    assert validate_annotation({})


def data_of(count: int) -> dict[str, Any]:
    """Return a sound data set."""
    annotations = [sample_annotation(1, 5, f"Fight/{number}.mp4") for number in range(count)]
    return {"split": make_splits({a["frame_dir"]: a["label"] for a in annotations}), "annotations": annotations}


def test_a_sound_data_set_has_no_problems():
    """However small."""
    for count in (0, 1, 2, 12):
        assert validate_dataset(data_of(count)) == []


@pytest.mark.parametrize(
    ("rule", "damage"),
    [
        ("split-leak", lambda data: data["split"]["test"].append(data["split"]["train"][0])),
        ("split-incomplete", lambda data: data["split"]["train"].pop()),
        ("split-unknown", lambda data: data["split"]["train"].append("set/elsewhere")),
        ("identifier-twice", lambda data: data["annotations"].append(data["annotations"][0])),
        ("rank-order", lambda data: data["annotations"].append(sample_annotation() | {"frame_dir": "x"})),
    ],
)
def test_damage_of_a_data_set_is_found(rule, damage):
    """A clip in two splits or in none, a split of clips that are not there, and damage of a clip."""
    data = data_of(12)
    damage(data)
    if rule == "rank-order":
        data["split"]["train"].append("x")
        swap_ranks(data["annotations"][-1])
    assert {problem.rule for problem in validate_dataset(data)} == {rule}


def test_a_group_on_two_sides_is_found():
    """Only where a rule says what a group is."""
    data = data_of(12)
    assert {problem.rule for problem in validate_dataset(data, lambda name: "one camera")} == {"group-leak"}
    assert validate_dataset(data, lambda name: name) == []


def test_a_thousand_annotations_are_checked_in_seconds():
    """The aim is a minute for a thousand, reading included; a hundred must take no tenth of that."""
    annotations = [sample_annotation(4, 60) for _ in range(20)]
    started = time.perf_counter()
    for _ in range(5):
        for annotation in annotations:
            assert validate_annotation(annotation) == []
    assert time.perf_counter() - started < 6
