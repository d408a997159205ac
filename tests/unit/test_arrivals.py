"""When samples are due."""

from collections import Counter
from itertools import pairwise
from random import Random
from statistics import fmean, pstdev

import pytest

from rbr_service.bench.arrivals import at_once, poisson


def test_the_answers_to_a_prompt_arrive_together() -> None:
    due = poisson(100, 8, 20, None, Random(1))
    assert due == sorted(due)
    assert due[0] == 0
    assert due[-1] < 20
    assert set(Counter(due).values()) == {8}


def test_groups_arrive_as_a_poisson_process_of_the_rate() -> None:
    due = poisson(100, 8, 1000, None, Random(1))
    moments = sorted(set(due))
    gaps = [after - before for before, after in pairwise(moments)]
    groups = 1000 * 100 / 8
    assert len(moments) == pytest.approx(groups, abs=5 * groups**0.5)
    assert pstdev(gaps) == pytest.approx(fmean(gaps), rel=0.05)  # exponential gaps; even ones deviate by 0


@pytest.mark.parametrize("count", [1, 7, 8, 9, 30])
def test_a_count_cuts_the_last_group(count: int) -> None:
    assert poisson(100, 8, 1000, count, Random(1)) == poisson(100, 8, 1000, None, Random(1))[:count]


def test_the_seed_decides() -> None:
    assert poisson(10, 4, 50, None, Random(3)) == poisson(10, 4, 50, None, Random(3))
    assert poisson(10, 4, 50, None, Random(3)) != poisson(10, 4, 50, None, Random(4))


def test_a_rollout_is_due_at_once() -> None:
    assert at_once(5) == [0.0] * 5
