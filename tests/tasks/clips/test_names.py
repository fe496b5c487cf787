"""Names in tables: whatever form they have, the clip that is meant is found, and no other."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.clips.labels import check_sources, group_rule, label_clips
from tasks.clips.names import ClipTable, Row, read_rows
from tasks.clips.video_files import VIDEO_ENDINGS
from tasks.core.errors import FightposeError
from tasks.core.settings import DatasetSettings
from tests.tasks.samples import sample_clip

CLIP = "rwf/val/Fight/싸움_1"

FOLDERS = st.sampled_from(
    ["", "./", "D:\\", "D:\\RWF\\", "\\\\server\\share\\", "/mnt/data/", "../other/", ".\\", "c:/x y/"]
)
STARTS = st.sampled_from(["rwf/val/Fight/", "val/Fight/", "Fight/", ""])


def table(*names: str) -> ClipTable[int]:
    """Return a table whose rows, from line 2 on, give 0, 1, 2, ..."""
    return ClipTable(Path("t.csv"), [Row(line, name, line - 2) for line, name in enumerate(names, start=2)])


@given(
    FOLDERS,
    STARTS,
    st.sampled_from(["", *VIDEO_ENDINGS]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["NFC", "NFD"]),
)
def test_a_name_is_found_in_every_form(folders, start, ending, windows, capitals, form):
    """Separators, drives, leading folders, endings in any case, either Unicode form."""
    name = f"{start}싸움_1{ending.upper() if capitals else ending}"
    # Leading folders of another machine are known by what follows: at least a folder below the input's own.
    if start in ("rwf/val/Fight/", "val/Fight/"):
        name = folders + name
    if windows:
        name = name.replace("/", "\\")
    found = table(unicodedata.normalize(form, name), "other/x.avi").find(unicodedata.normalize("NFD", CLIP))
    assert [row.line for row in found] == [2], name


@pytest.mark.parametrize(
    "name",
    [
        "싸움_10.avi",
        "NonFight/싸움_1.avi",
        "val/NonFight/싸움_1.avi",
        "train/Fight/싸움_1.avi",
        "D:\\rwf\\train\\Fight\\싸움_1.avi",
        "x/싸움_1.avi",
        "싸움_1.txt",
        "",
        "Fight",
    ],
)
def test_a_name_of_another_clip_is_not_taken_for_it(name):
    """A folder that differs makes it another clip."""
    assert table(name).find(CLIP) == []


def test_a_flat_input_needs_its_own_name_in_a_longer_one():
    """`NonFight/a.avi` must not label `a.avi` of an input called Fight."""
    assert table("NonFight/a.avi").find("Fight/a") == []
    assert [row.value for row in table("NonFight/a.avi", "E:\\set\\Fight\\a.avi").find("Fight/a")] == [1]


def test_the_closest_name_goes_first():
    """A longer one before a shorter one."""
    found = table("a", "set/Fight/a", "Fight/a")
    assert [row.value for row in found.find("set/Fight/a")] == [1]
    assert [row.value for row in found.find("set/Walk/a")] == [0]
    assert found.unused(["set/Fight/a"]) == []


def test_neighbours_of_one_stem_are_told_apart_by_their_endings():
    """`a.mp4` and `a.avi` in one folder have their endings in their identifiers."""
    found = table("a.AVI", "a.mp4")
    assert [row.value for row in found.find("set/a.avi")] == [0]
    assert [row.value for row in found.find("set/a.mp4")] == [1]
    assert found.find("set/a.mkv") == []
    assert [row.value for row in table("a").find("set/a.mkv")] == [0]


def test_an_ambiguous_name_is_refused():
    """Unless each of its clips but one has a row of its own."""
    clips = ["set/Fight/a", "set/Walk/a"]
    with pytest.raises(FightposeError, match=r"t\.csv, line 2: 'a' names 2 clips.*set/Fight/a and set/Walk/a"):
        table("a").report(clips, "label")
    assert table("a", "Walk/a").report(clips, "label") == []


def test_spreadsheets_write_tables_in_many_ways(tmp_path):
    """Byte order mark, semicolons, tabs, CRLF, spaces and capitals in the header, empty lines, quotes."""
    for text in (
        '\ufeffclip;Label\r\nx\\a.avi;1\r\n;\r\n\r\n"b;c.avi";2\r\n',
        "Clip \tlabel\textra\nx\\a.avi\t1\t\nb;c.avi\t2\n",
        '"clip","label"\n"x\\a.avi"," 1 "\n"b;c.avi",2,more,columns\n',
    ):
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        rows = [(row["clip"], row["label"]) for _, row in read_rows(tmp_path / "t.csv", ("clip", "label"))]
        assert rows == [("x\\a.avi", "1"), ("b;c.avi", "2")]


def test_tables_as_windows_tools_write_them(tmp_path):
    """Labels and groups of the same two clips as in a table that was written by hand."""
    clips = [sample_clip(name, root=Path("/in/rwf")) for name in ("train/Fight/-1l5631l3fg_0.avi", "val/Fight/V_1.AVI")]
    (tmp_path / "labels.csv").write_bytes(
        b"clip,label\r\ntrain\\Fight\\-1l5631l3fg_0.avi,5\r\nD:\\RWF\\rwf\\val\\Fight\\V_1.AVI,5\r\nV_1.AVI,5\r\n"
    )
    (tmp_path / "groups.csv").write_bytes(
        b"clip,group\r\nrwf\\train\\Fight\\-1l5631l3fg_0.avi,g1\r\nrwf\\val\\Fight\\V_1.AVI,g1\r\n"
    )
    settings = DatasetSettings(labels=tmp_path / "labels.csv", groups=tmp_path / "groups.csv")
    assert check_sources(clips, settings) == []
    assert [clip.label for clip in label_clips(clips, settings)[0]] == [5, 5]
    rule = group_rule(settings)
    assert {rule(clip.frame_dir) for clip in clips} == {"g1"}
