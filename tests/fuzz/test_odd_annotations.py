"""Annotations that are sound pickles and odd inside: whoever reads them refuses with one line, or does without."""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.annotations.explain import explain_text
from tasks.annotations.format import Annotation, read_annotation
from tasks.annotations.validate import require_valid, sound_annotation
from tasks.annotations.validate_dataset import validate_dataset
from tasks.core.errors import FightposeError
from tasks.regions.camera_weights import learn_camera_weights
from tasks.report.tables import read_outputs
from tasks.review.apply import apply_review, waiting_corrections
from tasks.review.index import refresh_index
from tasks.review.log import MergeTracks, Role, SetRole, SplitTrack, append_change
from tasks.review.overlays import outdated_overlays, redraw_overlays
from tests.review_outputs import Outputs, make_outputs

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**62, 1.5, float("nan"), float("inf"), "x", "", b"x", "\udcff", [], [1], ["a"], [[["a"]]],
    {}, {"a": 1}, {"a": None}, {1: 2}, (), (1, 2), np.zeros(0), np.array(5), np.zeros(3, np.float32),
    np.full(3, np.nan, np.float32), np.zeros((2, 2), np.int64), np.zeros((3, 0), np.float32),
    np.zeros((3, 20, 17), np.float32), np.zeros((3, 20, 17, 2)),
)  # fmt: skip
"""What stands in place of a value."""

SAMPLE = 40


def explain_all(path: Path) -> None:
    """Explain every annotation of a file, as the command does."""
    for annotation in read_annotation(path)["annotations"]:
        require_valid(annotation, path)
        explain_text(annotation)


def apply_all(root: Path) -> None:
    """Apply the corrections, as the command does."""
    redraw_overlays(root, apply_review(root))


def readers(outputs: Outputs) -> dict[str, Callable[[], object]]:
    """Return all that reads annotations which may come from anyone."""
    path, root = outputs.clips[0].annotation_path, outputs.root
    return {
        "validate": lambda: validate_dataset(read_annotation(path)),
        "explain": lambda: explain_all(path),
        "learn weights": lambda: learn_camera_weights([sound_annotation(path)]),
        "gallery": lambda: refresh_index(root),
        "report": lambda: read_outputs(root),
        "waiting corrections": lambda: waiting_corrections(root),
        "outdated overlays": lambda: outdated_overlays(root),
        "apply": lambda: apply_all(root),
    }


def variants(annotation: Annotation) -> list[tuple[str, Annotation]]:
    """Return annotations of which one value is odd or missing, also within a breakdown."""
    made = []
    for key in [*annotation, "review", "automatic", "filename"]:
        made.append((f"{key} missing", {name: part for name, part in annotation.items() if name != key}))
        for odd in ODD:
            made.append((f"{key} = {odd!r:.30}", annotation | {key: odd}))
            if isinstance(annotation.get(key), dict) and annotation[key]:
                inner = next(iter(annotation[key]))
                made.append((f"{key}.{inner} = {odd!r:.30}", annotation | {key: annotation[key] | {inner: odd}}))
    return made


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """Give two annotated clips, one of them with corrections."""
    made = make_outputs(tmp_path, 2)
    name = made.clips[0].frame_dir
    for change in (
        SetRole(track_id=1, role=Role.FIGHTER),
        SplitTrack(track_id=2, frame=7, new_id=9),
        MergeTracks(into=3, other=1),
    ):
        append_change(made.root, name, "someone", change)
    return made


def test_odd_annotations_cost_one_line_at_most(outputs):
    """No reader ends in a traceback, and the other clips do not suffer."""
    path = outputs.clips[0].annotation_path
    annotation = read_annotation(path)["annotations"][0]
    broken = []
    for name, odd in random.Random(3).sample(variants(annotation), SAMPLE):  # noqa: S311 - a sample, no secret
        data = {"split": {"all": [annotation["frame_dir"]]}, "annotations": [odd]}
        for reader, read in readers(outputs).items():
            # Written for each reader: applying corrections rewrites it.
            path.write_bytes(pickle.dumps(data, 4))
            shutil.rmtree(outputs.root / ".fightpose/automatic", ignore_errors=True)
            try:
                read()
            except FightposeError as error:
                broken += [f"{reader}, {name}: {error}"] * ("\n" in str(error))
            except Exception as error:
                broken.append(f"{reader}, {name}: {type(error).__name__}: {error}")
    assert broken == []
