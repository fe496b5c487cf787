"""Scenes without people that a pose model likes to see people in: what is tracked in them is a ghost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from tasks.video.reading import Image
from tests.video_factory import write_video

WIDTH, HEIGHT, FRAMES = 640, 360, 50


def write_empty_scenes(folder: Path) -> list[Path]:
    """Write the scenes as videos of two seconds and return their paths."""
    scenes = {"noise": _noise(), "furniture": _furniture(), "coats": _coats(), "shadows": _shadows()}
    return [write_video(folder / f"{name}.mp4", frames) for name, frames in scenes.items()]


def _noisy(image: Image, frame: int, spread: float) -> Image:
    """Add a sensor's noise, other in every frame and the same in every run."""
    noise = np.random.default_rng(frame).normal(0, spread, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _room() -> Image:
    """Return an empty room: a wall, a floor, a door."""
    image = np.full((HEIGHT, WIDTH, 3), (170, 175, 180), np.uint8)
    cv2.rectangle(image, (0, 230), (WIDTH, HEIGHT), (95, 110, 120), -1)
    cv2.rectangle(image, (520, 60), (600, 260), (60, 80, 110), -1)
    return image


def _noise() -> Iterator[Image]:
    """Yield a dark camera with nothing before it but noise."""
    for frame in range(FRAMES):
        yield _noisy(np.full((HEIGHT, WIDTH, 3), 30, np.uint8), frame, 18)


def _furniture() -> Iterator[Image]:
    """Yield chairs and tables of about a person's height."""
    image = _room()
    for x in (60, 170, 300, 430):
        cv2.rectangle(image, (x, 150), (x + 50, 220), (40, 60, 90), 6)
        for leg in (x, x + 50):
            cv2.line(image, (leg, 150), (leg, 320), (40, 60, 90), 6)
    for frame in range(FRAMES):
        yield _noisy(image, frame, 4)


def _coats() -> Iterator[Image]:
    """Yield coats on hooks: shoulders, sleeves and a hem, and neither head nor legs."""
    image = _room()
    for x in (100, 190, 290, 400):
        coat = np.array([[x - 22, 80], [x + 22, 80], [x + 32, 150], [x + 26, 215], [x - 26, 215], [x - 32, 150]])
        cv2.fillPoly(image, [coat], (50 + x // 8, 40, 50))
        cv2.line(image, (x, 66), (x, 80), (30, 30, 30), 3)
    for frame in range(FRAMES):
        yield _noisy(image, frame, 4)


def _shadows() -> Iterator[Image]:
    """Yield a light that swings over an empty room: everything moves, nobody is there."""
    room = _room().astype(np.float32)
    columns = np.arange(WIDTH, dtype=np.float32)[None, :, None]
    for frame in range(FRAMES):
        light = 0.7 + 0.3 * np.sin(columns / 60 + frame / 4)
        yield _noisy((room * light).astype(np.uint8), frame, 4)
