"""What runs a pose model, in which numbers: what was asked for against what there is.

Which precision a run has follows from the model, the device and the settings alone, never from what a machine happens
to have: it is part of the cache key of poses, which machines that share a folder must agree upon. In fp32 all runtimes
find the same people (within half a pixel, see the tests), so that which of them runs may follow the machine.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tasks.core.choices import Precision, Runtime
from tasks.core.errors import FightposeError
from tasks.core.gpus import gpu_count

PRECISIONS: Mapping[tuple[Runtime, str], Sequence[Precision]] = {
    # The first is what `auto` takes. bf16 and int8 are not: on real clips MoveNet finds other people in them.
    (Runtime.OPENVINO, "cpu"): (Precision.FP32, Precision.BF16, Precision.INT8),
    (Runtime.ONNXRUNTIME, "cpu"): (Precision.FP32,),
    (Runtime.ONNXRUNTIME, "cuda"): (Precision.FP32, Precision.FP16),
    (Runtime.TORCH, "cpu"): (Precision.FP32,),
    (Runtime.TORCH, "cuda"): (Precision.FP16, Precision.FP32),
}
"""What each runtime computes in on each kind of device."""

PACKAGES = {Runtime.OPENVINO: "openvino", Runtime.ONNXRUNTIME: "onnxruntime", Runtime.TORCH: "torch"}


class Plan(NamedTuple):
    """Which runtimes may run a model, the fastest first, and in which precision."""

    runtimes: tuple[Runtime, ...]
    precision: Precision


def device_kind(device: str) -> str:
    """Return cpu or cuda for the name of a device.

    Raises
    ------
    FightposeError
        For a name that is neither `cpu` nor `cuda` with or without a number.
    """
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (":" in device and not number.isdigit()):
        raise FightposeError(f"unknown device {device!r}; use cpu or cuda:0")
    return kind


def require_device(device: str) -> None:
    """Refuse a CUDA device that is not on this machine, without importing a runtime.

    Raises
    ------
    FightposeError
        If the name is none, or the machine has no such GPU.
    """
    if device_kind(device) == "cpu":
        return
    count = gpu_count()
    # None: it cannot be told without CUDA, which the runtime asks when it loads.
    if count is not None and int(device.partition(":")[2] or 0) >= count:
        has = ", ".join(f"cuda:{index}" for index in range(count)) or "no NVIDIA GPU"
        raise FightposeError(f"device {device!r} does not exist: this machine has {has}; use --device cpu")


def plan_runtime(
    name: str, able: Mapping[str, Sequence[Runtime]], device: str, wanted: Runtime, precision: Precision
) -> Plan:
    """Match what is asked for with what can run a model.

    Parameters
    ----------
    name
        Of the model, for errors.
    able
        The runtimes that can run it, the fastest first, by kind of device.
    device
        `cpu`, `cuda` or `cuda:N`.
    wanted, precision
        As in the settings.

    Raises
    ------
    FightposeError
        If the model does not run on the device, or not in that runtime or precision there.
    """
    kind = device_kind(device)
    if kind not in able:
        raise FightposeError(
            f"{name} does not run on {device!r}, only on {' and '.join(able)}; choose that as the device, "
            "or another model (RTMO runs on cuda)"
        )
    # Which of them is installed is asked later, on the machine that does the work.
    runtimes = tuple(runtime for runtime in able[kind] if wanted in (Runtime.AUTO, runtime))
    if not runtimes:
        raise FightposeError(f"{name} does not run in {wanted} on {device!r}, only in {', '.join(able[kind])}")
    if precision is Precision.AUTO:
        # By the fastest one of the table, installed or not: the precision is part of the cache key.
        precision = PRECISIONS[runtimes[0], kind][0]
    fitting = tuple(runtime for runtime in runtimes if precision in PRECISIONS[runtime, kind])
    if not fitting:
        has = "; ".join(f"{runtime}: {', '.join(PRECISIONS[runtime, kind])}" for runtime in runtimes)
        raise FightposeError(f"{name} on {device!r} cannot compute in {precision}; there is {has}")
    return Plan(fitting, precision)


def chosen_runtime(plan: Plan, name: str) -> tuple[Runtime, str]:
    """Return the first runtime of a plan that is installed, and why it is that one.

    Raises
    ------
    FightposeError
        If none is installed.
    """
    absent: list[Runtime] = []
    for runtime in plan.runtimes:
        if importlib.util.find_spec(PACKAGES[runtime]) is not None:
            others = [other for other in plan.runtimes if other != runtime and other not in absent]
            why = [f"faster than {', '.join(others)}"] if others else []
            why += [f"{', '.join(absent)} not installed"] if absent else []
            return runtime, "; ".join(why) or "no other was asked for or can run it"
        absent.append(runtime)
    raise FightposeError(
        f"{name} needs {' or '.join(PACKAGES[runtime] for runtime in absent)}, which is not installed (see "
        "`fightpose doctor`); install it, or use --device cpu"
    )


def found_runtimes() -> list[str]:
    """Return one line per runtime: its version, the devices it sees, and what they compute in."""
    lines = [_openvino(), _onnxruntime(), _torch()]
    nncf = importlib.util.find_spec("nncf") is not None
    return [*lines, f"NNCF (for int8): {'installed' if nncf else 'not installed (make install-int8)'}"]


def _openvino() -> str:
    """Name OpenVINO's devices."""
    import openvino

    core = openvino.Core()
    devices = []
    for device in core.available_devices:
        able = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        devices.append(f"{device} ({', '.join(p for p in ('FP32', 'BF16', 'FP16', 'INT8') if p in able)})")
    return f"OpenVINO {openvino.__version__.partition('-')[0]}: {', '.join(devices)}"


def _onnxruntime() -> str:
    """Name ONNX Runtime's providers."""
    if importlib.util.find_spec("onnxruntime") is None:
        return "ONNX Runtime: not installed"
    import onnxruntime

    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    return f"ONNX Runtime {onnxruntime.__version__}: {', '.join(providers)}"


def _torch() -> str:
    """Name the devices that torch sees."""
    if importlib.util.find_spec("torch") is None:
        return "torch: not installed"
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [f"cuda:{index} {torch.cuda.get_device_name(index)} (FP32, FP16)" for index in range(count)]
    mmpose = "with" if importlib.util.find_spec("mmpose") else "without"
    return f"torch {torch.__version__} {mmpose} mmpose: {', '.join(['cpu (FP32)', *gpus])}"
