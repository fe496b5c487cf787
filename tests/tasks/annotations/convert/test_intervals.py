"""Tables of intervals."""

from __future__ import annotations

import pytest

from tasks.annotations.convert.intervals import interval_table, label_by_intervals, label_by_table
from tasks.annotations.convert.windows import cut_windows
from tasks.core.errors import FightposeError
from tests.tasks.samples import sample_annotation


def labels(tmp_path, text: str, classes: dict[str, int] | None = None) -> list[int]:
    """Return the labels of two windows of 50 frames each; the clip has 10 frames per second."""
    (tmp_path / "intervals.csv").write_text(text)
    annotation = sample_annotation(1, 100) | {"fps": 10.0}
    windows = cut_windows(annotation, 50, 50, label_by_intervals(tmp_path / "intervals.csv", classes))
    return [window["label"] for window in windows]


@pytest.mark.parametrize("name", ["set/Fight/a", "a", "Fight\\a.MP4", "D:\\x\\set\\Fight\\a.mp4"])
def test_a_window_is_labelled_by_the_interval_that_covers_half_of_it(tmp_path, name):
    """Whatever form the clip's name has."""
    assert labels(tmp_path, f"clip,start,stop,label\n{name},0,30,2\n{name},60,70,3\nother,0,100,5\n") == [2, 0]


def test_seconds_are_taken_by_unit_or_by_column(tmp_path):
    """3 seconds are 30 frames here."""
    assert labels(tmp_path, "clip,start,stop,label\na,0s,3.0S,2\n") == [2, 0]
    assert labels(tmp_path, "clip,start_seconds,stop_seconds,label\na,5.5,9,2\n") == [0, 2]


def test_intervals_of_one_label_count_together_and_overlaps_once(tmp_path):
    """Two short ones make half a window; the same one twice does not."""
    assert labels(tmp_path, "clip,start,stop,label\na,0,15,2\na,30,40,2\na,50,63,1\na,50,63,1\n") == [2, 0]


def test_labels_may_be_names_of_classes(tmp_path):
    """As in the table of labels."""
    assert labels(tmp_path, "clip,start,stop,label\na,0,50,Push\n", {"Push": 4}) == [4, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,x,2,1", "line 2: invalid literal"),
        ("a", "line 2"),
        ("a,5,5,1", "no interval goes from 5 to 5"),
        ("a,-1,5,1", "no interval"),
        ("a,1,5,-1", "the label '-1'"),
        ("a,1,5,Push", "the label 'Push'"),
        ("a,1.5,5.5,1", "invalid literal"),
        ("a,1s,5,1", "one in seconds, the other in frames"),
        ("a,0s,infs,1", "no interval"),
        ("a,nans,1s,1", "no interval"),
    ],
)
def test_damaged_rows_are_clear_errors(tmp_path, row, message):
    """They name the file, the line and what it needs."""
    (tmp_path / "intervals.csv").write_text(f"clip,start,stop,label\n{row}\n")
    with pytest.raises(FightposeError, match=message) as caught:
        interval_table(tmp_path / "intervals.csv")
    assert "intervals.csv, line 2" in str(caught.value)
    assert "needs the columns" in str(caught.value)


def test_seconds_need_a_frame_rate(tmp_path):
    """Files of other programs have none."""
    (tmp_path / "intervals.csv").write_text("clip,start,stop,label\na,0s,1s,1\n")
    annotation = sample_annotation(1, 100)
    del annotation["fps"]
    with pytest.raises(FightposeError, match="has no frame rate"):
        label_by_table(interval_table(tmp_path / "intervals.csv"))(annotation, 0, 50)
