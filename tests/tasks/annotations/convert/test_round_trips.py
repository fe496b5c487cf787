"""There and back: what a team reads from an exported file is what stands in the annotation.

The readers here know the formats only, not the code that writes them.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from tasks.annotations.convert.files import convert_file
from tasks.annotations.convert.formats import Layout
from tasks.annotations.format import Annotation, read_annotation, write_annotation
from tasks.annotations.validate import CONTRACT_KEYS
from tasks.annotations.validate_dataset import validate_dataset
from tasks.core.skeleton import KEYPOINTS
from tests.command_line import COMMAND_LINE
from tests.tasks.samples import sample_annotation

NAMES = ("Fight/가 1.mp4", "NonFight/b.mp4")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write two clips in two splits; each person misses frames, and one joint is missing throughout."""
    clips = [sample_annotation(3, 23, NAMES[0]), sample_annotation(2, 30, NAMES[1])]
    write_annotation(tmp_path / "source.pkl", clips, {"train": ["set/Fight/가 1"], "test": ["set/NonFight/b"]})
    return tmp_path / "source.pkl"


@pytest.fixture
def exported(source: Path, tmp_path: Path) -> Any:
    """Give a function that exports both clips and returns each with its file."""

    def export(layout: Layout) -> list[tuple[Annotation, Path]]:
        """Convert, and pair in the order of the source."""
        paths = convert_file(source, tmp_path / "out", layout).files
        return list(zip(read_annotation(source)["annotations"], paths, strict=True))

    return export


def empty(annotation: Annotation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return keypoints, scores and boxes of an annotation's shape, all zero."""
    return tuple(np.zeros_like(annotation[key]) for key in ("keypoint", "keypoint_score", "bbox"))


@pytest.mark.parametrize("layout", [Layout.CSV, Layout.PARQUET])
def test_tables_hold_everything(exported, layout):
    """Rebuilt from rows: boxes, joints and scores, ranks and IDs."""
    if layout is Layout.PARQUET:
        pytest.importorskip("pyarrow")
    for annotation, path in exported(layout):
        table = pd.read_csv(path) if layout is Layout.CSV else pd.read_parquet(path)
        keypoints, scores, boxes = empty(annotation)
        people, frames = table["rank"] - 1, table["frame"]
        for joint, name in enumerate(KEYPOINTS):
            keypoints[people, frames, joint] = table[[f"{name}_x", f"{name}_y"]]
            scores[people, frames, joint] = table[f"{name}_score"]
        boxes[people, frames] = table[["x1", "y1", "x2", "y2"]]
        for found, key in ((keypoints, "keypoint"), (scores, "keypoint_score"), (boxes, "bbox")):
            np.testing.assert_allclose(found, annotation[key], atol=6e-4 if layout is Layout.CSV else 0)
        assert set(table["frame_dir"]) == {annotation["frame_dir"]}
        assert table.groupby("rank")["track_id"].unique().str[0].tolist() == annotation["track_ids"].tolist()


def test_mot_text_holds_every_box(exported):
    """Read as tracking benchmarks read it."""
    for annotation, path in exported(Layout.MOT):
        rows = np.loadtxt(path, delimiter=",", ndmin=2)
        _, _, boxes = empty(annotation)
        ids = annotation["track_ids"].tolist()
        for frame, number, left, top, width, height in rows[:, :6]:
            boxes[ids.index(int(number)), int(frame) - 1] = left, top, left + width, top + height
        np.testing.assert_allclose(boxes, annotation["bbox"], atol=0.011)


def test_coco_json_holds_every_joint(exported):
    """Rebuilt from the images and their people, as a reader of COCO keypoints would."""
    for annotation, path in exported(Layout.COCO):
        data = json.loads(path.read_text(encoding="utf-8"))
        frames = {image["id"]: int(Path(image["file_name"]).stem) for image in data["images"]}
        assert len(frames) == annotation["total_frames"]
        assert {(image["height"], image["width"]) for image in data["images"]} == {annotation["img_shape"]}
        keypoints, scores, boxes = empty(annotation)
        for item in data["annotations"]:
            at = annotation["track_ids"].tolist().index(item["track_id"]), frames[item["image_id"]]
            joints = np.array(item["keypoints"]).reshape(17, 3)
            keypoints[at], scores[at] = joints[:, :2], joints[:, 2] / 2
            x, y, width, height = item["bbox"]
            boxes[at] = x, y, x + width, y + height
            assert item["num_keypoints"] == (joints[:, 2] > 0).sum()
        np.testing.assert_allclose(keypoints, annotation["keypoint"], atol=0.006)
        np.testing.assert_array_equal(scores > 0, annotation["keypoint_score"] > 0)
        np.testing.assert_allclose(boxes, annotation["bbox"], atol=0.016)
        (category,) = data["categories"]
        assert category["keypoints"] == list(KEYPOINTS)


def test_coco_json_is_read_by_its_own_tools(exported):
    """The index of pycocotools is built, and every person is found."""
    coco = pytest.importorskip("pycocotools.coco")
    for annotation, path in exported(Layout.COCO):
        loaded = coco.COCO(path)
        assert len(loaded.getImgIds()) == annotation["total_frames"]
        assert len(loaded.getAnnIds(catIds=[1])) == int(annotation["bbox"].any(-1).sum())


def test_coco_json_makes_results_for_evaluation(exported):
    """`loadRes` copies info and licences, and pairs results with the ground truth: against itself it is perfect."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    _, path = exported(Layout.COCO)[0]
    truth = coco.COCO(path)
    keys = ("image_id", "category_id", "keypoints", "score")
    found = truth.loadRes([{key: item[key] for key in keys} for item in truth.dataset["annotations"]])
    assert found.dataset["info"]["description"].startswith("fightpose")
    run = evaluation.COCOeval(truth, found, "keypoints")
    run.evaluate()
    run.accumulate()
    run.summarize()
    assert run.stats[0] == pytest.approx(1)


class CvatReader:
    """What CVAT's `load_anno` makes of a file, restated: joint tracks by person, played frame by frame.

    It raises where CVAT's does: KeyError for an attribute that is not there, ValueError for a place that is no number.
    """

    def __init__(self, path: Path) -> None:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - our own file
        self.frames = int(root.findtext("meta/task/size") or 0)
        self.people = [self._track(track) for track in root.findall("track")]

    def _track(self, track: ElementTree.Element) -> dict[str, Any]:
        """Return attributes and joints of one person: joint name to frame to (outside, x, y)."""
        assert track.attrib["label"] == "person"
        joints: dict[str, dict[int, tuple[bool, float, float]]] = {}
        attributes: dict[str, str] = {}
        for skeleton in track.findall("skeleton"):
            assert skeleton.attrib["keyframe"] in "01"
            attributes |= {one.attrib["name"]: one.text or "" for one in skeleton.findall("attribute")}
            for points in skeleton.findall("points"):
                assert points.attrib["occluded"] in "01"
                ((x, y),) = (map(float, pair.split(",")) for pair in points.attrib["points"].split(";"))
                if points.attrib["keyframe"] == "1":
                    state = points.attrib["outside"] == "1", x, y
                    joints.setdefault(points.attrib["label"], {})[int(skeleton.attrib["frame"])] = state
        return {"attributes": attributes, "joints": joints}


def test_cvat_xml_holds_every_joint(exported):
    """Played as CVAT plays a track: a joint stays until its next state, and is gone where it is outside."""
    for annotation, path in exported(Layout.CVAT):
        reader = CvatReader(path)
        assert reader.frames == annotation["total_frames"]
        keypoints, scores, _ = empty(annotation)
        for person in reader.people:
            row = int(person["attributes"]["rank"]) - 1
            assert int(person["attributes"]["track_id"]) == annotation["track_ids"][row]
            for joint, name in enumerate(KEYPOINTS):
                state = None
                for frame in range(reader.frames):
                    state = person["joints"][name].get(frame, state)
                    if state is not None and not state[0]:
                        keypoints[row, frame, joint], scores[row, frame, joint] = state[1:], 1
        np.testing.assert_allclose(keypoints, annotation["keypoint"], atol=0.006)
        np.testing.assert_array_equal(scores > 0, annotation["keypoint_score"] > 0)


def test_a_chain_through_every_pkl_layout_loses_nothing_of_the_contract(source, tmp_path):
    """Ours, pyskl, ours, one file in the earlier layout for each clip, and back."""
    convert_file(source, tmp_path / "pyskl.pkl", Layout.PYSKL)
    convert_file(tmp_path / "pyskl.pkl", tmp_path / "ours.pkl", Layout.STGCN)
    again = read_annotation(tmp_path / "ours.pkl")
    assert validate_dataset(again) == []
    assert again["split"] == read_annotation(source)["split"]
    for original, found in zip(read_annotation(source)["annotations"], again["annotations"], strict=True):
        for key in CONTRACT_KEYS:
            np.testing.assert_array_equal(found[key], original[key])
    earlier = convert_file(tmp_path / "ours.pkl", tmp_path / "earlier", Layout.PERSONS).files
    for path, original in zip(earlier, read_annotation(source)["annotations"], strict=True):
        convert_file(path, tmp_path / "back.pkl", Layout.STGCN)
        (found,) = read_annotation(tmp_path / "back.pkl")["annotations"]
        for key in CONTRACT_KEYS:
            np.testing.assert_array_equal(found[key], original[key])


def test_half_the_precision_is_within_a_pixel_of_small_frames(source, tmp_path):
    """float16 has eleven bits: half a pixel up to 1024."""
    convert_file(source, tmp_path / "half.pkl", Layout.PYSKL_FLOAT16)
    convert_file(tmp_path / "half.pkl", tmp_path / "whole.pkl", Layout.STGCN)
    assert (tmp_path / "half.pkl").stat().st_size < 0.6 * (tmp_path / "whole.pkl").stat().st_size
    for original, found in zip(
        read_annotation(source)["annotations"], read_annotation(tmp_path / "whole.pkl")["annotations"], strict=True
    ):
        assert found["keypoint"].dtype == np.float32
        np.testing.assert_allclose(found["keypoint"], original["keypoint"], atol=0.5)


def test_the_commands_are_there(source, tmp_path):
    """As a user types them; every layout that `convert --help` names."""
    for layout in Layout:
        if layout is not Layout.PARQUET or importlib.util.find_spec("pyarrow"):
            arguments = ["convert", source, tmp_path / f"converted-{layout}", "--to", layout]
            subprocess.run([*COMMAND_LINE, *map(str, arguments)], check=True, capture_output=True)
    out = tmp_path / "windows.pkl"
    arguments = ["windows", source, out, "--window", "10", "--stride", "5"]
    subprocess.run([*COMMAND_LINE, *map(str, arguments)], check=True, capture_output=True)
    assert validate_dataset(read_annotation(out)) == []
