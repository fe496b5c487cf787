"""Labels and groups from folders, patterns and CSV files."""

import pytest

from tasks.errors import FightposeError
from tasks.labels import (
    class_warnings,
    groups_by_csv,
    groups_by_pattern,
    labels_by_csv,
    labels_by_folder,
    labels_by_pattern,
)


def test_the_innermost_named_folder_decides():
    """Several classes, and folders that name none."""
    rule = labels_by_folder({"Fight": 1, "NonFight": 0, "Fall": 2})
    assert rule("Fight/cam/a") == 1
    assert rule("Fight/Fall/a") == 2
    assert rule("set/other/Fight") is None


def test_a_pattern_names_the_class():
    """By its first group, or as a whole."""
    assert labels_by_pattern(r"/(fi|nofi)\d+$", {"fi": 1, "nofi": 0})("set/nofi033") == 0
    assert labels_by_pattern("punch|kick", {"punch": 4})("set/punch_1") == 4
    assert labels_by_pattern("punch|kick", {"punch": 4})("set/kick_1") is None
    assert labels_by_pattern("punch", {"punch": 4})("set/a") is None


def test_a_csv_names_clips_by_any_end_of_their_path(tmp_path):
    """With or without ending; the longer entry goes first; spreadsheets write a byte order mark."""
    path = tmp_path / "labels.csv"
    path.write_text("clip,label,note\nFight/가 1.mp4,3,x\n가 1,2,\nb.avi,5,\n", encoding="utf-8-sig")
    rule = labels_by_csv(path)
    assert rule("set/Fight/가 1") == 3
    assert rule("set/NonFight/가 1") == 2
    assert rule("set/Fight/b") == 5
    assert rule("set/Fight/b.avi") == 5
    assert rule("set/Fight/c") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na,1\n", "has no column clip"),
        ("clip,label\na,one\n", "line 2: the label 'one'"),
        ("clip,label\na,-1\n", "not a whole number"),
        ("clip,label\na,1\na,2\n", "line 3: a has two labels"),
        ("clip,label\na\n", "line 2"),
        ("", "has no column clip, label"),
        ("clip,label\n\udcff,1\n", "must be a CSV file in UTF-8"),
    ],
)
def test_a_damaged_csv_is_a_clear_error(tmp_path, text, message):
    """It names the file and the line."""
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FightposeError, match=message) as caught:
        labels_by_csv(path)
    assert "labels.csv" in str(caught.value)


def test_missing_files_and_bad_patterns_are_clear_errors(tmp_path):
    """No traceback for a typing error."""
    with pytest.raises(FightposeError, match="cannot read"):
        labels_by_csv(tmp_path / "nowhere.csv")
    with pytest.raises(FightposeError, match="no regular expression"):
        groups_by_pattern("(")


def test_groups_keep_what_belongs_together(tmp_path):
    """Clips that no rule names stand alone."""
    rule = groups_by_pattern(r"cam\d+")
    assert rule("set/Fight/cam07_a") == rule("set/NonFight/cam07_b") == "cam07"
    assert rule("set/other") == "set/other"
    (tmp_path / "groups.csv").write_text("clip,group\na,video 1\nb.mp4,video 1\n")
    by_csv = groups_by_csv(tmp_path / "groups.csv")
    assert by_csv("set/a") == by_csv("set/b") == "video 1"
    assert by_csv("set/c") == "set/c"


def test_classes_too_small_to_learn_are_named():
    """And a data set of one class."""
    labels = {f"a{i}": 0 for i in range(20)} | {"b": 1}
    assert class_warnings(labels) == ["class 1 has 1 clips: too few to train and test on"]
    assert class_warnings(dict.fromkeys(map(str, range(20)), 0)) == [
        "all clips are of class 0: nothing can be learned from them"
    ]
    assert class_warnings({}) == []
