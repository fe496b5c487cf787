"""Files of annotations that are written one by one."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tasks.annotations.format import AnnotationError, read_annotation, write_annotation
from tasks.annotations.streamed import draft_of, stream_annotations
from tests.tasks.samples import sample_annotation


@pytest.mark.parametrize("classes", [None, {"NonFight": 0, "Fight": 1}])
def test_what_is_streamed_is_what_is_written_at_once(tmp_path, classes):
    """For our reader and for pickle, which consumers use; labels may be given late."""
    parts = [sample_annotation(people, 20, f"Fight/{people}.mp4") for people in (1, 3, 4)]
    split = {"train": [part["frame_dir"] for part in parts], "val": []}
    write_annotation(tmp_path / "whole.pkl", parts, split, classes)
    with stream_annotations(tmp_path / "parts.pkl") as stream:
        for part in parts:
            stream.add(draft_of(part | {"label": 9}), part["label"])
        stream.finish(split, classes)
    assert (stream.labels, stream.people) == ({1: 3}, {1: 1, 3: 1, 4: 1})
    whole, streamed = tmp_path / "whole.pkl", tmp_path / "parts.pkl"
    np.testing.assert_equal(read_annotation(streamed), read_annotation(whole))
    np.testing.assert_equal(pickle.loads(streamed.read_bytes()), pickle.loads(whole.read_bytes()))


def test_an_identifier_that_comes_twice_is_refused(tmp_path):
    """And the file of before stays."""
    path = tmp_path / "parts.pkl"
    path.write_bytes(b"before")
    draft = draft_of(sample_annotation())

    def write():
        with stream_annotations(path) as stream:
            stream.add(draft, 0)
            stream.add(draft, 1)

    with pytest.raises(AnnotationError, match="stands twice; nothing was written"):
        write()
    assert [one.name for one in tmp_path.iterdir()] == ["parts.pkl"]
    assert path.read_bytes() == b"before"
