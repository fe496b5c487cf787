"""The GPU benchmark's own arithmetic, on a network that can be counted by hand."""

from __future__ import annotations

import pytest

from tests.benchmarks.gpu import counted, roofline


@pytest.mark.mmpose
def test_operations_and_bytes_of_one_convolution() -> None:
    """3x3, 4 to 8 channels, on 10x10: two operations per product, each value moved once in two bytes."""
    torch = pytest.importorskip("torch", reason="make install-mmpose")
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3, padding=1, bias=False), torch.nn.ReLU())
    cost = counted(network, torch.zeros(2, 4, 10, 10))
    assert cost["flops"] == 2 * 9 * 4 * 8 * 100
    # The convolution reads 400 and writes 800 values, the ReLU reads and writes 800.
    assert cost["activation_bytes"] == 2 * (400 + 800 + 1600)
    assert cost["weight_bytes"] == 2 * 9 * 4 * 8


def test_the_longer_of_both_times_is_the_roof() -> None:
    """Weights are read once per batch."""
    cost = {"flops": 100.0, "activation_bytes": 10.0, "weight_bytes": 30.0}
    assert roofline(cost, {"flops_per_s": 1000.0, "bytes_per_s": 1000.0}, 1) == 10
    assert roofline(cost, {"flops_per_s": 1e6, "bytes_per_s": 1000.0}, 1) == pytest.approx(1 / 0.04)
    assert roofline(cost, {"flops_per_s": 1e6, "bytes_per_s": 1000.0}, 3) == pytest.approx(1 / 0.02)
