"""Whether two quantities go together: pairs come in -> Pearson's correlation of the last of them.

Older pairs are forgotten by and by, so that what a policy does now is not hidden by what it did. (D. H. D.
West, "Updating mean and variance estimates: an improved method", 1979, with exponential weights.)
"""

import math

HORIZON = 1000  # pairs: one that lies so far back weighs 1/e
ENOUGH = 200  # pairs, before which a correlation would be chance
_KEEP = 1 - 1 / HORIZON
_ENOUGH = (1 - _KEEP**ENOUGH) / (1 - _KEEP) - 0.5  # the weight of so many, and room for rounding
_SPREAD = 1e-12  # a variance below it is rounding


class Association:
    """The moments of the pairs so far."""

    def __init__(self) -> None:
        """No pair yet."""
        self._weight = self._x = self._y = self._xx = self._yy = self._xy = 0.0

    def add(self, x: float, y: float) -> None:
        """Take in one pair."""
        self._weight = self._weight * _KEEP + 1
        x_off, y_off = x - self._x, y - self._y
        self._x += x_off / self._weight
        self._y += y_off / self._weight
        x_left = x - self._x
        self._xx = self._xx * _KEEP + x_off * x_left
        self._xy = self._xy * _KEEP + y_off * x_left
        self._yy = self._yy * _KEEP + y_off * (y - self._y)

    @property
    def correlation(self) -> float:
        """Within -1 and 1; NaN while the pairs are few, or one of the two never changes."""
        least = _SPREAD * self._weight
        if self._weight < _ENOUGH or self._xx <= least or self._yy <= least:
            return math.nan
        return max(-1.0, min(1.0, self._xy / math.sqrt(self._xx) / math.sqrt(self._yy)))
