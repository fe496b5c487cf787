"""Files of the earlier scripts and of pyskl."""

import pickle

import numpy as np
import pytest

from tasks.annotations.convert.layouts import read_any, to_persons, to_pyskl
from tasks.annotations.format import AnnotationError
from tasks.annotations.validate import CONTRACT_KEYS, validate_annotation
from tasks.core.region_layout import REGIONS
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
    found = data.annotations[0]
    assert data.split == {"all": ["set/Fight/a"]}
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
    assert read_any(save(tmp_path / "a.pkl", value)).annotations[0]["frame_dir"] == "a"


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
    found = read_any(save(tmp_path / "a.pkl", value)).annotations[0]
    assert "region_breakdown" not in found
    assert set(found["score_breakdown"]) == {"movement", "position"}
    for person in value["persons"].values():
        person["region_breakdown"] = dict.fromkeys(reversed(REGIONS), 0.5)
    found = read_any(save(tmp_path / "a.pkl", value)).annotations[0]
    assert tuple(found["region_breakdown"]) == REGIONS


def test_pyskl_files_come_into_the_contract(tmp_path):
    """Float16, lists for sizes, a stray place under a score of 0, keys that nobody knows."""
    item = to_pyskl(sample_annotation(), half=True) | {"img_shape": [360, 640], "box_score": np.ones(3)}
    item["keypoint"][0, 0, 3] = 7
    data = read_any(save(tmp_path / "a.pkl", {"split": {"xsub_train": ["set/Fight/a"]}, "annotations": [item]}))
    found = data.annotations[0]
    assert data.split == {"xsub_train": ["set/Fight/a"]}
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
    found = data.annotations[0]
    assert data.split == {"all": ["set/Fight/a"]}
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


def pyskl_file(tmp_path, *items):
    """Write annotations in pyskl's layout, each in the split `train`."""
    names = [item["frame_dir"] for item in items]
    return save(tmp_path / "a.pkl", {"split": {"train": names}, "annotations": list(items)})


def pyskl_item(name="v1", people=2, frames=20, joints=17, axes=2, **changes):
    """Return an annotation of pyskl, as its scripts make it."""
    random = np.random.default_rng(0)
    return {
        "frame_dir": name,
        "total_frames": frames,
        "img_shape": (360, 640),
        "original_shape": (360, 640),
        "label": 1,
        "keypoint": random.uniform(1, 300, (people, frames, joints, axes)).astype(np.float32),
        "keypoint_score": random.uniform(0.4, 0.9, (people, frames, joints)).astype(np.float32),
    } | changes


ODD = {
    "a person axis too many": ({"keypoint_score": np.ones((2, 20, 17, 1), np.float32)}, r"shape \(2, 20, 17, 1\)"),
    "scores of other frames": ({"keypoint_score": np.ones((2, 19, 17), np.float32)}, r"shape \(2, 19, 17\)"),
    "scores that would be broadcast": ({"keypoint_score": np.ones((1, 1, 17), np.float32)}, r"shape \(1, 1, 17\)"),
    "scores in a list": ({"keypoint_score": [0.5]}, "shape list"),
    "no person axis": ({"keypoint": np.ones((20, 17, 2), np.float32)}, r"shape \(20, 17, 2\)"),
    "a list of arrays": ({"keypoint": [np.ones((17, 2))]}, "is a list"),
    "frames that do not fit": ({"total_frames": 7}, "total_frames is 7"),
    "no label": ({"label": None}, "cannot be converted"),
    "a size that is none": ({"img_shape": 360}, "cannot be converted"),
    "a size of three": ({"img_shape": (360, 640, 3)}, "not .height, width."),
    "nobody": ({"keypoint": np.zeros((0, 20, 17, 2), np.float32), "keypoint_score": np.zeros((0, 20, 17))}, "nobody"),
    "only empty people": ({"keypoint": np.zeros((2, 20, 17, 2)), "keypoint_score": np.zeros((2, 20, 17))}, "nobody"),
    "values that are not finite": ({"keypoint_score": np.full((2, 20, 17), np.nan)}, "not finite"),
}


@pytest.mark.parametrize(("changes", "message"), ODD.values(), ids=ODD.keys())
def test_an_odd_annotation_costs_only_itself(tmp_path, changes, message):
    """Alone it is one line; among others it is left out, told and in no split; strictly, the file is refused."""
    with pytest.raises(AnnotationError, match=message):
        read_any(pyskl_file(tmp_path, pyskl_item(**changes)))
    path = pyskl_file(tmp_path, pyskl_item("a"), pyskl_item("odd", **changes), pyskl_item("z"))
    data = read_any(path)
    assert [one["frame_dir"] for one in data.annotations] == ["a", "z"]
    assert data.split == {"train": ["a", "z"]}
    assert len(data.problems) == 1
    assert data.problems[0].startswith("left out: odd")
    with pytest.raises(AnnotationError, match=message):
        read_any(path, strict=True)


def test_other_skeletons_are_refused_by_what_they_are(tmp_path):
    """NTU's 3D file, a file of 18 OpenPose joints, and Kinetics-400 in its compressed form."""
    ntu = pyskl_item("S001C001P001R001A001", joints=25, axes=3)
    del ntu["img_shape"], ntu["original_shape"], ntu["keypoint_score"]
    compressed = {key: value for key, value in pyskl_item("k", label=3).items() if key != "keypoint_score"}
    compressed |= {"keypoint": np.zeros((40, 17, 3), np.float16), "frame_inds": np.repeat(np.arange(20), 2)}
    for item, message in (
        (ntu, "25 joints of Kinect in 3D"),
        (pyskl_item(joints=18), "18 joints of 2 coordinates"),
        (compressed, "Kinetics-400"),
        ({"frame_dir": "k", "raw_file": "k400/kpfiles/a.pkl", "label": 0}, "Kinetics-400"),
    ):
        with pytest.raises(AnnotationError, match=message):
            read_any(pyskl_file(tmp_path, item))


def test_scores_above_one_are_cut_with_a_warning(tmp_path):
    """Peaks of heat maps are: mmpose's and HRNet's files hold 1.02."""
    item = pyskl_item()
    item["keypoint_score"][0, :5] = 1.098
    item["keypoint_score"][1, 3, 2] = -0.01
    data = read_any(pyskl_file(tmp_path, item))
    assert data.problems == ["v1: 86 scores from -0.01 to 1.1 cut to 0 to 1"]
    (found,) = data.annotations
    assert found["keypoint_score"].max() == 1
    assert not found["keypoint"][1, 3, 2].any()


def test_people_that_only_fill_up_the_array_are_left_out(tmp_path):
    """NTU's files always hold two."""
    item = pyskl_item()
    item["keypoint"][1] = 0
    item["keypoint_score"][1] = 0
    (found,) = read_any(pyskl_file(tmp_path, item)).annotations
    assert len(found["keypoint"]) == 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_pickles_of_numpy_1_and_2_are_read(tmp_path, protocol, module):
    """They name other modules for the same arrays, dtypes and scalars."""
    item = pyskl_item(label=np.int64(1), total_frames=np.int32(20), img_shape=(np.int64(360), np.int64(640)))
    text = pickle.dumps({"split": {"train": ["v1"]}, "annotations": [item]}, protocol)
    other = {"numpy.core": b"numpy._core", "numpy._core": b"numpy.core"}[module]
    if protocol < 4:
        # Names end with a line there, so that they may change their lengths.
        text = text.replace(b"c" + other + b".", b"c" + module.encode() + b".")
    else:
        long, short = (b"\x8c" + bytes([len(name) + 11]) + name + b".multiarray" for name in (other, module.encode()))
        text = text.replace(long, short)
        if long != short:
            # Frames hold the number of bytes in them: a reader that trusts it must not be misled, so they are dropped.
            text = text[:2] + text[11:] if text[2:3] == b"\x95" else text
    (tmp_path / "a.pkl").write_bytes(text)
    data = read_any(tmp_path / "a.pkl")
    np.testing.assert_array_equal(data.annotations[0]["keypoint"], item["keypoint"])
    assert data.annotations[0]["label"] == 1
