"""How far two annotators agree beyond chance, proposition by proposition.

    labels a (n,), b (n,): 0, 1 or NaN (not labelled) -> Agreement

Cohen's kappa is the share of agreement above what two annotators would reach who say yes as often as
these and never look (Cohen 1960, A coefficient of agreement for nominal scales). Its interval is the
large-sample one (Fleiss, Cohen and Everitt 1969), which needs no drawing. Where that has no width, under
perfect agreement or with one annotator who always says the same, it says nothing and is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SURE = 1.96  # standard errors to either side of a 95% interval
FEW = 10  # rows of the rarer label, by the mean of both annotators, under which kappa is unstable


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over the `n` rows that both labelled; `yes` counts each one's yes. None where undefined."""

    n: int
    yes: tuple[int, int]
    observed: float | None
    kappa: float | None
    interval: tuple[float, float] | None

    @property
    def prevalence(self) -> float | None:
        """The share of yes, by the mean of both."""
        return sum(self.yes) / 2 / self.n if self.n else None

    @property
    def unstable(self) -> bool:
        """Whether the rarer label is too rare for kappa to mean much: few answers would turn it."""
        return min(sum(self.yes), 2 * self.n - sum(self.yes)) / 2 < FEW


def agreement(a: Floats, b: Floats) -> Agreement:
    """Agreement of two annotators about one proposition.

    Kappa is None without rows, and where each gave one answer throughout, which shows nothing about
    whether they look at the same thing.
    """
    both = ~(np.isnan(a) | np.isnan(b))
    one, other = a[both] == 1, b[both] == 1
    n, yes = int(both.sum()), (int(one.sum()), int(other.sum()))
    if not n:
        return Agreement(0, yes, None, None, None)
    agreed = int((one == other).sum())
    by_chance = yes[0] * yes[1] + (n - yes[0]) * (n - yes[1])  # n times the rows agreed upon by chance
    kappa = None if set(yes) <= {0, n} else (n * agreed - by_chance) / (n * n - by_chance)
    vague = kappa is None or agreed == n or not {0, n}.isdisjoint(yes)
    return Agreement(n, yes, agreed / n, kappa, None if vague else _interval(one, other))


def _interval(one: Bools, other: Bools) -> tuple[float, float]:
    """The 95% interval of kappa, from (n,) answers of two annotators who both said both."""
    p = np.array([[(a & b).mean() for b in (other, ~other)] for a in (one, ~one)])
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, chance = float(np.trace(p)), float(rows @ columns)
    kappa = (observed - chance) / (1 - chance)
    hit = np.diag(p) @ (1 - (rows + columns) * (1 - kappa)) ** 2
    missed = (1 - kappa) ** 2 * ((p - np.diag(np.diag(p))) * (columns[:, None] + rows) ** 2).sum()
    variance = (hit + missed - (kappa - chance * (1 - kappa)) ** 2) / (1 - chance) ** 2
    width = SURE * sqrt(max(variance, 0.0) / len(one))
    return max(-1.0, kappa - width), min(1.0, kappa + width)


def mean_kappa(found: Sequence[Agreement]) -> float | None:
    """The mean over propositions whose kappa is defined; None where none is."""
    known = [one.kappa for one in found if one.kappa is not None]
    return sum(known) / len(known) if known else None
