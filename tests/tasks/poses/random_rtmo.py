"""RTMO checkpoints with random weights that behave like a model: spread scores, person-sized boxes, joints inside.

The published weights cannot be fetched everywhere. With random weights alone every activation dies out or explodes;
here batch norm is calibrated on noise pictures, and the biases of the output layers are set so that some dozens of
anchors pass mmpose's threshold. Such a model finds no people, but its arithmetic is exercised in the range of a real
one, which is what comparing two ways of running it needs.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def shipped_config(name: str) -> Path:
    """Return one of the RTMO configs that the mmpose wheel ships, by the beginning of its name (`rtmo-t`)."""
    import mmpose

    folder = Path(mmpose.__file__).parent / ".mim/configs/body_2d_keypoint/rtmo/body7"
    return next(folder.glob(f"{name}_*.py"))


def pictures(count: int, width: int = 320, height: int = 240, seed: int = 0) -> list[np.ndarray]:
    """Return (H, W, 3) uint8 pictures of smooth blobs, different in each."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 9, 12, 3), np.uint8)
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in coarse]


def save_random_checkpoint(
    config: Path, path: Path, candidates: int = 30, images: Sequence[np.ndarray] | None = None
) -> Path:
    """Write a checkpoint for an RTMO config, of which about so many anchors per picture score above .1.

    Calibrated on some (H, W, 3) uint8 images, or on `pictures`: on others it may fire far more often, or never.
    """
    import torch
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from tasks.poses.backends.mmpose.compat import importable_mmpose
    from tasks.poses.backends.rtmo_input import Fit

    torch.manual_seed(0)
    with importable_mmpose(), DefaultScope.overwrite_default_scope("mmpose"):
        from mmpose.models import build_pose_estimator

        settings = Config.fromfile(str(config))
        settings.model.train_cfg = None
        model = build_pose_estimator(settings.model)
    width, height = settings.model.test_cfg.input_size
    warped = [Fit.of((image.shape[1], image.shape[0]), (width, height)).warp(image) for image in images or pictures(4)]
    batch = torch.from_numpy(np.stack(warped)).permute(0, 3, 1, 2).float()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.momentum = None  # a plain average over the pictures
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    head = model.head
    with torch.no_grad():
        model.train()
        for _ in range(2):
            classes, _, _, _, vectors = head(model.extract_feat(batch))
            flat = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in vectors])
            head.dcc.pose_to_kpts(flat)
        model.eval()
        classes, boxes, _, visible, _ = head(model.extract_feat(batch))
        for level, (out_class, out_box) in enumerate(
            zip(head.head_module.out_cls, head.head_module.out_bbox, strict=True)
        ):
            # Logits with deviation 1.5, so that scores differ by more than float error.
            out_class.weight *= 1.5 / classes[level].std()
            # Boxes of about 2 x 5 cells, whose size varies little: a box larger than the frame magnifies float error.
            for channel, (deviation, mean) in enumerate([(0.5, 0), (0.5, 0), (0.1, 1.0), (0.1, 1.8)]):
                out_box.weight[channel] *= deviation / boxes[level][:, channel].std()
                out_box.bias[channel] += mean
            head.head_module.out_kpt_vis[level].weight *= 1.5 / visible[level].std()
        # Heatmaps of random weights are so steep that float error decides between their peaks; a real one has one peak.
        some = flat[torch.randperm(len(flat))[:200]]
        place = torch.tensor([[width / 2, height / 2, 60, 150]]).expand(len(some), 4)
        encoded = head.dcc._get_bin_enc(place, place[:, :2])
        maps = head.dcc._pose_feats_to_heatmaps(some, *encoded)
        for layer, heatmap in zip((head.dcc.x_fc, head.dcc.y_fc), maps, strict=True):
            layer.weight *= 1.5 / heatmap.std(dim=-1).amax()
        classes = head(model.extract_feat(batch))[0]
        logits = torch.cat([level.flatten(1) for level in classes], dim=1)
        limit = logits.topk(candidates, dim=1).values[:, -1].mean()
        for out_class in head.head_module.out_cls:
            out_class.bias += float(np.log(0.1 / 0.9)) - limit
    # As OpenMMLab's files: numpy objects in the meta.
    meta = {"dataset_meta": {"sigmas": np.full(17, 0.05, np.float32)}, "epoch": np.int64(1)}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, path)
    return path
