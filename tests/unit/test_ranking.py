"""Ranking errors, their intervals and the least strength, against hand values and brute force."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rbr_service.errors import DataError
from rbr_service.rbr import ranking
from rbr_service.rbr.policy import Policy
from rbr_service.rbr.ranked import Ranked


def two_a_prompt(safety: Policy, base: list[float], ranks: tuple[int, int] = (0, 1)) -> Ranked:
    kind = safety.response_types["comply"]
    n = len(base)
    p = np.full((n, len(kind.propositions)), 0.5)
    return Ranked(kind, np.arange(n) // 2, np.tile(ranks, n // 2), p, np.array(base))


def test_ties_count_against_us(safety: Policy) -> None:
    data = two_a_prompt(safety, [1, 0, 1, 1, 0, 1, 2, 1])
    found = ranking.ranking_error(data.base, data, ranking.best_pairs(data), seed=0)
    assert found is not None
    assert found.value == 0.5
    assert 0 <= found.low < 0.5 < found.high <= 1


def test_only_pairs_with_the_best_class_count(safety: Policy) -> None:
    data = two_a_prompt(safety, [0, 1, 0, 1], ranks=(1, 2))
    assert len(data.pairs()) == 2
    assert len(ranking.best_pairs(data)) == 0
    assert ranking.ranking_error(data.base, data, ranking.best_pairs(data), seed=0) is None


def test_intervals_are_seeded_and_narrow_with_data(safety: Policy) -> None:
    few, many = (
        two_a_prompt(safety, np.random.default_rng(0).normal(size=2 * n).tolist()) for n in (30, 3000)
    )
    widths = []
    for data in (few, many):
        first, again = (
            ranking.ranking_error(data.base, data, ranking.best_pairs(data), seed=1) for _ in range(2)
        )
        assert first == again
        assert first is not None
        widths.append(first.high - first.low)
    assert widths[1] < widths[0] / 5


def test_intervals_resample_prompts_not_pairs(safety: Policy) -> None:
    """Ten pairs of one prompt that go right or wrong together say no more than one."""
    kind = safety.response_types["comply"]
    ranks = np.tile([0] + [1] * 10, 40)
    numbers = np.repeat(np.arange(40), 11)
    base = np.where(ranks == 1, np.where(numbers % 2, 1.0, -1.0), 0.0)
    data = Ranked(kind, numbers, ranks, np.full((440, len(kind.propositions)), 0.5), base)
    found = ranking.ranking_error(base, data, ranking.best_pairs(data), seed=0)
    assert found is not None
    assert found.value == 0.5
    assert found.high - found.low > 0.25  # sqrt(.25 / 40) * 1.96 * 2 = .31; by pairs it would be .1


def test_an_error_of_none_is_not_certain(safety: Policy) -> None:
    data = two_a_prompt(safety, [1.0, 0.0] * 20)
    found = ranking.ranking_error(data.base, data, ranking.best_pairs(data), seed=0)
    assert found is not None
    assert found.value == found.low == 0
    assert found.high == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-3)


def test_spearman() -> None:
    rising = np.array([1.0, 2.0, 3.0, 10.0])
    assert ranking.spearman(rising, rising**3) == pytest.approx(1)
    assert ranking.spearman(rising, -rising) == pytest.approx(-1)
    assert ranking.spearman(rising, np.ones(4)) is None
    assert ranking.spearman(rising[:2], rising[:2]) is None


VALUES = st.lists(st.integers(-4, 4).map(float), min_size=4, max_size=16).filter(lambda v: len(v) % 2 == 0)


@settings(max_examples=200)
@given(VALUES, st.data(), st.sampled_from([0.0, 0.1, 0.3, 0.5]))
def test_the_least_strength_is_the_least(
    safety: Policy, base: list[float], data: st.DataObject, wanted: float
) -> None:
    rbr = np.array([float(data.draw(st.integers(-3, 3))) for _ in base])
    ranked = two_a_prompt(safety, base)
    pairs = ranking.best_pairs(ranked)

    def error(strength: float) -> float:
        return ranking.error(ranked.base + strength * rbr, pairs)

    grid = np.append(np.geomspace(2e-3, 100, 4000), ranking.LEAST)
    errors = np.array([error(s) for s in grid])
    try:
        found = ranking.least_strength(rbr, ranked, pairs, wanted)
    except DataError:
        assert (errors > wanted).all()
        return
    assert error(found) <= wanted
    assume(found < 100)
    assert not ((grid < found * (1 - 1e-6)) & (errors <= wanted)).any()


def test_no_strength_suffices(safety: Policy) -> None:
    ranked = two_a_prompt(safety, [0, 1, 0, 1])
    rbr = np.array([0.0, 1.0, 1.0, 0.0])
    with pytest.raises(DataError, match=r"the least is 0\.5000, at strength 1"):
        ranking.least_strength(rbr, ranked, ranking.best_pairs(ranked), 0.1)


def test_the_curve_falls_as_the_base_reward_is_overcome(safety: Policy) -> None:
    rng = np.random.default_rng(0)
    ranked = two_a_prompt(safety, rng.normal(size=400).tolist())
    rbr = np.where(ranked.ranks == 0, 1.0, 0.0) + 0.1 * rng.normal(size=400)
    points = ranking.strength_curve(rbr, ranked, ranking.best_pairs(ranked), 3.0, seed=0)
    errors = [point.error.value for point in points]
    assert errors[0] == pytest.approx(0.5, abs=0.1)
    assert errors[-1] < 0.01
    correlations = [point.rank_correlation for point in points]
    assert correlations[0] is not None
    assert correlations[-1] is not None
    assert correlations[0] > 0.99 > correlations[-1]
