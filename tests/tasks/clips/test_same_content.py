"""Clips of equal content."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.clips.same_content import contradictions, copies, copy_warnings, joined_groups
from tasks.clips.splits import make_splits

NAMES = [f"{folder}/{i}" for folder in ("Fight", "Walk") for i in range(6)]


@given(
    st.lists(st.integers(0, 5), min_size=12, max_size=12),
    st.lists(st.integers(0, 3), min_size=12, max_size=12),
    st.integers(0, 5),
)
def test_neither_a_copy_nor_a_group_is_ever_on_two_sides(contents, groups, seed):
    """Whatever contents and groups have in common, directly or through others."""
    content = dict(zip(NAMES, map(str, contents), strict=True))
    group = dict(zip(NAMES, map(str, groups), strict=True))
    split = make_splits(dict.fromkeys(NAMES, 1), joined_groups(NAMES, group.get, content), seed)
    side = {name: key for key, members in split.items() for name in members}
    assert side.keys() == set(NAMES)
    for one in NAMES:
        for other in NAMES:
            if content[one] == content[other] or group[one] == group[other]:
                assert side[one] == side[other]


def test_clips_without_a_known_content_equal_nothing():
    """Annotations of earlier versions have no hash; a clip without copies keeps its group's name, and so its split."""
    contents = {"a": "", "b": "", "c": "1", "d": "2", "e": "2"}
    assert copies(contents) == [["d", "e"]]
    rule = joined_groups(contents, None, contents)
    assert [rule(name) for name in contents] == ["a", "b", "c", "d", "d"]
    assert rule("unknown") == "unknown"


def test_contradicting_labels_are_reported_by_name():
    """One of them is wrong; equal ones are only counted."""
    contents = {"Fight/a": "1", "Walk/a": "1", "Walk/b": "2", "Walk/c": "2"}
    labels = {name: int(name.startswith("Fight")) for name in contents}
    (line,) = contradictions(contents, labels)
    assert line == "the same video has different labels: 1 (Fight/a), 0 (Walk/a)"
    assert copy_warnings(contents, labels)[1].startswith("clips that are copies of others: 2;")
    assert copy_warnings({"a": "1"}, {"a": 1}) == []
