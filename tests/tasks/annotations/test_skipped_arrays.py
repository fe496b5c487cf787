"""Annotations that are read without the values of their large arrays."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from tasks.annotations.format import AnnotationError, only_annotation, write_annotation
from tasks.annotations.safe_pickle import SMALL_BYTES, safe_load
from tests.tasks.samples import sample_annotation

FRAMES = 2000


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return a file of one annotation, of which four arrays are large."""
    path = tmp_path_factory.mktemp("long") / "long.pkl"
    write_annotation(path, [sample_annotation(3, FRAMES)])
    return path


def test_all_else_is_read_as_ever(path):
    """Large arrays have their shape and type, and cannot be written to."""
    whole, light = only_annotation(path), only_annotation(path, large_arrays=False)
    large = {key for key, value in whole.items() if isinstance(value, np.ndarray) and value.nbytes > SMALL_BYTES}
    assert {"keypoint", "keypoint_score", "bbox"} <= large
    for key in large:
        values = light.pop(key)
        assert (values.shape, values.dtype) == (whole[key].shape, whole[key].dtype)
        assert not values.flags.writeable
        assert not values.any()
        del whole[key]
    np.testing.assert_equal(light, whole)


def test_they_take_no_memory(path):
    """Neither for good nor on the way."""
    tracemalloc.start()
    only_annotation(path, large_arrays=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_refused(path, tmp_path, share):
    """Also where the cut is in bytes that would not be read."""
    cut = tmp_path / "cut.pkl"
    cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(AnnotationError, match="is cut short"):
        safe_load(cut, large_arrays=False)


@pytest.mark.parametrize("value", [b"x" * (SMALL_BYTES + 1), {"a": [b"x" * (SMALL_BYTES + 1)]}])
def test_bytes_that_are_no_array_are_refused(tmp_path, value):
    """Nobody would see that they were left out."""
    path = tmp_path / "bytes.pkl"
    path.write_bytes(pickle.dumps(value, protocol=4))
    with pytest.raises(AnnotationError, match="instead of data"):
        safe_load(path, large_arrays=False)


def test_a_shape_that_does_not_go_with_the_bytes_is_refused(tmp_path):
    """Also if the bytes are not read."""
    path = tmp_path / "shape.pkl"
    values = np.arange(SMALL_BYTES, dtype=np.float32)
    raw = pickle.dumps({"a": values}, protocol=4)
    # BININT and four bytes.
    wrong = raw.replace(b"J" + SMALL_BYTES.to_bytes(4, "little"), b"J" + (SMALL_BYTES + 1).to_bytes(4, "little"))
    assert wrong != raw
    path.write_bytes(wrong)
    with pytest.raises(AnnotationError, match="does not go with"):
        safe_load(path, large_arrays=False)
