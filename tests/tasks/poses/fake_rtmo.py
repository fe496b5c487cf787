"""A tiny .onnx file with RTMO's inputs and outputs, whose one person stands where the image is reddest.

It looks only at the last channel (red, when the image comes as BGR), so that it tells whether size, padding, channel
order and the way back to pixels are right, without weights.
"""

from pathlib import Path

import numpy as np
import pytest

HALF_WIDTH, HALF_HEIGHT = 6.0, 10.0
"""The person's box reaches so far from the reddest pixel, input pixels."""


def save_fake_rtmo(path: Path, size: tuple[int, int] = (64, 64), dynamic: bool = False) -> Path:
    """Write the file; with `dynamic`, batch, height and width are left open, as some exporters do."""
    onnx = pytest.importorskip("onnx", reason="pip install -e .[dev]")
    from onnx import TensorProto, helper, numpy_helper

    box = np.array([-HALF_WIDTH, -HALF_HEIGHT, HALF_WIDTH, HALF_HEIGHT], np.float32)
    # Joints in a column through the reddest pixel, nose at the top.
    joints = np.stack([np.zeros(17), np.linspace(-8, 8, 17)], axis=1).astype(np.float32)
    constants: dict[str, np.ndarray] = {
        "red": np.array(2, np.int64),
        "grey": np.array(114, np.float32),
        "range": np.array(141, np.float32),
        "cell": np.ones(3, np.int64),
        "twice": np.tile(np.eye(2, dtype=np.float32), 2),
        "box": np.tile(box, (1, 3, 1)),
        "joints": np.tile(joints, (1, 3, 1, 1)),
        "joint_scores": np.full((1, 3, 17, 1), 0.9, np.float32),
        # The person, the same person again with half the score, and zeros as OpenMMLab's files give for nobody.
        "real": np.array([[[1], [1], [0]]], np.float32),
        "worth": np.array([[[1], [0.5], [0]]], np.float32),
        "axis": np.array([2], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["input", "red"], ["channel"], axis=1),
        node("ReduceMax", ["channel"], ["columns"], axes=[1], keepdims=0),
        node("ReduceMax", ["channel"], ["rows"], axes=[2], keepdims=0),
        node("ArgMax", ["columns"], ["x"], axis=1, keepdims=0),
        node("ArgMax", ["rows"], ["y"], axis=1, keepdims=0),
        node("Reshape", ["x", "cell"], ["x3"]),
        node("Reshape", ["y", "cell"], ["y3"]),
        node("Concat", ["x3", "y3"], ["point_index"], axis=2),
        node("Cast", ["point_index"], ["point"], to=TensorProto.FLOAT),
        node("MatMul", ["point", "twice"], ["corners"]),
        node("Add", ["corners", "box"], ["boxes"]),
        node("Mul", ["boxes", "real"], ["real_boxes"]),
        node("ReduceMax", ["columns"], ["peak"], axes=[1], keepdims=0),
        node("Sub", ["peak", "grey"], ["above"]),
        node("Div", ["above", "range"], ["share"]),
        node("Reshape", ["share", "cell"], ["score"]),
        node("Mul", ["score", "worth"], ["scores"]),
        node("Concat", ["real_boxes", "scores"], ["dets"], axis=2),
        node("Unsqueeze", ["point", "axis"], ["point4"]),
        node("Add", ["point4", "joints"], ["joints_xy"]),
        node("Concat", ["joints_xy", "joint_scores"], ["keypoints"], axis=3),
    ]
    shape: list[str | int | None] = ["batch", 3, "height", "width"] if dynamic else [1, 3, *size]
    graph = helper.make_graph(
        nodes,
        "fake-rtmo",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("dets", TensorProto.FLOAT, [1, 3, 5]),
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, [1, 3, 17, 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def save_cell_rtmo(path: Path, size: int = 128, tables: bool = True) -> Path:
    """Write a file whose one person stands in the reddest cell, by tables of one entry per cell as exported files have.

    Without `tables`, centres and strides have another form, as another exporter could write them.
    """
    onnx = pytest.importorskip("onnx", reason="pip install -e .[dev]")
    from onnx import TensorProto, helper, numpy_helper

    coarse = size // 32
    cells = [(x * s + s / 2, y * s + s / 2, s) for s in (16, 32) for y in range(size // s) for x in range(size // s)]
    entries = np.array(cells, np.float32)
    lead = () if tables else (1,)
    constants: dict[str, np.ndarray] = {
        "red": np.array([2], np.int64),
        "flat": np.array([1, -1], np.int64),
        "tokens": np.array([1, coarse * coarse, 1], np.int64),
        "map": np.array([1, 1, coarse, coarse], np.int64),
        "codes": np.zeros((1, coarse * coarse, 1), np.float32),
        # The finer level is the surer one.
        "less": np.array(0.9, np.float32),
        "centres": entries[:, :2].reshape(*lead, -1, 2),
        "strides": entries[:, 2:].reshape(*lead, -1, 1),
        "half": np.array(0.5, np.float32),
        "white": np.array(255, np.float32),
        "dets_shape": np.array([1, 1, 5], np.int64),
        "joints_shape": np.array([1, 1, 17, 3], np.int64),
        "pair": np.array([1, 2], np.int64),
        "single": np.array([1, 1], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["input", "red"], ["channel"], axis=1),
        node("MaxPool", ["channel"], ["fine_map"], kernel_shape=[16, 16], strides=[16, 16]),
        node("Reshape", ["fine_map", "flat"], ["fine"]),
        node("MaxPool", ["channel"], ["coarse_map"], kernel_shape=[32, 32], strides=[32, 32]),
        node("Reshape", ["coarse_map", "tokens"], ["bare"]),
        node("Add", ["bare", "codes"], ["coded"]),
        node("Reshape", ["coded", "map"], ["back"]),
        node("Reshape", ["back", "flat"], ["coarse_all"]),
        node("Mul", ["coarse_all", "less"], ["coarse"]),
        node("Concat", ["fine", "coarse"], ["all"], axis=1),
        node("ArgMax", ["all"], ["best"], axis=1, keepdims=0),
        node("Gather", ["centres", "best"], ["centre_any"], axis=len(lead)),
        node("Gather", ["strides", "best"], ["stride_any"], axis=len(lead)),
        node("Reshape", ["centre_any", "pair"], ["centre"]),
        node("Reshape", ["stride_any", "single"], ["stride"]),
        node("Mul", ["stride", "half"], ["reach"]),
        node("Sub", ["centre", "reach"], ["low"]),
        node("Add", ["centre", "reach"], ["high"]),
        node("ReduceMax", ["all"], ["peak"], axes=[1], keepdims=1),
        node("Div", ["peak", "white"], ["score"]),
        node("Concat", ["low", "high", "score"], ["row"], axis=1),
        node("Reshape", ["row", "dets_shape"], ["dets"]),
        node("Concat", ["centre", "score"], ["joint"], axis=1),
        node("Expand", ["joint", "joints_shape"], ["keypoints"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cell-rtmo",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size, size])],
        [
            helper.make_tensor_value_info("dets", TensorProto.FLOAT, [1, 1, 5]),
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, [1, 1, 17, 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def save_no_rtmo(path: Path) -> Path:
    """Write a valid .onnx file that is no RTMO: an image in, a class score out."""
    onnx = pytest.importorskip("onnx", reason="pip install -e .[dev]")
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["input"], ["scores"])],
        "classifier",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3, 1, 1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
