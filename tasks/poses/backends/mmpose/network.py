"""RTMO of mmpose as one function from images to people's rows, for running in torch and for export.

mmpose's own `predict` walks through the images of a batch one by one, thresholds and suppresses in Python loops, and
only then turns the pose vectors of the survivors into keypoints. Here all of that is one pass over the batch, in the
same order: a person fires about ten anchors, and the keypoints of one cost about .7 ms of a CPU core. The result is the
same (see the tests). Thresholds of the settings come later, in numpy, the same for every runtime.

This module imports torch at its top: import it only where a torch model is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tasks.core.skeleton import NUM_KEYPOINTS

MAX_CANDIDATES = 300
"""At most so many anchors per image go on to NMS, the best ones."""


class ExportableNms(torch.autograd.Function):
    """Greedy NMS over a batch: in torch without a loop over boxes, in an exported file as ONNX's own operator."""

    @staticmethod
    def forward(_context: Any, boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
        """Return which boxes stay, (B, K) bool.

        Parameters
        ----------
        boxes
            (B, K, 4) as x1, y1, x2, y2, best first.
        scores
            (B, K), for the operator of the exported file.
        threshold
            IoU above which the lower-scored of two boxes goes.
        """
        area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
        low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
        high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
        common = (high - low).clamp(min=0).prod(-1)
        union = area[:, :, None] + area[:, None] - common
        # Of two boxes the first one scores more: [i, j] is whether i drops j, if i itself stays.
        drops = (common > threshold * union).triu(diagonal=1)
        stays = torch.ones_like(scores, dtype=torch.bool)
        # After n rounds the fate of all boxes is settled that hang on a chain of at most n others; chains are short.
        while True:
            before, stays = stays, ~(drops & stays[:, :, None]).any(dim=1)
            if torch.equal(before, stays):
                return stays

    @staticmethod
    def symbolic(graph: Any, boxes: Any, scores: Any, threshold: float) -> Any:
        """Write the operator into the exported file."""

        def constant(value: Any, dtype: torch.dtype) -> Any:
            """Return a constant of the graph."""
            return graph.op("Constant", value_t=torch.tensor(value, dtype=dtype))

        first = constant([1], torch.int64)
        chosen = graph.op(
            "NonMaxSuppression",
            boxes,
            graph.op("Unsqueeze", scores, first),
            constant([MAX_CANDIDATES], torch.int64),
            constant([threshold], torch.float32),
        )
        # Rows of (image, class, box); there is one class.
        places = graph.op("Gather", chosen, constant([0, 2], torch.int64), axis_i=1)
        nothing = graph.op("Mul", scores, constant(0.0, torch.float32))
        count = graph.op("Gather", graph.op("Shape", places), constant([0], torch.int64), axis_i=0)
        ones = graph.op("Expand", constant([1.0], torch.float32), count)
        return graph.op("Cast", graph.op("ScatterND", nothing, places, ones), to_i=9)


class RtmoNetwork(nn.Module):
    """From a batch of images to the people of each.

    Parameters
    ----------
    model
        mmpose's `BottomupPoseEstimator` with an `RTMOHead`, in evaluation mode.
    input_size
        (height, width) of the input, pixels.
    score_floor
        Anchors that do not score above this are nobody: their keypoints are not worked out.
    overlap
        IoU above which the lower-scored of two boxes is the same person: mmpose's `nms_thr`.
    """

    def __init__(self, model: Any, input_size: tuple[int, int], score_floor: float, overlap: float) -> None:
        super().__init__()
        self.model = model
        self.input_size = input_size
        self.score_floor = score_floor
        self.overlap = overlap
        head = model.head
        before = model.data_preprocessor
        self._swap_channels = bool(before._channel_conversion)
        self._normalize = bool(before._enable_normalize)
        sizes = [(input_size[0] // stride, input_size[1] // stride) for stride in head.featmap_strides]
        centres = head.prior_generator.grid_priors(sizes, dtype=torch.float32, device="cpu")
        strides = [torch.full((len(level),), float(s)) for level, s in zip(centres, head.featmap_strides, strict=True)]
        # Buffers, so that they move with the module and become constants of an exported file.
        self.register_buffer("centres", torch.cat(centres), persistent=False)
        self.register_buffer("strides", torch.cat(strides), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the people of each image.

        Parameters
        ----------
        images
            (B, 3, H, W) float, BGR 0-255, letterboxed.

        Returns
        -------
        dets (B, K, 5) as x1, y1, x2, y2, score and keypoints (B, K, 17, 3) as x, y, score, in input pixels, best first.
        K is the largest number of people among the images; what others have beyond their own scores 0.
        """
        head = self.model.head
        scores, boxes, visible, vectors = self._anchors(self.model.extract_feat(self._prepared(images)))
        best, rows = _best_anchors(scores)
        stays = ExportableNms.apply(_taken(boxes, rows), best, self.overlap) & (best > self.score_floor)
        best, order = by_score(torch.where(stays, best, 0.0))
        # At least one row: an empty tensor would be a special case in every runtime.
        count = stays.sum(dim=1).max().clamp(min=1)
        best, rows = best[:, :count], rows.gather(1, order[:, :count])
        boxes, visible, vectors = (_taken(values, rows) for values in (boxes, visible, vectors))
        centres = self.centres[rows.flatten()]
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        extent = (boxes[..., 2:] - boxes[..., :2]) * head.bbox_padding
        pose_boxes = torch.cat([middle, extent], dim=-1).flatten(0, 1)
        points = head.dcc.forward_test(vectors.flatten(0, 1), pose_boxes, centres)
        points = points.reshape(rows.shape[0], -1, NUM_KEYPOINTS, 2)
        dets = torch.cat([boxes, best[..., None]], dim=-1)
        return dets.float(), torch.cat([points, visible[..., None]], dim=-1).float()

    def _prepared(self, images: Tensor) -> Tensor:
        """Return the images with the mean, deviation and channel order that the config asks for (RTMO's: none)."""
        if self._swap_channels:
            images = images.flip(1)
        before = self.model.data_preprocessor
        return (images - before.mean) / before.std if self._normalize else images

    def _anchors(self, features: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return per anchor its score (B, A), box (B, A, 4) in input pixels, joint scores (B, A, 17), pose vector."""
        classes, boxes, _, visible, vectors = self.model.head(features)
        # Coordinates need float32: half precision is coarser than half a pixel above 512.
        raw = _flat(boxes).float()
        middle = raw[..., :2] * self.strides[:, None] + self.centres
        extent = raw[..., 2:].exp() * self.strides[:, None]
        decoded = torch.cat([middle - extent / 2, middle + extent / 2], dim=-1)
        scores = _flat(classes).float().sigmoid().amax(dim=-1)
        return scores, decoded, _flat(visible).float().sigmoid(), _flat(vectors)


def _flat(levels: Any) -> Tensor:
    """Join the feature levels: each (B, C, H, W) to (B, sum of H x W, C)."""
    return torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels], dim=1)


def _best_anchors(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores and places of the best anchors of each image, best first, both (B, K)."""
    best, rows = by_score(scores)
    return best[:, :MAX_CANDIDATES], rows[:, :MAX_CANDIDATES]


def by_score(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores (B, A) in falling order with their places; of equal scores the first anchor comes first.

    As mmpose has it. Scores near 1 are equal to the last bit, and which of two such boxes stays decides about others.
    """
    if torch.onnx.is_in_onnx_export():
        # ONNX's TopK keeps equal values in their order, torch's does not, and its stable sort has no ONNX form.
        return scores.topk(min(MAX_CANDIDATES, scores.shape[1]), dim=1)
    return scores.sort(dim=1, descending=True, stable=True)


def _taken(values: Tensor, rows: Tensor) -> Tensor:
    """Return of (B, A, C) the rows (B, K) of each image, (B, K, C)."""
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[-1]))
