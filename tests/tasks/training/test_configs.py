"""Training configs: what they say, without the programs that read them (those are in `tests/client`)."""

from __future__ import annotations

import ast
import runpy

import pytest

from tasks.core.errors import FightposeError
from tasks.training.configs import STREAMS, plan_training, write_configs


def data_of(split: dict[str, str], labels: str, **more: object) -> dict[str, object]:
    """Return a data set without poses: clip names by split, and the label of each clip `a`, `b`, ... in order."""
    annotations = [{"frame_dir": name, "label": int(label)} for name, label in zip("abcdefgh", labels, strict=False)]
    return {"split": {name: list(members) for name, members in split.items()}, "annotations": annotations} | more


def test_classes_are_weighted_by_how_rare_they_are_in_training(tmp_path):
    """One on average; a class without training clips weighs nothing and is reported."""
    data = data_of({"train": "abcd", "val": "e", "test": "f"}, "000112", classes={"Calm": 0, "Fight": 1})
    plan = plan_training(tmp_path / "dataset.pkl", data)
    assert plan.weights == pytest.approx([4 / 6, 2.0, 0.0])
    assert plan.classes == ["Calm", "Fight", "class 2"]
    assert plan.splits == ("train", "val", "test")
    assert plan.notes == ["no training clip is of class 2"]


@pytest.mark.parametrize(
    ("split", "splits", "notes"),
    [
        ({"train": "abc", "val": "d", "test": ""}, ("train", "val", "val"), 1),
        ({"train": "abc", "test": "d"}, ("train", "test", "test"), 1),
        ({"train": "abcd", "val": "", "test": ""}, ("train", "train", "train"), 1),
        ({"all": "abcd"}, ("all", "all", "all"), 1),
        ({"xsub_train": "ab", "val": "cd"}, ("xsub_train", "val", "val"), 1),
    ],
)
def test_splits_that_are_missing_have_a_stand_in_and_a_note(tmp_path, split, splits, notes):
    """An empty split would fail in the middle of training."""
    plan = plan_training(tmp_path / "dataset.pkl", data_of(split, "0101"))
    assert plan.splits == splits
    assert len(plan.notes) == notes


@pytest.mark.parametrize("labels", ["", "0", "0000"])
def test_nothing_to_learn_is_refused(tmp_path, labels):
    """A clear line, and no file."""
    with pytest.raises(FightposeError, match="has to see clips of two classes"):
        plan_training(tmp_path / "dataset.pkl", data_of({"train": "abcd"}, labels))


def test_every_config_is_python_that_says_the_same(tmp_path):
    """Whatever classes and folders are called; streams differ in the feature and the folder of the run only."""
    folder = tmp_path / 'it\'s "가" \\ $x'
    data = data_of({"train": "abc", "val": "d", "test": ""}, "0101", classes={"가'\"\\\n$y": 1})
    plan = plan_training(folder / "dataset.pkl", data)
    written = write_configs(plan, folder / "training")
    assert len(written) == 2 * len(STREAMS)
    for path in written:
        ast.parse(path.read_text(encoding="utf-8"))
        values = runpy.run_path(str(path))
        assert values["ann_file"] == str(folder / "dataset.pkl")
        assert values["classes"] == ["class 0", "가'\"\\\n$y"]
        assert values["model"]["cls_head"]["num_classes"] == 2
        (feature,) = [step["feats"] for step in values["train_pipeline"] if step["type"] == "GenSkeFeat"]
        assert feature == ["jm" if "motion" in path.name else "j"]
    assert len({runpy.run_path(str(path))["work_dir"] for path in written}) == len(STREAMS)
