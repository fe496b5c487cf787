"""Splits of a data set."""

import pytest

from tasks.clips.splits import fold_shares, make_splits
from tasks.core.text import shares_of


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


def test_a_group_that_an_earlier_split_divides_goes_where_most_of_it_is():
    """The rule for groups came later: to keep both sides would keep the leak. All other clips stay."""
    labels = {f"{group}/{i}": 1 for group in "abcdefghij" for i in range(3)}
    first = {"train": [name for name in labels if name not in ("a/2", "b/1", "b/2", "j/0", "j/1", "j/2")]}
    first |= {"val": ["a/2", "j/0", "j/1", "j/2"], "test": ["b/1", "b/2"]}
    second = make_splits(labels, lambda name: name.split("/")[0], keep=first)
    assert {"a/0", "a/1", "a/2"} <= set(second["train"])
    assert second["val"] == ["j/0", "j/1", "j/2"]
    assert second["test"] == ["b/0", "b/1", "b/2"]


def test_a_given_split_goes_before_an_earlier_one_and_the_rest_of_its_group_follows():
    """Each clip where it was said to be, even if that divides a group."""
    labels = dict.fromkeys(("a/0", "a/1", "b/0", "c/0", "c/1", "d/0"), 1)
    keep = {"test": ["a/0", "d/0"]}
    given = {"a/1": "val", "c/0": "train", "c/1": "holdout"}
    split = make_splits(labels, lambda name: name.split("/")[0], keep=keep, given=given)
    side = {name: key for key, names in split.items() for name in names}
    assert side["a/0"] == side["a/1"] == "val"
    assert (side["c/0"], side["c/1"], side["d/0"]) == ("train", "holdout", "test")
    assert members(split) == sorted(labels)


@pytest.mark.parametrize("text", ["70/15/15", "80/20", "1/1/1", "60/0/40"])
def test_shares_are_what_was_asked_for(text):
    """Within one clip of each label."""
    labels = {f"clip {i}": i % 2 for i in range(200)}
    shares = shares_of(text)
    split = make_splits(labels, shares=shares)
    assert split.keys() == shares.keys()
    for name, share in shares.items():
        for label in (0, 1):
            found = sum(labels[member] == label for member in split[name])
            assert abs(found - 100 * share / sum(shares.values())) <= 1


@pytest.mark.parametrize("text", ["", "70", "0/50/50", "a/b", "1/2/3/4", "-1/2", "70/-15/45", "0.7/0.3"])
def test_what_is_not_shares_is_refused(text):
    """With an example."""
    with pytest.raises(ValueError, match="70/15/15"):
        shares_of(text)


def test_folds_have_equal_shares_by_group():
    """Each group in one fold, each label about as often in each."""
    labels = {f"{group}/{i}": i % 2 for group in range(40) for i in range(4)}
    folds = make_splits(labels, lambda name: name.split("/")[0], shares=fold_shares(5))
    assert list(folds) == ["fold1", "fold2", "fold3", "fold4", "fold5"]
    assert members(folds) == sorted(labels)
    assert {len(names) for names in folds.values()} == {32}
    groups = [name.split("/")[0] for names in folds.values() for name in {name.split("/")[0] + "/" for name in names}]
    assert len(groups) == 40


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
