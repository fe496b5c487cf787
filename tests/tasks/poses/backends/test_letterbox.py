"""Letterboxing: what goes in comes back at the same pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.poses.backends.letterbox import letterbox, letterbox_size

SIDE = st.integers(1, 5000)


@given(width=SIDE, height=SIDE, long_side=st.sampled_from([192, 256, 416, 640]))
def test_the_input_holds_the_scaled_frame_and_is_a_multiple(width: int, height: int, long_side: int) -> None:
    """For any frame size and any input size."""
    rows, columns, scale = letterbox_size(width, height, long_side, 32)
    assert rows % 32 == columns % 32 == 0
    assert max(round(width * scale), 1) <= columns < width * scale + 33
    assert max(round(height * scale), 1) <= rows < height * scale + 33


@pytest.mark.parametrize("size", [(640, 360), (361, 641), (50, 40), (1, 700)])
def test_a_spot_comes_back_where_it_was(size: tuple[int, int]) -> None:
    """Scaled, found again, scaled back: within a pixel of the input."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    x, y = int(width * 0.7), int(height * 0.3)
    image[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5] = 255
    rows, columns, scale = letterbox_size(width, height, 416, 32)
    target = np.zeros((rows, columns, 3), np.uint8)
    letterbox(image, target, scale)
    found_y, found_x = (axis.mean() / scale for axis in np.nonzero(target[..., 0] > 127))
    # The patch is cut at the frame's edge, so its own centre is what must come back.
    true_y, true_x = (axis.mean() + 0.5 for axis in np.nonzero(image[..., 0]))
    assert abs(found_x - true_x) < 1 / scale + 1
    assert abs(found_y - true_y) < 1 / scale + 1


def test_padding_stays_as_it_was() -> None:
    """The caller chooses the colour of the padding."""
    target = np.full((32, 64, 3), 7, np.uint8)
    letterbox(np.full((10, 20, 3), 200, np.uint8), target, 1.0)
    assert (target[:10, :20] == 200).all()
    assert (target[10:] == 7).all()
    assert (target[:, 20:] == 7).all()
