"""The running correlation against numpy's, what it forgets, and when it says nothing."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.association import ENOUGH, HORIZON, Association


def filled(pairs: list[tuple[float, float]]) -> Association:
    found = Association()
    for x, y in pairs:
        found.add(x, y)
    return found


def pairs(count: int, slope: float, seed: int = 1) -> list[tuple[float, float]]:
    rng = random.Random(seed)
    drawn = [(rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(count)]
    return [(x, slope * x + noise) for x, noise in drawn]


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000), slope=st.floats(-3, 3), shift=st.floats(-1e4, 1e4), scale=st.floats(0.01, 100)
)
def test_it_is_the_weighted_correlation(seed: int, slope: float, shift: float, scale: float) -> None:
    given_pairs = [(x, shift + scale * y) for x, y in pairs(400, slope, seed)]
    weights = (1 - 1 / HORIZON) ** np.arange(len(given_pairs))[::-1]
    covariance = np.cov(np.array(given_pairs).T, aweights=weights)
    expected = covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])
    assert filled(given_pairs).correlation == pytest.approx(expected, abs=1e-6)


def test_what_lies_far_back_is_forgotten() -> None:
    found = filled(pairs(5000, 2))
    assert found.correlation > 0.85
    for x, y in pairs(5 * HORIZON, -2, seed=2):
        found.add(x, y)
    assert found.correlation < -0.8


def test_few_pairs_say_nothing() -> None:
    assert math.isnan(filled(pairs(ENOUGH - 1, 1)).correlation)
    assert not math.isnan(filled(pairs(ENOUGH, 1)).correlation)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_what_never_changes_goes_with_nothing(value: float) -> None:
    assert math.isnan(filled([(x, value) for x, _ in pairs(500, 1)]).correlation)
    assert math.isnan(filled([(value, y) for _, y in pairs(500, 1)]).correlation)
