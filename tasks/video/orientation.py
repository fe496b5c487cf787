"""How a stored picture is shown: turned by 90 degrees, mirrored, or both, as the container's display matrix asks.

FFmpeg states one angle for a matrix, which is not enough: a mirrored picture (front cameras of phones) has none. The
signs of the whole 2x2 part tell all eight ways apart.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt

TURN_TOLERANCE = 0.02
"""Largest share of a matrix that may lie off a turn by a multiple of 90 degrees (about one degree)."""


class Orientation(Enum):
    """The eight ways in which a stored picture may be shown.

    A value says what happens to the stored picture, in this order: rows and columns change places, left and right are
    mirrored, top and bottom are mirrored.
    """

    UPRIGHT = (False, False, False)
    MIRRORED = (False, True, False)
    UPSIDE_DOWN = (False, True, True)
    FLIPPED = (False, False, True)
    TRANSPOSED = (True, False, False)
    CLOCKWISE = (True, True, False)
    ANTITRANSPOSED = (True, True, True)
    COUNTERCLOCKWISE = (True, False, True)

    @property
    def transposes(self) -> bool:
        """Whether width and height change places."""
        return self.value[0]

    @property
    def is_mirrored(self) -> bool:
        """Whether no turn alone shows the picture so."""
        return sum(self.value) % 2 == 1

    def applied(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return a picture (H, W, C) as it is shown; the same array where nothing changes."""
        if self is Orientation.UPRIGHT:
            return image
        transposes, mirrors, flips = self.value
        shown = image.transpose(1, 0, 2) if transposes else image
        shown = shown[:: -1 if flips else 1, :: -1 if mirrors else 1]
        # OpenCV and the models need rows in one piece.
        return np.ascontiguousarray(shown)


def orientation_of(matrix: bytes | None) -> Orientation | None:
    """Return the orientation that a display matrix asks for, None where it is no turn by a multiple of 90 degrees.

    Parameters
    ----------
    matrix
        Nine native 32-bit integers as FFmpeg hands them over, ``[a b u; c d v; x y w]``. A stored point (p, q) is shown
        at ``(a p + c q, b p + d q)``, y down; scale and offset say nothing about the turn. None: there is no matrix.
    """
    if matrix is None:
        return Orientation.UPRIGHT
    if len(matrix) < 9 * 4:
        return None
    a, b, _, c, d = np.frombuffer(matrix, "=i4", 5).astype(float).tolist()
    # One diagonal of the 2x2 part holds the turn, the other one next to nothing.
    if max(abs(b), abs(c)) <= TURN_TOLERANCE * min(abs(a), abs(d)) and a and d:
        return Orientation((False, a < 0, d < 0))
    if max(abs(a), abs(d)) <= TURN_TOLERANCE * min(abs(b), abs(c)) and b and c:
        # Shown x runs along stored y in the direction of c, and shown y along stored x in that of b.
        return Orientation((True, c < 0, b < 0))
    return None
