"""Files of the earlier scripts and of pyskl."""

import pickle

import numpy as np
import pytest

from tasks.annotations.convert.layouts import read_any, to_persons, to_pyskl
from tasks.annotations.format import AnnotationError
from tasks.annotations.validate import CONTRACT_KEYS, validate_annotation
from tasks.core.records import REGIONS
from tests.tasks.samples import sample_annotation


def save(path, value):
    """Write a plain pickle, as other programs do."""
    path.write_bytes(pickle.dumps(value))
    return path


def persons_of(annotation, person_axis=True, **changes):
    """Return an earlier file's content."""
    value = to_persons(annotation) | changes
    if not person_axis:
        for person in value["persons"].values():
            for key in ("keypoint", "keypoint_score"):
                person["annotation"][key] = person["annotation"][key][0]
    return value


@pytest.mark.parametrize("person_axis", [True, False])
def test_earlier_files_come_into_the_contract_and_back(tmp_path, person_axis):
    """With the people's scores, in rank order whatever the order of the keys."""
    annotation = sample_annotation()
    value = persons_of(annotation, person_axis)
    value["persons"] = dict(reversed(value["persons"].items()))
    data = read_any(save(tmp_path / "a.pkl", value), "set/Fight/a")
    found = data["annotations"][0]
    assert data["split"] == {"all": ["set/Fight/a"]}
    assert validate_annotation(found) == []
    for key in (*CONTRACT_KEYS, "track_ids", "composite_scores", "track_quality"):
        np.testing.assert_array_equal(found[key], annotation[key])
    for key in ("score_breakdown", "region_breakdown"):
        for name, part in annotation[key].items():
            np.testing.assert_array_equal(found[key][name], part)
    again = to_persons(found)
    assert again["persons"].keys() == value["persons"].keys()
    assert again["persons"]["person_00"]["track_id"] == annotation["track_ids"][0]


def test_an_earlier_file_keeps_its_bare_identifier_unless_told(tmp_path):
    """The stem is all that it knows."""
    value = persons_of(sample_annotation() | {"frame_dir": "a"})
    assert read_any(save(tmp_path / "a.pkl", value))["annotations"][0]["frame_dir"] == "a"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda value: value.update(persons={}), "nobody"),
        (lambda value: value.pop("video_info"), "has no 'video_info'"),
        (lambda value: value["video_info"].update(total_frames=7), "for 7 frames"),
        (lambda value: value["persons"]["person_00"].pop("rank"), "has no 'rank'"),
        (lambda value: value["persons"]["person_00"]["annotation"]["keypoint"].fill(np.nan), "not finite"),
        (lambda value: value.update(persons=[1]), "cannot be converted"),
        (lambda value: value["persons"]["person_00"].update(track_id=2), "stands twice"),
    ],
)
def test_a_damaged_earlier_file_is_a_clear_error(tmp_path, damage, message):
    """It names the file and what is wrong."""
    value = persons_of(sample_annotation())
    damage(value)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_any(save(tmp_path / "a.pkl", value))
    assert "a.pkl" in str(caught.value)


@pytest.mark.parametrize("regions", [{}, {"left": 0.5}, None])
def test_breakdowns_that_nobody_knows_are_left_out(tmp_path, regions):
    """Regions of other names, or none at all: the poses are what matters. Known ones may stand in any order."""
    value = persons_of(sample_annotation())
    for person in value["persons"].values():
        person["region_breakdown"] = regions
        person["score_breakdown"] = dict(reversed(person["score_breakdown"].items()))
    found = read_any(save(tmp_path / "a.pkl", value))["annotations"][0]
    assert "region_breakdown" not in found
    assert set(found["score_breakdown"]) == {"movement", "position"}
    for person in value["persons"].values():
        person["region_breakdown"] = dict.fromkeys(reversed(REGIONS), 0.5)
    found = read_any(save(tmp_path / "a.pkl", value))["annotations"][0]
    assert tuple(found["region_breakdown"]) == REGIONS


def test_pyskl_files_come_into_the_contract(tmp_path):
    """Float16, lists for sizes, a stray place under a score of 0, keys that nobody knows."""
    item = to_pyskl(sample_annotation(), half=True) | {"img_shape": [360, 640], "box_score": np.ones(3)}
    item["keypoint"][0, 0, 3] = 7
    data = read_any(save(tmp_path / "a.pkl", {"split": {"xsub_train": ["set/Fight/a"]}, "annotations": [item]}))
    found = data["annotations"][0]
    assert data["split"] == {"xsub_train": ["set/Fight/a"]}
    assert validate_annotation(found) == []
    assert found["keypoint"].dtype == np.float32
    assert found.keys() == set(CONTRACT_KEYS)
    assert not found["keypoint"][0, 0, 3].any()


def test_the_older_list_layout_is_read(tmp_path):
    """No splits, `filename` for `frame_dir`, no scores."""
    item = to_pyskl(sample_annotation())
    item["filename"] = item.pop("frame_dir")
    del item["keypoint_score"], item["total_frames"], item["original_shape"]
    data = read_any(save(tmp_path / "a.pkl", [item]))
    found = data["annotations"][0]
    assert data["split"] == {"all": ["set/Fight/a"]}
    assert validate_annotation(found) == []
    assert set(np.unique(found["keypoint_score"])) == {0, 1}


@pytest.mark.parametrize("value", [{}, 3, "text", {"annotations": []}, [1], [{}], {"split": {}, "annotations": 3}])
def test_unknown_layouts_are_clear_errors(tmp_path, value):
    """Plain data, but nothing that is known."""
    with pytest.raises(AnnotationError, match=r"a\.pkl"):
        read_any(save(tmp_path / "a.pkl", value))


def test_float16_is_refused_beyond_its_range():
    """It would become infinite."""
    annotation = sample_annotation()
    annotation["keypoint"][0, 0, 0] = 1e6
    with pytest.raises(AnnotationError, match="float16"):
        to_pyskl(annotation, half=True)
