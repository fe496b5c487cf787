"""Splits of a data set."""

import pytest

from tasks.clips.splits import make_splits


def members(splits):
    """Return all identifiers, with repetitions."""
    return sorted(name for names in splits.values() for name in names)


@pytest.mark.parametrize("fights", range(12))
@pytest.mark.parametrize("others", [0, 1, 2, 3, 7])
def test_every_clip_is_in_exactly_one_split_however_few_there_are(fights, others):
    """Train comes first, then val; nothing is lost and nothing fails."""
    labels = {f"f{i}": 1 for i in range(fights)} | {f"n{i}": 0 for i in range(others)}
    splits = make_splits(labels)
    assert list(splits) == ["train", "val", "test"]
    assert members(splits) == sorted(labels)
    assert len(splits["train"]) >= len(splits["val"]) >= len(splits["test"])
    assert not labels or splits["train"]


def test_each_label_is_shared_out_in_the_same_proportion():
    """Ten per cent of the fights and ten per cent of the others are test clips."""
    labels = {f"f{i}": 1 for i in range(200)} | {f"n{i}": 0 for i in range(50)}
    splits = make_splits(labels)
    for label, total in ((1, 200), (0, 50)):
        counts = [sum(labels[name] == label for name in splits[split]) for split in ("train", "val", "test")]
        assert counts == [total * 7 // 10, total * 2 // 10, total // 10]


def test_splits_are_the_same_whatever_the_order_and_differ_by_seed():
    """A rerun on another machine gives the same data set."""
    names = [f"clip {i}" for i in range(60)]
    first = make_splits(dict.fromkeys(names, 1))
    assert make_splits(dict.fromkeys(reversed(names), 1)) == first
    assert make_splits(dict.fromkeys(names, 1), seed=1) != first


def test_a_group_never_stands_in_two_splits():
    """One source video on both sides of a split would let the test see what was trained on."""
    # Sources of very different sizes.
    labels = {f"source{int(25 * (i / 300) ** 2)}/clip{i}": i % 2 for i in range(300)}
    splits = make_splits(labels, lambda name: name.split("/")[0])
    assert members(splits) == sorted(labels)
    sources = [name for names in splits.values() for name in {member.split("/")[0] for member in names}]
    assert len(sources) == len(set(sources))
    assert 0.6 < len(splits["train"]) / 300 < 0.8
    assert all(splits.values())


def test_an_earlier_split_is_kept_and_new_clips_fill_what_is_lacking():
    """No clip changes its side when others come, whatever its label is by now."""
    labels = {f"clip {i}": i % 2 for i in range(40)}
    first = make_splits(labels)
    more = {f"new {i}": i % 2 for i in range(40)} | labels | {"clip 3": 0}
    second = make_splits(more, keep=first)
    assert members(second) == sorted(more)
    assert all(set(first[name]) <= set(second[name]) for name in first)
    assert [len(second[name]) for name in ("train", "val", "test")] == [56, 16, 8]
    gone = make_splits({name: label for name, label in labels.items() if name != "clip 1"}, keep=first)
    assert "clip 1" not in members(gone)


def test_new_clips_of_a_known_group_follow_it():
    """One source stays on its side, however many clips of it come."""

    def source(name):
        """Return what stands before the slash."""
        return name.split("/")[0]

    labels = {f"{group}/{i}": 1 for group in "abcdefghij" for i in range(3)}
    first = make_splits(labels, source)
    more = labels | {f"{group}/new{i}": 1 for group in "abck" for i in range(9)}
    second = make_splits(more, source, keep=first)
    assert all(set(first[name]) <= set(second[name]) for name in first)
    sides = [{source(name) for name in names} for names in second.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 11


def test_an_earlier_split_that_parts_a_group_is_not_kept():
    """The rule for groups came later: to keep sides would keep the leak."""
    labels = {f"{group}/{i}": 1 for group in "abcdefghij" for i in range(3)}
    second = make_splits(labels, lambda name: name.split("/")[0], keep=make_splits(labels))
    assert second == make_splits(labels, lambda name: name.split("/")[0])


def test_splits_of_other_names_are_kept():
    """Folds that somebody wrote into the file of splits."""
    labels = dict.fromkeys(("a", "b", "c"), 1)
    assert make_splits(labels, keep={"fold": ["a", "gone"]}) == {
        "train": ["c"],
        "val": ["b"],
        "test": [],
        "fold": ["a"],
    }


def test_names_that_are_no_utf8_are_split_too():
    """File names may hold any bytes."""
    assert members(make_splits({"\udcff": 1, "a": 1})) == ["a", "\udcff"]
