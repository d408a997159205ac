"""Pairs of completions against brute force; splits; what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbr_service.errors import DataError
from rbr_service.rbr.policy import Policy
from rbr_service.rbr.ranked import Ranked, codes, held_out, pairs

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=40)


@given(ROWS)
def test_pairs_are_those_of_a_prompt_that_differ_in_rank(rows: list[tuple[int, int]]) -> None:
    prompts, ranks = (np.array([row[i] for row in rows], dtype=np.intp) for i in (0, 1))
    found = pairs(prompts, ranks)
    expected = {
        (a, b)
        for a, (prompt, rank) in enumerate(rows)
        for b, (other, worse) in enumerate(rows)
        if prompt == other and rank < worse
    }
    made = list(zip(found.better.tolist(), found.worse.tolist(), strict=True))
    assert len(made) == len(expected)
    assert set(made) == expected
    assert np.all(np.diff(prompts[found.better]) >= 0)


def test_one_prompt_with_too_many_completions_is_refused() -> None:
    ranks = np.arange(10**6, dtype=np.intp) % 5
    with pytest.raises(DataError, match=r"the prompt with the most completions has 1,000,000"):
        pairs(np.zeros(10**6, dtype=np.intp), ranks)


def test_numbers_of_names() -> None:
    assert codes(["b", "a", "b"]).tolist() == [0, 1, 0]


NAMES = st.sets(st.text(max_size=4), min_size=2, max_size=30)


@given(NAMES, st.floats(0.01, 0.5), st.integers(0, 5))
def test_a_share_of_the_prompts_is_held_out(names: set[str], share: float, seed: int) -> None:
    out = held_out(sorted(names), share, seed)
    assert out < names
    assert len(out) == max(1, round(share * len(names)))
    assert out == held_out(sorted(names, reverse=True) * 2, share, seed), "order and repetition do not count"


def test_the_seed_decides_who() -> None:
    names = [str(i) for i in range(100)]
    assert held_out(names, 0.5, 0) != held_out(names, 0.5, 1)
    assert held_out(names, 0, 0) == set()


def test_one_prompt_cannot_be_split() -> None:
    with pytest.raises(DataError, match="--held-out 0"):
        held_out(["a", "a"], 0.2, 0)


@pytest.mark.parametrize("column", ["p", "base"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(safety: Policy, column: str, value: float) -> None:
    kind = safety.response_types["comply"]
    columns = {"p": np.full((2, len(kind.propositions)), 0.5), "base": np.zeros(2)}
    columns[column].flat[0] = value
    with pytest.raises(DataError, match="not a finite number"):
        Ranked(kind, np.zeros(2, np.intp), np.array([0, 1]), **columns)


def test_ranks_and_lengths_are_checked(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    p = np.full((2, len(kind.propositions)), 0.5)
    with pytest.raises(DataError, match="outside the 5 classes"):
        Ranked(kind, np.zeros(2, np.intp), np.array([0, 5]), p, np.zeros(2))
    with pytest.raises(DataError, match="differ in length"):
        Ranked(kind, np.zeros(2, np.intp), np.array([0, 1]), p[:, 1:], np.zeros(2))
