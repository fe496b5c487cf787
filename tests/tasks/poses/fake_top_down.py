"""Tiny .onnx files with the inputs and outputs of top-down models' parts, which see nothing but red.

The detectors find a person wherever a cell of 8 input pixels is red, the pose networks put all joints on the reddest
pixel of the crop: so size, padding, channel order, normalisation and the way back to pixels can be told right.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.poses.backends.top_down import MEAN, PAD_VALUE, SPREAD

SIDE = 64
"""Input side of the detectors, pixels."""

PERSON = (16.0, 32.0)
"""Width and height of every box, input pixels."""

CELLS = (SIDE // 8) ** 2


def save(path: Path, nodes: list[Any], constants: dict[str, Any], inputs: Any, outputs: list[Any]) -> Path:
    """Write a graph of `nodes`; inputs and outputs are (name, type, shape)."""
    onnx = pytest.importorskip("onnx", reason="pip install -e .[dev]")
    from onnx import helper, numpy_helper

    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        path.stem,
        [info(*inputs)],
        [info(*output) for output in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def save_detector(path: Path, raw: bool = True, normalised: bool = False) -> Path:
    """Write a detector: YOLOX's raw grid, or `dets` and `labels`, whose right half is no person (label 1)."""
    pytest.importorskip("onnx", reason="pip install -e .[dev]")
    from onnx import TensorProto, helper

    node, number = helper.make_node, TensorProto.FLOAT
    # The grey beside the frame must be nothing, full red 1.
    grey, red = (
        (PAD_VALUE, 255.0) if not normalised else ((np.array([PAD_VALUE, 255.0]) - MEAN[0]) / SPREAD[0]).tolist()
    )
    column, row = np.meshgrid(np.arange(SIDE // 8), np.arange(SIDE // 8))
    centre = np.stack([column.ravel(), row.ravel()], axis=1) * 8.0 + 4
    half = np.array(PERSON) / 2
    constants: dict[str, Any] = {
        "red": np.array([2], np.int64),
        "grey": np.float32(grey),
        "range": np.float32(red - grey),
        "cells": np.array([1, CELLS, 1], np.int64),
        "boxes": np.concatenate([centre - half, centre + half], axis=1)[None].astype(np.float32),
    }
    nodes = [
        node("Gather", ["input", "red"], ["channel"], axis=1),
        node("MaxPool", ["channel"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Sub", ["pooled", "grey"], ["above"]),
        node("Div", ["above", "range"], ["share"]),
        node("Relu", ["share"], ["positive"]),
        node("Reshape", ["positive", "cells"], ["score"]),
    ]
    if not raw:
        constants["labels"] = (centre[None, :, 0] >= SIDE / 2).astype(np.int64)
        nodes += [node("Concat", ["boxes", "score"], ["dets"], axis=2), node("Identity", ["labels"], ["kinds"])]
        outputs = [("dets", number, [1, CELLS, 5]), ("kinds", TensorProto.INT64, [1, CELLS])]
    else:
        # Half a cell from its corner, and the logarithm of the size in cells; coarser grids see nobody.
        cells = CELLS + (SIDE // 16) ** 2 + (SIDE // 32) ** 2
        constants["place"] = np.tile(np.float32([0.5, 0.5, *np.log(np.array(PERSON) / 8)]), (1, cells, 1))
        constants["nobody"] = np.zeros((1, cells - CELLS, 1), np.float32)
        constants["person"] = np.ones((1, cells, 1), np.float32)
        nodes += [
            node("Concat", ["score", "nobody"], ["objectness"], axis=1),
            node("Concat", ["place", "objectness", "person"], ["output"], axis=2),
        ]
        outputs = [("output", number, [1, cells, 6])]
    return save(path, nodes, constants, ("input", number, [1, 3, SIDE, SIDE]), outputs)


def save_movenet(path: Path, side: int = 32) -> Path:
    """Write a single-pose MoveNet."""
    pytest.importorskip("onnx", reason="pip install -e .[dev]")
    from onnx import TensorProto, helper

    node = helper.make_node
    constants: dict[str, Any] = {
        "red": np.array(0, np.int64),
        "half": np.float32(0.5),
        "side": np.float32(side),
        "one": np.array([1, 1, 1, 1], np.int64),
        "score": np.full((1, 1, 1, 1), 0.9, np.float32),
        "joints": np.array([1, 1, 17, 1], np.int64),
    }
    nodes = [
        node("Cast", ["input"], ["image"], to=TensorProto.FLOAT),
        node("Gather", ["image", "red"], ["channel"], axis=3),
        node("ReduceMax", ["channel"], ["rows"], axes=[2], keepdims=0),
        node("ReduceMax", ["channel"], ["columns"], axes=[1], keepdims=0),
    ]
    for name, source in (("y", "rows"), ("x", "columns")):
        nodes += [
            node("ArgMax", [source], [f"{name}i"], axis=1, keepdims=0),
            node("Cast", [f"{name}i"], [f"{name}f"], to=TensorProto.FLOAT),
            node("Add", [f"{name}f", "half"], [f"{name}c"]),
            node("Div", [f"{name}c", "side"], [f"{name}r"]),
            node("Reshape", [f"{name}r", "one"], [name]),
        ]
    nodes += [
        node("Concat", ["y", "x", "score"], ["joint"], axis=3),
        node("Tile", ["joint", "joints"], ["output"]),
    ]
    outputs = [("output", TensorProto.FLOAT, [1, 1, 17, 3])]
    return save(path, nodes, constants, ("input", TensorProto.INT32, [1, side, side, 3]), outputs)


def save_rtmpose(path: Path, height: int = 32, width: int = 24, batch: int | str = "batch") -> Path:
    """Write an RTMPose with two SimCC bins per input pixel."""
    pytest.importorskip("onnx", reason="pip install -e .[dev]")
    from onnx import TensorProto, helper

    node, number = helper.make_node, TensorProto.FLOAT
    constants: dict[str, Any] = {
        "red": np.array(0, np.int64),
        "last": np.array([2], np.int64),
        "flat": np.array([0, -1], np.int64),
        "one": np.array([1], np.int64),
        "joints": np.array([1, 17, 1], np.int64),
        # Full red, normalised, becomes a score of .9.
        "peak": np.float32((255 - MEAN[0]) / SPREAD[0] / 0.9),
    }
    nodes = [
        node("Gather", ["input", "red"], ["channel"], axis=1),
        node("Div", ["channel", "peak"], ["scaled"]),
        node("ReduceMax", ["scaled"], ["columns"], axes=[1], keepdims=0),
        node("ReduceMax", ["scaled"], ["rows"], axes=[2], keepdims=0),
    ]
    for name, source in (("simcc_x", "columns"), ("simcc_y", "rows")):
        nodes += [
            node("Unsqueeze", [source, "last"], [f"{name}1"]),
            node("Concat", [f"{name}1", f"{name}1"], [f"{name}2"], axis=2),
            node("Reshape", [f"{name}2", "flat"], [f"{name}3"]),
            node("Unsqueeze", [f"{name}3", "one"], [f"{name}4"]),
            node("Tile", [f"{name}4", "joints"], [name]),
        ]
    outputs = [("simcc_x", number, [batch, 17, 2 * width]), ("simcc_y", number, [batch, 17, 2 * height])]
    return save(path, nodes, constants, ("input", number, [batch, 3, height, width]), outputs)


def save_top_down(folder: Path, detector: str = "yolox", pose: str = "movenet", raw: bool = True) -> Path:
    """Write both parts and the JSON file that names them; return the JSON file."""
    save_detector(folder / "detector.onnx", raw, normalised=detector == "rtmdet")
    (save_movenet if pose == "movenet" else save_rtmpose)(folder / "pose.onnx")
    path = folder / "people.json"
    parts = {"detector": {"file": "detector.onnx", "kind": detector}, "pose": {"file": "pose.onnx", "kind": pose}}
    path.write_text(json.dumps(parts))
    return path
