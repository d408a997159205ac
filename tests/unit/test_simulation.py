"""The made-up base reward errs as often as it is told to, and depends on the text alone."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbr_service.errors import DataError
from rbr_service.rbr.simulation import base_reward


@pytest.mark.parametrize("error", [0.70, 0.32, 0.105])
def test_it_errs_as_asked(error: float) -> None:
    best = [base_reward(["p", i], best=True, error=error, seed=0) for i in range(20_000)]
    other = [base_reward(["q", i], best=False, error=error, seed=0) for i in range(20_000)]
    wrong = statistics.mean(b >= a for a, b in zip(best, other, strict=True))
    assert wrong == pytest.approx(error, abs=0.015)
    assert statistics.pstdev(best) == pytest.approx(1, abs=0.03)
    assert statistics.mean(best) == pytest.approx(0, abs=0.03)


@given(st.text(), st.integers(0, 9))
def test_same_text_same_reward(text: str, seed: int) -> None:
    first, again = (base_reward([text], best=True, error=0.3, seed=seed) for _ in range(2))
    assert first == again
    assert -9 < first < 9


@pytest.mark.parametrize("error", [0, 1, -0.1, float("nan")])
def test_an_error_is_a_share(error: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        base_reward("a", best=True, error=error, seed=0)
