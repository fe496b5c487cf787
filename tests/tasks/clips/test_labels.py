"""Labels and groups from folders, patterns and CSV files."""

import unicodedata

import pytest

from tasks.clips.labels import (
    case_warnings,
    check_sources,
    class_warnings,
    group_rule,
    groups_by_csv,
    groups_by_pattern,
    label_clips,
    labels_by_csv,
    labels_by_folder,
    labels_by_pattern,
    unnamed_warning,
)
from tasks.clips.splits import make_splits
from tasks.core.errors import FightposeError
from tasks.core.settings import DatasetSettings
from tests.tasks.samples import sample_clip


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
        ("clip,label\na,-1\n", "neither a whole number from 0 to 9999 nor a class"),
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
    with pytest.raises(FightposeError, match="not a regular expression"):
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


def clips_of(*names):
    """Return clips of a folder `set`, labelled by their folder `Fight`."""
    return [sample_clip(name) for name in names]


def test_the_file_goes_before_the_pattern_and_that_before_folders(tmp_path):
    """Each gives way to the next where it says nothing; what no rule names keeps its label and is told."""
    (tmp_path / "labels.csv").write_text("clip,label\nx_1,Fall\ny_2.mp4,7\n")
    settings = DatasetSettings(
        classes={"Fight": 1, "Fall": 2, "Push": 3, "Calm": 0}, labels=tmp_path / "labels.csv", label_pattern="Push|Fall"
    )
    clips = clips_of("Fight/x_1.mp4", "Calm/y_2.mp4", "Fight/Push_3.mp4", "Fight/z.mp4", "other/z.mp4")
    labelled, unnamed = label_clips(clips, settings)
    assert [clip.label for clip in labelled] == [2, 7, 3, 1, 0]
    assert unnamed == ["set/other/z"]
    assert [clip.path for clip in labelled] == [clip.path for clip in clips]


def test_without_rules_the_folder_fight_decides():
    """And nothing is told."""
    clips = clips_of("Fight/a.mp4", "Walk/a.mp4")
    assert label_clips(clips, DatasetSettings()) == (clips, [])


def test_korean_names_are_equal_in_either_form(tmp_path):
    """A list typed on a keyboard names files that a system decomposed, for labels and groups alike."""
    composed, decomposed = (unicodedata.normalize(form, "싸움/복도 1") for form in ("NFC", "NFD"))
    clip = f"set/{decomposed}"
    assert labels_by_folder({"싸움": 4})(clip) == 4
    assert labels_by_pattern("싸움", {"싸움": 4})(clip) == 4
    (tmp_path / "a.csv").write_text(f"clip,label,group\n{composed}.mp4,싸움,복도\n", encoding="utf-8")
    assert labels_by_csv(tmp_path / "a.csv", {unicodedata.normalize("NFD", "싸움"): 4})(clip) == 4
    assert groups_by_csv(tmp_path / "a.csv")(clip) == "복도"


def test_the_rule_for_groups_is_the_one_that_is_set(tmp_path):
    """A pattern, a file, or none."""
    assert group_rule(DatasetSettings()) is None
    assert group_rule(DatasetSettings(group_pattern="cam[0-9]+"))("set/cam7_a") == "cam7"
    (tmp_path / "groups.csv").write_text("clip,group\na,video 1\n")
    assert group_rule(DatasetSettings(groups=tmp_path / "groups.csv"))("set/a") == "video 1"


def test_classes_too_small_to_learn_are_named():
    """A data set of one class, and a class whose groups left no clip for a split."""
    labels = {f"a{i}": 0 for i in range(20)} | {"b": 1}
    assert class_warnings(labels, make_splits(labels)) == ["class 1 has 1 clip: too few to train and test on"]
    one = dict.fromkeys(map(str, range(20)), 0)
    assert class_warnings(one, make_splits(one)) == ["all clips are of class 0: nothing can be learned from them"]
    labels = {f"a{i}": 0 for i in range(20)} | {f"b{i}": 1 for i in range(20)}
    found = class_warnings(labels, make_splits(labels, lambda name: "b" if name[0] == "b" else name))
    assert len(found) == 2
    assert found[0].startswith("class 1 has no clip in the split")
    assert class_warnings({}, make_splits({})) == []


def test_folders_count_without_case_and_the_label_they_got_is_reported():
    """`fight` beside `Fight`; where two classes differ in case only, the one spelt like the folder goes first."""
    clips = clips_of("fight/a.mp4", "Fight/b.mp4", "walk/c.mp4")
    assert [clip.label for clip in clips] == [1, 1, 0]
    assert case_warnings(clips, {}) == ["the folder fight (1 clip) is taken for Fight: label 1"]
    assert check_sources(clips, DatasetSettings()) == case_warnings(clips, {})
    assert labels_by_folder({"Walk": 3})("set/WALK/c") == 3
    assert labels_by_folder({"Walk": 3, "walk": 4})("set/walk/c") == 4
    assert case_warnings(clips, {"Walk": 3, "Fight": 1}) == [
        "the folder fight (1 clip) is taken for Fight: label 1",
        "the folder walk (1 clip) is taken for Walk: label 3",
    ]


def test_a_table_or_pattern_that_matches_nothing_is_refused(tmp_path):
    """It was made for other clips, or is misspelt."""
    clips = clips_of("Fight/a.mp4", "Walk/b.mp4")
    (tmp_path / "labels.csv").write_text("clip,label\nx,1\ny,1\n")
    (tmp_path / "groups.csv").write_text("clip,group\nx,1\n")
    for wrong in (
        {"labels": tmp_path / "labels.csv"},
        {"groups": tmp_path / "groups.csv"},
        {"group_pattern": "cam[0-9]"},
        {"label_pattern": "Run", "classes": {"Run": 1}},
        {"label_pattern": "Walk", "classes": {"Run": 1}},
    ):
        with pytest.raises(FightposeError, match=r"none of"):
            check_sources(clips, DatasetSettings(**wrong))
    assert check_sources(clips, DatasetSettings(group_pattern="Walk")) == []


def test_rows_and_clips_without_a_counterpart_are_reported(tmp_path):
    """Rows by their lines, clips by their number and the first."""
    clips = clips_of("Fight/a.mp4", "Walk/b.mp4", "Walk/c.mp4")
    (tmp_path / "labels.csv").write_text("clip,label\nzz,1\nWalk/b,1\n\n" + "gone,2\n" * 6)
    rows = f"{tmp_path / 'labels.csv'}: 7 rows without a clip: line 2, 5, 6, 7, 8, ..."
    found = check_sources(clips, DatasetSettings(labels=tmp_path / "labels.csv", classes={"Walk": 3}))
    assert found == [rows, f"{tmp_path / 'labels.csv'}: 2 clips without a label; the first: set/Fight/a"]
    # Alone, the table is the rule, and clips that no rule names are counted elsewhere.
    settings = DatasetSettings(labels=tmp_path / "labels.csv")
    assert check_sources(clips, settings) == [rows]
    (counted,) = unnamed_warning(label_clips(clips, settings)[1])
    assert counted.startswith("no label rule matches 2 clips")
    assert counted.endswith("the first: set/Fight/a")
