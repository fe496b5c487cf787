"""Ways to damage a file, all driven by a seed: the same number gives the same bytes on every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Mutation = Callable[[bytearray, Sequence[bytes], np.random.Generator], bytearray]

# What readers trip over: ends of number ranges, signs, and a frame of 60,000 pixels.
EXTREMES = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x80", b"\0\0\xea\x60", b"\x60\xea\0\0"]


def _flip_bits(data: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    """Flip up to 64 bits, half of the time in the first kilobyte, where headers are."""
    end = min(len(data), 1024) if rng.random() < 0.5 else len(data)
    for place in rng.integers(end, size=int(rng.integers(1, 65))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def _truncate(data: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    """Keep the beginning only."""
    return data[: int(rng.integers(len(data)))]


def _splice(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    """Put the beginning of another file in place of, or before, this one's."""
    other = others[int(rng.integers(len(others)))]
    head = other[: int(rng.integers(1, min(len(other), 2048) + 1))]
    return bytearray(head) + data[len(head) if rng.random() < 0.7 else 0 :]


def _remove(data: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    """Take a piece out of the middle."""
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 400))]
    return data


def _insert(data: bytearray, others: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    """Put a piece of another file into the middle."""
    other, place = others[int(rng.integers(len(others)))], int(rng.integers(len(data)))
    start = int(rng.integers(len(other)))
    data[place:place] = other[start : start + int(rng.integers(1, 400))]
    return data


def _extreme(data: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> bytearray:
    """Write extreme numbers over what may be lengths, counts and sizes."""
    end = min(len(data), 1024) if rng.random() < 0.7 else len(data)
    for place in rng.integers(end, size=int(rng.integers(1, 5))):
        data[place : place + 4] = EXTREMES[int(rng.integers(len(EXTREMES)))]
    return data


MUTATIONS: dict[str, Mutation] = {
    "bit flips": _flip_bits,
    "truncation": _truncate,
    "spliced header": _splice,
    "piece removed": _remove,
    "piece inserted": _insert,
    "extreme numbers": _extreme,
}


def mutated(sources: Sequence[bytes], others: Sequence[bytes], seed: int, turn: int) -> bytes:
    """Return a damaged file.

    Parameters
    ----------
    sources
        Sound files; one of them is damaged.
    others
        Files that pieces are taken from.
    seed
        Chooses the source and the places.
    turn
        Number of the file among those of its kind: the ways take turns, so that each is used equally often.
    """
    rng = np.random.default_rng(seed)
    data = bytearray(sources[int(rng.integers(len(sources)))])
    result = list(MUTATIONS.values())[turn % len(MUTATIONS)](data, others, rng)
    if result[:4] == b"RIFF" and rng.random() < 0.7:
        # A length that is right: otherwise most clips would be refused as cut short, and nothing behind that tested.
        result[4:8] = (len(result) - 8).to_bytes(4, "little")
    return bytes(result)
