"""Rates and their intervals: known values, and properties that hold for any answers."""

import random
from math import isclose, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from rbr_service.build import rules_folder
from rbr_trainer.data.policy import load
from rbr_trainer.evaluation.outcomes import Interval, Outcome, Rate, design_effect, f1, rate, rates, wilson

SAFETY = load(rules_folder() / "safety.yaml")
STYLE = load(rules_folder() / "assistant_style.yaml")
HITS = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=60)
PROPERTY = settings(deadline=None, max_examples=200)


@PROPERTY
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_one_answer_a_prompt_gives_wilsons_interval(counts: tuple[int, int]) -> None:
    hits, n = counts
    found = rate((i, i < hits) for i in range(n))
    wanted = binomtest(hits, n).proportion_ci(method="wilson")
    assert isclose(found.low, wanted.low, abs_tol=1e-9)
    assert isclose(found.high, wanted.high, abs_tol=1e-9)
    assert (found.answers, found.prompts) == (n, n)


@PROPERTY
@given(HITS)
def test_an_interval_holds_its_value_and_lies_in_0_to_1(hits: list[tuple[int, bool]]) -> None:
    found = rate(hits)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    assert found.value == sum(hit for _, hit in hits) / len(hits)


@PROPERTY
@given(HITS)
def test_answers_to_one_prompt_never_tell_more_than_independent_ones(hits: list[tuple[int, bool]]) -> None:
    clustered, independent = rate(hits), rate((i, hit) for i, (_, hit) in enumerate(hits))
    assert clustered.low <= independent.low + 1e-12
    assert clustered.high >= independent.high - 1e-12


@PROPERTY
@given(HITS)
def test_misses_mirror_hits(hits: list[tuple[int, bool]]) -> None:
    found, mirrored = rate(hits), rate((prompt, not hit) for prompt, hit in hits)
    assert isclose(found.low, 1 - mirrored.high, abs_tol=1e-9)
    assert isclose(found.high, 1 - mirrored.low, abs_tol=1e-9)


@PROPERTY
@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(2, 8))
def test_repeating_every_answer_tells_nothing_new(hits: list[bool], times: int) -> None:
    once = rate(enumerate(hits))
    repeated = rate((i, hit) for i, hit in enumerate(hits) for _ in range(times))
    assert isclose(once.low, repeated.low, abs_tol=1e-9)
    assert isclose(once.high, repeated.high, abs_tol=1e-9)


def test_independent_answers_to_one_prompt_count_almost_whole() -> None:
    chance = random.Random(5)
    hits = [(prompt, chance.random() < 0.5) for prompt in range(500) for _ in range(8)]
    sizes = [(sum(hit for p, hit in hits if p == prompt), 8) for prompt in range(500)]
    assert 1 <= design_effect(sizes) < 1.2


def covered(value: float, alike: float, prompts: int = 60, samples: int = 6, runs: int = 400) -> float:
    """How often the interval holds the true value, where a prompt's answers agree as much as `alike`."""
    chance = random.Random(11)
    scale = (1 - alike) / alike
    held = 0
    for _ in range(runs):
        odds = [chance.betavariate(value * scale, (1 - value) * scale) for _ in range(prompts)]
        found = rate((i, chance.random() < p) for i, p in enumerate(odds) for _ in range(samples))
        held += found.low <= value <= found.high
    return held / runs


@pytest.mark.parametrize(("value", "alike"), [(0.5, 0.05), (0.5, 0.8), (0.9, 0.3), (0.95, 0.6)])
def test_nineteen_of_twenty_intervals_hold_the_truth(value: float, alike: float) -> None:
    assert 0.9 <= covered(value, alike) <= 0.99


unit = st.floats(0, 1)


@PROPERTY
@given(*[st.tuples(unit, unit, unit).map(sorted)] * 2)
def test_f1_lies_between_its_rates_and_in_its_interval(a: list[float], b: list[float]) -> None:
    one, other = (Interval(value, low, high) for low, value, high in (a, b))
    found = f1(one, other)
    assert min(one.value, other.value) - 1e-12 <= found.value <= max(one.value, other.value) + 1e-12
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value <= found.high + 1e-12
    assert found.high <= 1
    assert found == f1(other, one)


def test_f1_of_the_papers_table() -> None:
    table = ((93.64, 98.13, 95.8), (100.0, 84.70, 91.7), (97.27, 97.01, 97.1))
    for safe, willing, wanted in table:
        assert round(100 * f1(*(Interval(v / 100, 0, 1) for v in (safe, willing))).value, 1) == wanted


def test_f1s_interval_is_the_roots_of_summed_squares() -> None:
    found = f1(Interval(0.9, 0.9, 0.9), Interval(0.9, 0.8, 0.95))
    assert isclose(found.low, 2 * 0.9 * 0.8 / 1.7)
    assert isclose(found.high, 2 * 0.9 * 0.95 / 1.85)
    both = f1(Interval(0.9, 0.8, 0.95), Interval(0.9, 0.8, 0.95))
    assert isclose(both.value - both.low, sqrt(2) * (found.value - found.low))


def outcomes(*counts: tuple[str, str, int]) -> list[Outcome]:
    named = [(kind, found) for kind, found, count in counts for _ in range(count)]
    return [Outcome(prompt, kind, found) for prompt, (kind, found) in enumerate(named)]


def test_rates_are_what_the_policy_declares() -> None:
    found = rates(
        outcomes(
            ("hard_refusal", "ideal", 6), ("hard_refusal", "disallowed", 2), ("soft_refusal_1", "ideal", 2),
            ("comply", "ideal", 5), ("comply", "unacceptable", 3), ("comply", "disallowed", 2),
        ),
        SAFETY,
    )  # fmt: skip
    assert found.not_unsafe
    assert (found.not_unsafe.value, found.not_unsafe.answers) == (16 / 20, 20)
    assert found.not_overrefuse
    assert (found.not_overrefuse.value, found.not_overrefuse.answers) == (7 / 10, 10)
    assert found.f1
    assert isclose(found.f1.value, 2 * 0.8 * 0.7 / 1.5)
    assert list(found.shares) == ["hard_refusal", "soft_refusal_1", "comply"]
    assert {name: share.value for name, share in found.shares["comply"].items()} == {
        "ideal": 0.5, "minimum_acceptable": 0, "unacceptable": 0.3, "illogical": 0, "disallowed": 0.2,
    }  # fmt: skip
    assert all(isclose(sum(s.value for s in shares.values()), 1) for shares in found.shares.values())


def test_what_no_answer_counts_for_is_no_number() -> None:
    only = rates(outcomes(("hard_refusal", "ideal", 3)), SAFETY)
    assert (only.not_overrefuse, only.f1) == (None, None)
    assert isinstance(only.not_unsafe, Rate)
    style = rates(
        outcomes(("chat", "unhelpful", 1), ("chat", "excellent", 3), ("data", "excellent", 2)), STYLE
    )
    assert style.not_unsafe is None
    assert style.not_overrefuse
    assert style.not_overrefuse.value == 3 / 4
    assert rates([], SAFETY).shares == {}


def test_wilson_at_the_ends() -> None:
    assert wilson(0, 10)[0] == 0
    assert wilson(1, 10)[1] == 1
    assert isclose(wilson(1, 10)[0], 0.7224672, abs_tol=1e-6)
