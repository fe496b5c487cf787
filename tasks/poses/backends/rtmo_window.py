"""RTMO on the part of its square input that holds the frame: fewer operations, and nearly the same answer.

A frame of 640 x 360 fills 56 % of a 640 x 640 input; the rest is grey. The network is convolutions and one encoder
layer over the coarsest feature map, so it runs on a part of the input as well, if that is cut along the cells of that
map and two kinds of constants are cut with it: the encoder's position codes, and the anchors' centres and strides.
What remains keeps its place, so coordinates stay those of the whole input.

The answer is not that of the whole input: convolutions meet zeros where there was grey, and the encoder attends to
fewer cells. docs/models.md says how much that alters.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.errors import FightposeError

STRIDES = (16, 32)
"""Input pixels per cell of RTMO's two levels of anchors, in the order in which files list them."""


class Cut(NamedTuple):
    """Cells of the coarser level that are left out on each side: the padding is the same on opposite sides."""

    rows: int
    columns: int


NOTHING = Cut(0, 0)


def cut_input(model: Any, size: tuple[int, int], cut: Cut, path: Path) -> None:
    """Make an OpenVINO model take a part of its input; what it gives stays in pixels of the whole input.

    Parameters
    ----------
    model
        As read from a file that `export_model` wrote; altered in place.
    size
        (height, width) of the whole input, pixels.
    cut
        What is left out.
    path
        The file, for errors.

    Raises
    ------
    FightposeError
        If the model is of another form.
    """
    import openvino

    tables, whole = 0, sum(int(np.prod(_grid(size, stride))) for stride in STRIDES)
    fits = True
    for node in model.get_ops():
        if node.get_type_name() != "Constant":
            continue
        # Constants have no reliable names: one that only Reshape reads is a shape, any other a table.
        users = {user.get_node().get_type_name() for user in node.output(0).get_target_inputs()}
        data = node.get_data()
        new = _cut_shape(data, size, cut) if users == {"Reshape"} else _cut_table(data, size, cut)
        if new is None:
            # A table of another form, which would go on naming the cells of the whole input.
            fits = fits and whole not in data.shape
            continue
        tables += data.ndim > 1
        constant = openvino.opset13.constant(np.ascontiguousarray(new))
        node.output(0).replace(constant.output(0))
    height, width = _kept(size, cut)
    # Before the shapes are worked out again: with the old input the new constants fit nowhere.
    model.get_parameters()[0].set_partial_shape(openvino.PartialShape([1, 3, height, width]))
    try:
        model.validate_nodes_and_infer_types()
        # Position codes, centres and strides: with fewer tables it is another kind of file.
        fits = fits and tables >= 3
    except RuntimeError:
        fits = False
    if not fits:
        raise FightposeError(
            f"{path} takes its whole input only; make one with `fightpose export-model`, or use --input-shape square"
        )


def _kept(size: tuple[int, int], cut: Cut) -> tuple[int, int]:
    """Return the (height, width) of what remains, pixels."""
    return size[0] - 2 * cut.rows * STRIDES[-1], size[1] - 2 * cut.columns * STRIDES[-1]


def _grid(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return the rows and columns of a level's cells."""
    return size[0] // stride, size[1] // stride


def _cells(size: tuple[int, int], cut: Cut) -> Iterator[npt.NDArray[np.int64]]:
    """Yield for each level the numbers of the cells that remain, in reading order."""
    for stride in STRIDES:
        rows, columns = _grid(size, stride)
        top, left = (out * STRIDES[-1] // stride for out in cut)
        yield np.arange(rows * columns).reshape(rows, columns)[top : rows - top, left : columns - left].ravel()


def _cut_table(data: npt.NDArray[Any], size: tuple[int, int], cut: Cut) -> npt.NDArray[Any] | None:
    """Return what remains of a table with one entry per cell, None where it is none.

    Position codes are (1, cells of the coarser level, C), centres and strides (cells of all levels, 2 or 1).
    """
    fine, coarse = _cells(size, cut)
    rows, columns = _grid(size, STRIDES[-1])
    if data.ndim == 3 and data.shape[:2] == (1, rows * columns):
        return data[:, coarse]
    # Tables over both levels begin with the cells of the finer one.
    before = int(np.prod(_grid(size, STRIDES[0])))
    if data.ndim == 2 and data.shape[1] <= 2 and len(data) == before + rows * columns:
        return data[np.concatenate([fine, before + coarse])]
    return None


def _cut_shape(data: npt.NDArray[Any], size: tuple[int, int], cut: Cut) -> npt.NDArray[Any] | None:
    """Return a target shape with the number of cells, or the rows and columns, that remain; None where it has none."""
    whole, part = _grid(size, STRIDES[-1]), _grid(_kept(size, cut), STRIDES[-1])
    if data.ndim == 1 and len(data) > 2 and tuple(data[-2:]) == whole:
        return np.array([*data[:-2], *part], data.dtype)
    if data.ndim == 1 and np.prod(whole) in data:
        return np.where(data == np.prod(whole), np.prod(part), data)
    return None
