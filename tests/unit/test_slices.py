"""Groups of rows against the rest: corrections by hand, false alarms counted, a planted fault found."""

from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, permutation_test, ttest_ind

from rbr_service.rbr import slices
from rbr_service.rbr.ranked import Floats
from rbr_service.rbr.slices import Correction

P_VALUES = st.lists(st.floats(0, 1), max_size=20)


def by_group(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The comparisons of one measure by column and value."""
    return {(test["column"], test["value"]): test for test in found["tests"]}


@pytest.mark.parametrize(
    ("correction", "p", "adjusted"),
    [
        ("holm", [0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ("holm", [0.02, 0.02, 0.5, 0.9], [0.08, 0.08, 1.0, 1.0]),
        ("bh", [0.01, 0.04, 0.03], [0.03, 0.04, 0.04]),
        ("bh", [0.9, 0.001], [0.9, 0.002]),
        ("holm", [], []),
        ("bh", [], []),
    ],
)
def test_corrections_by_hand(correction: Correction, p: list[float], adjusted: list[float]) -> None:
    assert slices.adjust(np.array(p), correction) == pytest.approx(adjusted)


@given(P_VALUES)
def test_corrections_against_scipy_and_each_other(p: list[float]) -> None:
    given_p = np.array(p)
    bh, holm = slices.adjust(given_p, "bh"), slices.adjust(given_p, "holm")
    if p:
        assert bh == pytest.approx(false_discovery_control(given_p))
    assert (given_p <= bh + 1e-12).all()
    assert (bh <= holm + 1e-12).all()
    assert (holm <= np.minimum(1, given_p * max(len(p), 1)) + 1e-12).all()  # Bonferroni's


def test_a_binary_measure_gets_fishers_exact_test() -> None:
    groups = ["a"] * 12 + ["b"] * 15
    right = np.array([1.0] * 4 + [0.0] * 8 + [1.0] * 13 + [0.0] * 2)
    found = by_group(slices.compare({"g": groups}, {"right": right}, "holm"))
    # The tables of 17 right in 27, of which 12 are "a", that are no more probable than 4 of 17.
    ways = [comb(17, k) * comb(10, 12 - k) / comb(27, 12) for k in range(2, 13)]
    p = sum(way for way in ways if way <= ways[2] * (1 + 1e-9))
    assert found["g", "a"] == {
        "column": "g", "value": "a", "measure": "right", "n": 12, "here": pytest.approx(1 / 3),
        "elsewhere": pytest.approx(13 / 15), "p": pytest.approx(p),
        "adjusted": pytest.approx(2 * p), "differs": True,
    }  # fmt: skip


def test_another_measure_gets_a_permutation_test() -> None:
    rng = np.random.default_rng(6)
    groups = ["a"] * 20 + ["b"] * 30
    x = np.append(rng.normal(0.1, 1, 20), rng.normal(0, 2, 30))

    def t(a: Floats, b: Floats) -> float:
        return float(abs(a.mean() - b.mean()) / np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))

    expected = permutation_test((x[:20], x[20:]), t, n_resamples=4999, alternative="greater", rng=1).pvalue
    found = by_group(slices.compare({"g": groups}, {"x": x}, "holm"))
    assert found["g", "a"]["p"] == found["g", "b"]["p"] == pytest.approx(expected, abs=0.025)
    assert 0.05 < expected < 0.95


def test_large_groups_get_welchs_test() -> None:
    x = np.random.default_rng(2).beta(0.3, 0.5, 3000)
    found = by_group(slices.compare({"g": ["a"] * 1200 + ["b"] * 1800}, {"x": x}, "holm"))
    expected = ttest_ind(x[:1200], x[1200:], equal_var=False).pvalue
    assert found["g", "a"]["p"] == found["g", "b"]["p"] == pytest.approx(expected, abs=0.001)


def test_a_million_rows() -> None:
    x = np.random.default_rng(0).normal(0, 1, 10**6)
    x[:10] += 3
    groups = ["few"] * 10 + ["many"] * (10**6 - 10)
    [few, many] = slices.compare({"g": groups}, {"x": x}, "holm")["tests"]
    assert few["p"] == many["p"] < 0.001


def test_small_groups_are_shown_and_not_tested() -> None:
    groups = ["big"] * 30 + ["small"] * 9
    found = by_group(slices.compare({"g": groups}, {"x": np.append(np.ones(30), np.zeros(9))}, "holm"))
    for value, n in (("small", 9), ("big", 30)):  # the big group's rest is small
        test = found["g", value]
        assert (test["n"], test["p"], test["adjusted"], test["differs"]) == (n, None, None, False)
    assert found["g", "small"]["here"] == 0


def test_one_group_has_nothing_to_differ_from() -> None:
    [test] = slices.compare({"g": ["all"] * 20}, {"x": np.linspace(0, 1, 20)}, "holm")["tests"]
    assert (test["elsewhere"], test["p"]) == (None, None)


def test_a_measure_that_no_row_has_is_left_out() -> None:
    assert slices.compare({"g": ["a", "b"]}, {"x": np.full(2, np.nan)}, "bh")["tests"] == []
    assert slices.compare({}, {"x": np.zeros(20)}, "bh")["tests"] == []


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1 + 0.2, 13 / 14])
def test_a_constant_measure_differs_nowhere(value: float) -> None:
    found = slices.compare({"g": ["a", "b", "c"] * 11}, {"x": np.full(33, value)}, "holm", resamples=99)
    assert [test["p"] for test in found["tests"]] == [1, 1, 1]


def test_a_group_that_is_all_ties_is_no_alarm() -> None:
    """Most rows are 0: a group of ten such rows is nothing rare, though its spread is none."""
    x = np.zeros(400)
    x[100:120] = -0.9
    groups = ["few"] * 10 + ["rest"] * 390
    assert by_group(slices.compare({"g": groups}, {"x": x}, "holm"))["g", "few"]["p"] > 0.3


def test_equal_means_of_other_spread_are_no_alarm() -> None:
    """Both groups are believed rightly on average, one at P .9 and one at P .1: ranks would differ."""
    x = np.append(np.repeat([-0.1, 0.9], [180, 20]), np.repeat([0.1, -0.9], [180, 20]))
    found = by_group(slices.compare({"g": ["a"] * 200 + ["b"] * 200}, {"x": x}, "holm"))
    assert found["g", "a"]["here"] == pytest.approx(0)
    assert found["g", "a"]["p"] > 0.9


def test_rows_without_the_measure_do_not_count() -> None:
    x = np.append(np.full(15, np.nan), np.tile([0.0, 1.0], 15))
    found = by_group(slices.compare({"g": ["a"] * 25 + ["b"] * 20}, {"x": x}, "holm"))
    assert (found["g", "a"]["n"], found["g", "b"]["n"]) == (10, 20)


def null(seed: int) -> dict[str, Any]:
    """Groups that make no difference: two columns, two measures, 14 comparisons."""
    rng = np.random.default_rng(seed)
    columns = {
        "a": [str(v) for v in rng.integers(0, 4, 80)],
        "b": [str(v) for v in rng.choice(3, 80, p=[0.2, 0.3, 0.5])],
    }
    measures = {"share": rng.binomial(12, 0.9, 80) / 12, "error": rng.beta(0.2, 0.3, 80) - 0.4}
    return slices.compare(columns, measures, "holm", seed, resamples=599)


def test_false_alarms_of_holm_stay_at_5_percent() -> None:
    runs = [null(seed)["tests"] for seed in range(200)]
    assert np.mean([test["p"] is not None for tests in runs for test in tests]) > 0.9
    alarms = np.mean([any(test["differs"] for test in tests) for tests in runs])
    assert alarms <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    uncorrected = np.mean([any((test["p"] or 1) < 0.05 for test in tests) for tests in runs])
    assert uncorrected > 0.25  # so there was something to correct


@pytest.mark.parametrize("correction", ["holm", "bh"])
def test_a_planted_fault_is_found_and_nothing_else(correction: Correction) -> None:
    rng = np.random.default_rng(3)
    category = [f"c{v}" for v in rng.integers(0, 8, 400)]
    length = slices.groups(rng.integers(5, 300, 400).tolist())
    bad = np.array([name == "c5" for name in category])
    measures = {
        "class_right": (rng.random(400) < np.where(bad, 0.4, 0.85)).astype(float),
        "best_class_error": rng.normal(0, 0.3, 400) - 0.25 * bad,
        "propositions_right": rng.binomial(10, 0.9, 400) / 10,
    }
    found = slices.compare({"category": category, "length": length}, measures, correction)
    assert {(t["value"], t["measure"]) for t in found["tests"] if t["differs"]} == {
        ("c5", "class_right"),
        ("c5", "best_class_error"),
    }
    [low] = [t for t in found["tests"] if t["value"] == "c5" and t["measure"] == "best_class_error"]
    assert low["here"] < low["elsewhere"] - 0.1


def test_the_seed_decides() -> None:
    assert null(1) == null(1)


def test_numbers_are_cut_into_terciles() -> None:
    assert slices.groups([5, 1, 2, 3, 4, 6]) == ["5 to 6", "1 to 2", "1 to 2", "3 to 4", "3 to 4", "5 to 6"]
    assert slices.groups([1, 1, 1, 1, 2, 3, 4.5]) == ["1"] * 4 + ["2", "3 to 4.5", "3 to 4.5"]


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        ([0, 1, 1.0, None], ["0", "1", "1", "(none)"]),
        ([True, False], ["true", "false"]),
        (["K-R", None, 3], ["K-R", "(none)", "3"]),
        ([float("nan"), None], ["(none)", "(none)"]),
        ([], []),
    ],
)
def test_other_columns_are_cut_by_value(values: list[Any], groups: list[str]) -> None:
    assert slices.groups(values) == groups


@given(st.lists(st.one_of(st.none(), st.integers(-99, 99), st.floats(-9, 9)), max_size=60))
def test_every_row_has_a_group_and_numbers_have_three_at_most(values: list[float | None]) -> None:
    found = slices.groups(values)
    assert len(found) == len(values)
    assert len(set(found) - {"(none)"}) <= 3


def test_groups_come_in_order() -> None:
    values = [*range(200, 0, -1), None]
    found = slices.compare({"n": slices.groups(values)}, {"x": np.zeros(201)}, "holm", resamples=1)
    assert [test["value"] for test in found["tests"]] == ["1 to 67", "68 to 134", "135 to 200", "(none)"]
