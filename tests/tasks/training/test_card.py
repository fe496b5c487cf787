"""The data card."""

from __future__ import annotations

import csv
import json
import re

import pytest

from tasks.annotations.format import read_annotation, write_annotation
from tasks.training.card import COLUMNS, LIMITS, write_card
from tests.tasks.samples import sample_annotation


@pytest.fixture
def dataset(tmp_path):
    """Three clips of two classes in two splits; one was corrected."""
    clips = [sample_annotation(2, 30, name) for name in ("Fight/가 |1.mp4", "Walk/b.mp4", "Walk/c\x1b.mp4")]
    for clip, label in zip(clips, (1, 0, 0), strict=True):
        clip["label"] = label
    clips[1]["review"] = {"changes": []}
    names = [clip["frame_dir"] for clip in clips]
    write_annotation(tmp_path / "dataset.pkl", clips, {"train": names[:2], "val": names[2:]})
    return tmp_path / "dataset.pkl"


def test_the_card_counts_classes_by_split(dataset):
    """By name where the data set has names; nothing in it can fool a terminal or end a table's cell."""
    data = read_annotation(dataset) | {"classes": {"Fight": 1, "Walk": 0}}
    text, table, _ = write_card(dataset, data)
    card = text.read_text(encoding="utf-8")
    assert "| 0 Walk | 1 | 1 | 2 |" in card
    assert "| 1 Fight | 1 | 0 | 1 |" in card
    assert "Corrected by hand: 1 clips" in card
    assert "\x1b" not in card
    assert '"max_persons": 12' in card
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [row["clip"] for row in rows] == ["set/Fight/가 \\x7c1", "set/Walk/b", "set/Walk/c\\x1b"]
    assert [row["split"] for row in rows] == ["train", "train", "val"]
    assert {row["people"] for row in rows} == {"2"}
    assert [row["reviewed"] for row in rows] == ["0", "1", "0"]


def test_the_card_names_no_column_that_the_table_lacks():
    """Its text speaks of columns in backticks."""
    assert set(re.findall(r"`(\w+)`", LIMITS)) <= {*COLUMNS}


def test_the_metadata_is_valid_croissant(dataset):
    """As `mlcroissant validate` sees it, and its records can be read."""
    mlcroissant = pytest.importorskip("mlcroissant")
    *_, metadata = write_card(dataset, read_annotation(dataset))
    value = json.loads(metadata.read_text())
    assert [one["@id"] for one in value["distribution"]] == ["dataset.pkl", "dataset_clips.csv"]
    loaded = mlcroissant.Dataset(jsonld=metadata)
    assert not loaded.metadata.ctx.issues.warnings
    assert not loaded.metadata.ctx.issues.errors
    records = list(loaded.records(record_set="clips"))
    assert [record["clips/label"] for record in records] == [1, 0, 0]


def test_a_data_set_of_other_programs_has_a_card_too(tmp_path):
    """Without our keys."""
    one = sample_annotation(1, 5)
    for key in ("settings", "provenance", "fps"):
        del one[key]
    write_annotation(tmp_path / "d.pkl", [one])
    text, _, _ = write_card(tmp_path / "d.pkl", read_annotation(tmp_path / "d.pkl"))
    assert "unknown (1)" in text.read_text(encoding="utf-8")
