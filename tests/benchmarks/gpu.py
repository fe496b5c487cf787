"""RTMO in torch on a CUDA GPU: the network over batch sizes beside its roofline, and short clips from end to end.

    make bench-gpu                                   (fetches or takes along what a machine with torch lacks)
    python -m tests.benchmarks.gpu [--model rtmo-s] [--config C --checkpoint P] [--device cuda:0] [--json FILE]

- `model`: frames/s of the network alone, images lying on the GPU; per batch size.
- `detect`: frames/s from frames in memory to people: letterbox, copy, network, copy back, decoding. One process.
- `roofline`: the least time per frame that the GPU's measured peaks allow: FLOPs of all products over the rate of a
  large fp16 matrix product, or the bytes that every layer must read and write once over the rate of a device copy,
  whichever is longer. Nothing is fused in the count of bytes, so that fusing layers can beat that line.
- `end_to_end`: frames/s of pose extraction from two-second clips of 640x360, by number of processes that share the GPU:
  while one decodes or is between two clips, another one's batches keep the GPU busy, and each clip stays a unit of its
  own. That is what `--mode parallel` does.

The weights are random unless a checkpoint is named: speeds do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
PROCESSES = (1, 2, 4, 8, 12)
SECONDS = 6.0
"""Length of each end-to-end measurement."""

CLIPS, CLIP_FRAMES, CLIP_SIZE = 24, 50, (640, 360)
BUDGET_S = 440.0
"""No further part is begun after this, so that the whole stays below eight minutes."""


def counted(network: Any, images: Any) -> dict[str, float]:
    """Return the FLOPs of one image and the bytes that its layers read and write, in half precision.

    A multiplication and an addition are two operations, as in the peaks that makers state. Bytes are those of every
    leaf layer's inputs, outputs and weights, once each.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    moved = {"activations": 0, "weights": 0}

    def note(module: Any, inputs: Any, output: Any) -> None:
        """Add what one layer reads and writes."""
        tensors = [t for t in (*inputs, *(output if isinstance(output, tuple) else (output,))) if torch.is_tensor(t)]
        moved["activations"] += 2 * sum(tensor.numel() for tensor in tensors)
        moved["weights"] += 2 * sum(weight.numel() for weight in module.parameters())

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(images)
    for hook in hooks:
        hook.remove()
    count = len(images)
    return {
        "flops": counter.get_total_flops() / count,
        "activation_bytes": moved["activations"] / count,
        "weight_bytes": float(moved["weights"]),
    }


def roofline(cost: dict[str, float], peaks: dict[str, float], batch: int) -> float:
    """Return the most frames/s that the peaks allow for a batch size."""
    by_products = cost["flops"] / peaks["flops_per_s"]
    by_memory = (cost["activation_bytes"] + cost["weight_bytes"] / batch) / peaks["bytes_per_s"]
    return 1 / max(by_products, by_memory)


def peaks_of(device: Any) -> dict[str, float]:
    """Measure what the GPU reaches in a large fp16 matrix product and in a copy (bytes read and written)."""
    import torch

    side = 8192
    first = torch.randn(side, side, device=device, dtype=torch.float16)
    source = torch.empty(1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {
        "flops_per_s": 2 * side**3 / _seconds(lambda: first @ first, device, 20),
        "bytes_per_s": 2 * source.numel() / _seconds(lambda: target.copy_(source), device, 20),
    }


def _seconds(work: Any, device: Any, times: int) -> float:
    """Return the seconds of one call, over several after a few to warm up."""
    import torch

    for phase in (3, times):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(phase):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / times


def model_rates(model: Any, device: Any, batches: tuple[int, ...], times: int) -> dict[int, float]:
    """Return frames/s of the network alone, in the precision and layout of the backend, by batch size."""
    import torch

    height, width = model.network.input_size
    half = device.type == "cuda"
    rates = {}
    for batch in batches:
        images = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, device=device)

        def once(images: Any = images) -> None:
            """Run the network on images that lie on the device."""
            with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
                model.network(images.permute(0, 3, 1, 2).float())

        try:
            rates[batch] = batch / _seconds(once, device, times)
        except torch.OutOfMemoryError:
            break
    return rates


def detect_rate(model: Any, times: int) -> float:
    """Return frames/s from frames in memory to people, in one process."""
    import torch

    random = np.random.default_rng(0)
    frames = list(random.integers(0, 256, (model.batch_size, CLIP_SIZE[1], CLIP_SIZE[0], 3), np.uint8))
    return len(frames) / _seconds(lambda: model.detect(frames), torch.device("cpu"), times)


def write_clips(folder: Path, count: int) -> list[Path]:
    """Write short clips of moving pictures."""
    from tasks.video.writing import VideoWriter
    from tests.tasks.poses.random_rtmo import pictures

    paths = [folder / f"clip{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        start, end = pictures(2, *CLIP_SIZE, seed=number)
        with VideoWriter(path, 25.0, CLIP_SIZE) as writer:
            for share in np.linspace(0, 1, CLIP_FRAMES):
                writer.write(((1 - share) * start + share * end).astype(np.uint8))
    return paths


def serve(job: dict[str, Any], pipe: Any) -> None:
    """Load the model in this process, then extract poses from clip after clip for as long as asked, again and again."""
    import cv2
    import torch

    from tasks.core.choices import SecondLook
    from tasks.core.settings import PoseSettings
    from tasks.poses import extract_poses, load_model
    from tasks.video.reading import probe_video

    # Several processes share the cores.
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    model = load_model("", job["device"], job["config"], job["checkpoint"])
    settings = PoseSettings(score_thr=0.3, nms_thr=0.35, second_look=SecondLook.OFF)
    clips = job["clips"]
    extract_poses(probe_video(clips[0]), model, settings)
    pipe.send("ready")
    while (seconds := pipe.recv()) is not None:
        end = time.monotonic() + seconds
        frames = turn = 0
        while time.monotonic() < end:
            frames += extract_poses(probe_video(clips[turn % len(clips)]), model, settings).frame_count
            turn += 1
        pipe.send(frames)


def end_to_end(job: dict[str, Any], processes: tuple[int, ...], seconds: float, deadline: float) -> dict[int, float]:
    """Return frames/s of pose extraction by number of processes that share the device."""
    context = multiprocessing.get_context("spawn")
    workers = []
    for _ in range(max(processes)):
        pipe, theirs = context.Pipe()
        process = context.Process(target=serve, args=(job, theirs), daemon=True)
        process.start()
        # Held by the process alone: if it dies, recv() raises in place of waiting for ever.
        theirs.close()
        workers.append((process, pipe))
    for _, pipe in workers:
        pipe.recv()
    rates = {}
    for count in processes:
        if time.monotonic() > deadline:
            break
        start = time.perf_counter()
        for _, pipe in workers[:count]:
            pipe.send(seconds)
        frames = sum(pipe.recv() for _, pipe in workers[:count])
        rates[count] = frames / (time.perf_counter() - start)
    for process, pipe in workers:
        pipe.send(None)
        process.join()
    return rates


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all parts, printing each as it is done."""
    import torch

    from tasks.poses.backends.mmpose.files import shipped_config
    from tasks.poses.backends.mmpose.model import MmposeRtmo, usable_device
    from tests.tasks.poses.random_rtmo import save_random_checkpoint

    deadline = time.monotonic() + BUDGET_S
    device = usable_device(options.device)
    cuda = device.type == "cuda"
    config = options.config or shipped_config(options.model)
    checkpoint = options.checkpoint or save_random_checkpoint(config, folder / f"{options.model}.pth")
    name = torch.cuda.get_device_name(device) if cuda else "cpu"
    result: dict[str, Any] = {"device": name, "torch": torch.__version__, "model": config.stem, "half": cuda}

    def done(part: str, value: Any) -> None:
        """Keep and show a part, so that a run that is cut short has told what it knows."""
        result[part] = value
        sys.stdout.write(f"{part}: {json.dumps(value)}\n")
        sys.stdout.flush()
        if options.json:
            options.json.write_text(json.dumps(result, indent=1) + "\n")

    model = MmposeRtmo(config, checkpoint, options.device, half=cuda)
    height, width = model.network.input_size
    done("cost", counted(model.network, torch.zeros(1, 3, height, width, device=device)))
    batches = BATCHES if cuda else BATCHES[:1]
    rates = model_rates(model, device, batches, 30 if cuda else 1)
    done("model", rates)
    done("detect", detect_rate(model, 20 if cuda else 1))
    if cuda:
        peaks = peaks_of(device)
        done("peaks", peaks)
        done("roofline", {batch: roofline(result["cost"], peaks, batch) for batch in rates})
    del model
    clips = write_clips(folder, CLIPS if cuda else 1)
    job = {"device": options.device, "config": str(config), "checkpoint": str(checkpoint), "clips": clips}
    cores = len(os.sched_getaffinity(0))
    processes = tuple(count for count in PROCESSES if count <= cores) if cuda else (1,)
    whole = end_to_end(job, processes, SECONDS if cuda else 0.1, deadline)
    done("end_to_end", whole)
    done("end_to_end_to_model", max(whole.values()) / max(rates.values()))
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="rtmo-s", help="rtmo-t, rtmo-s, rtmo-m or rtmo-l, with random weights")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="cuda:0", help="cpu only shows that the parts run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fightpose-") as folder:
        measure(options, Path(folder))


if __name__ == "__main__":
    main()
