"""Exports: tables, MOT text, COCO and CVAT."""

import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks.annotations.convert.coco import coco_json
from tasks.annotations.convert.cvat import cvat_xml, write_labels
from tasks.annotations.convert.layouts import to_pyskl
from tasks.annotations.convert.tables import boxes_of, mot_text, pose_table, write_csv, write_parquet
from tasks.annotations.format import read_annotation
from tasks.core.errors import FightposeError
from tasks.core.skeleton import KEYPOINTS
from tests.review_outputs import make_outputs
from tests.tasks.samples import sample_annotation


@pytest.fixture
def annotation():
    """Two people, each missing in every fifth frame."""
    return sample_annotation(2, 20)


def test_the_table_has_a_row_for_each_person_and_frame(annotation, tmp_path):
    """In order of frames, with boxes and joints where they belong."""
    table = pose_table(annotation)
    assert len(table) == 32
    assert table["frame"].is_monotonic_increasing
    row = table[(table["track_id"] == 1) & (table["frame"] == 7)].iloc[0]
    np.testing.assert_allclose(row[["x1", "y1", "x2", "y2"]].astype(float), annotation["bbox"][1, 7])
    np.testing.assert_allclose(row["nose_x"], annotation["keypoint"][1, 7, 0, 0])
    assert row["left_ear_score"] == 0
    write_csv(tmp_path / "a.csv", annotation)
    again = pd.read_csv(tmp_path / "a.csv")
    assert list(again.columns) == list(table.columns)
    np.testing.assert_allclose(again["right_ankle_y"], table["right_ankle_y"], atol=1e-3)
    write_csv(tmp_path / "b.csv", annotation | {"frame_dir": "set/\udcff"})
    assert "set/\\udcff" in (tmp_path / "b.csv").read_text(encoding="utf-8")


def test_parquet_is_written(annotation, tmp_path):
    """Where pandas can."""
    pytest.importorskip("pyarrow")
    write_parquet(tmp_path / "a.parquet", annotation)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), pose_table(annotation))
    write_parquet(tmp_path / "b.parquet", annotation | {"frame_dir": "set/\udcff"})
    assert set(pd.read_parquet(tmp_path / "b.parquet")["frame_dir"]) == {"set/\\udcff"}


def test_mot_text_counts_frames_from_one(annotation):
    """Left, top, width and height of each box."""
    rows = np.array([line.split(",") for line in mot_text(annotation).splitlines()], float)
    assert rows.shape == (32, 10)
    assert rows[0, 0] >= 1
    first = rows[(rows[:, 0] == 8) & (rows[:, 1] == 1)][0]
    x1, y1, x2, y2 = annotation["bbox"][1, 7]
    np.testing.assert_allclose(first[2:6], [x1, y1, x2 - x1, y2 - y1], atol=0.01)
    assert first[6] == pytest.approx(0.8)


def test_coco_has_what_its_readers_insist_on(annotation):
    """`info` and `licenses` for pycocotools, `segmentation` for datumaro."""
    value = json.loads(coco_json(annotation))
    assert {"info", "licenses", "images", "annotations", "categories"} <= value.keys()
    for one in value["annotations"]:
        assert {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "keypoints"} <= one.keys()


def test_coco_has_an_image_for_each_frame(annotation):
    """Frames with nobody too; joints without score are not labelled."""
    data = json.loads(coco_json(annotation))
    assert len(data["images"]) == 20
    assert len(data["annotations"]) == 32
    item = next(item for item in data["annotations"] if item["image_id"] == 8 and item["track_id"] == 1)
    joints = np.array(item["keypoints"]).reshape(17, 3)
    np.testing.assert_allclose(joints[:, :2], annotation["keypoint"][1, 7], atol=0.01)
    assert joints[3].tolist() == [0, 0, 0]
    assert item["num_keypoints"] == 16
    assert len(data["categories"][0]["keypoints"]) == 17


def test_coco_visibility_is_a_whole_number_by_the_score(annotation):
    """2 seen, 1 there but hardly seen, 0 missing; the scores themselves are kept."""
    annotation["keypoint_score"][annotation["keypoint_score"].any(-1), 5] = 0.1
    for item in json.loads(coco_json(annotation))["annotations"]:
        visibility = item["keypoints"][2::3]
        assert all(type(seen) is int for seen in visibility)
        assert visibility[0] == 2
        assert visibility[3] == 0
        assert visibility[5] == 1
        assert item["keypoint_scores"][3] == 0
        assert item["keypoint_scores"][5] == pytest.approx(0.1)
        assert item["num_keypoints"] == 16


def test_cvat_tracks_pause_where_the_person_is_missing(annotation):
    """One track for each person; the pause is stated where it begins, with every joint outside."""
    annotation["frame_dir"] += "\x1b\n<&"
    root = ElementTree.fromstring(cvat_xml(annotation).encode())  # noqa: S314  (our own text)
    tracks = root.findall("track")
    assert [track.find("skeleton/attribute[@name='track_id']").text for track in tracks] == ["2", "1"]
    second = {int(one.get("frame")): one for one in tracks[1].findall("skeleton")}
    missing = np.flatnonzero(~annotation["bbox"][1].any(-1))
    ended = [f for f, one in second.items() if {point.get("outside") for point in one.findall("points")} == {"1"}]
    assert ended == [frame for frame in missing if frame > 0]
    x, y = map(float, second[7].find("points[@label='nose']").get("points").split(","))
    assert [x, y] == pytest.approx(annotation["keypoint"][1, 7, 0], abs=0.01)


def test_cvat_labels_define_every_joint(tmp_path):
    """What the label constructor takes: 17 sublabels, a node for each in the template, edges between nodes."""
    (label,) = json.loads(write_labels(tmp_path).read_text())
    assert [one["name"] for one in label["sublabels"]] == list(KEYPOINTS)
    drawing = ElementTree.fromstring(f"<svg>{label['svg']}</svg>")  # noqa: S314  (our own text)
    nodes = {one.get("data-node-id"): one.get("data-label-name") for one in drawing.findall("circle")}
    assert sorted(nodes.values()) == sorted(KEYPOINTS)
    assert all(
        {line.get("data-node-from"), line.get("data-node-to")} <= nodes.keys() for line in drawing.findall("line")
    )


def test_an_annotation_without_boxes_has_the_extent_of_its_joints(annotation):
    """What came from pyskl has none."""
    boxes = boxes_of(to_pyskl(annotation))
    assert np.array_equal(boxes.any(-1), annotation["bbox"].any(-1))
    present = boxes.any(-1)
    assert (boxes[present][:, :2] >= annotation["bbox"][present][:, :2]).all()
    assert mot_text(to_pyskl(annotation))
    assert json.loads(coco_json(to_pyskl(annotation)))["annotations"][0]["track_id"] in (1, 2)


def test_frames_are_written_where_the_coco_file_names_them(tmp_path):
    """In the geometry of the annotation, also for pixels that are not square; a clip that is gone costs only itself."""
    import cv2

    outputs = make_outputs(tmp_path, 2, overlays=True)
    for clip in outputs.clips:
        (annotation,) = read_annotation(clip.annotation_path)["annotations"]
        # The sample's people are in a frame of 640x360, the clips have another size.
        assert annotation["img_shape"] == (360, 640)
    outputs.clips[1].path.unlink()
    command = ["convert", str(outputs.root), str(tmp_path / "coco"), "--to", "coco", "--frames"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    value = json.loads((tmp_path / f"coco/{outputs.clips[0].frame_dir}.json").read_text())
    assert len(value["images"]) == 20
    for image in value["images"]:
        assert cv2.imread(str(tmp_path / "coco" / image["file_name"])).shape == (image["height"], image["width"], 3)
    assert f"{outputs.clips[1].frame_dir}: no frames" in result.output
    assert not (tmp_path / "coco" / outputs.clips[1].frame_dir).exists()
    # Refused before anything is written.
    for source, layout, message in (
        (outputs.clips[0].annotation_path, "coco", "name an output folder"),
        (outputs.root, "csv", "goes with --to coco"),
    ):
        result = CliRunner().invoke(app, ["convert", str(source), str(tmp_path / "x"), "--to", layout, "--frames"])
        assert isinstance(result.exception, FightposeError)
        assert message in str(result.exception)
        assert not (tmp_path / "x").exists()
