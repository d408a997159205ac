"""Groups of rows against the rest: corrections by hand, false alarms counted, a planted fault found."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import false_discovery_control, fisher_exact, permutation_test, ttest_ind

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


def test_a_binary_measure_gets_what_fishers_exact_test_gives() -> None:
    """Equal groups: the tables as far from even are those that Fisher's test counts."""
    right = np.array([1.0] * 4 + [0.0] * 10 + [1.0] * 11 + [0.0] * 3)
    found = by_group(slices.compare({"g": ["a"] * 14 + ["b"] * 14}, {"right": right}, "holm"))
    p = fisher_exact(np.array([[4, 10], [11, 3]])).pvalue
    assert found["g", "a"] == {
        "column": "g", "value": "a", "measure": "right", "n": 14, "here": pytest.approx(4 / 14),
        "elsewhere": pytest.approx(11 / 14), "p": pytest.approx(p, abs=0.005),
        "adjusted": found["g", "a"]["p"], "differs": True,
    }  # fmt: skip


def test_few_prompts_are_permuted() -> None:
    """The p of every way to choose the group: the statistic by hand."""
    rng = np.random.default_rng(6)
    x = np.append(rng.normal(0.5, 1, 10), rng.normal(0, 2, 12))
    z = x - x.mean()

    def t(a: Floats, b: Floats) -> float:
        pooled = (a @ a + b @ b) / 22
        sides = sum(max(part @ part, len(part) * pooled) / len(part) ** 2 for part in (a, b))
        return float(abs(a.mean() - b.mean()) / np.sqrt(sides))

    expected = permutation_test((z[:10], z[10:]), t, n_resamples=4999, alternative="greater", rng=1).pvalue
    found = by_group(slices.compare({"g": ["a"] * 10 + ["b"] * 12}, {"x": x}, "holm"))
    assert found["g", "a"]["p"] == pytest.approx(expected, abs=0.025)
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
    found = slices.compare({"g": ["a", "b", "c"] * 11}, {"x": np.full(33, value)}, "holm")
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


def null(seed: int, per_prompt: int, worse: float = 0.0) -> dict[str, Any]:
    """60 prompts of very different difficulty, in groups that make no difference, but for the category "c0",
    which is `worse`; lengths vary within a prompt."""
    rng = np.random.default_rng(seed)
    prompts = np.repeat(np.arange(60), per_prompt)
    hard = rng.normal(0, 2, 60)[prompts]
    category = rng.choice(3, 60, p=[0.3, 0.3, 0.4])[prompts]
    length = rng.gamma(2, 50, len(prompts)) * np.exp(rng.normal(0, 0.5, 60))[prompts]
    bad = worse * (category == 0)
    measures = {
        "right": (rng.random(len(prompts)) < expit(1.5 + hard - bad)).astype(float),
        "error": rng.beta(0.2, 0.3, len(prompts)) + np.tanh(hard - bad),
    }
    columns = {"category": [f"c{c}" for c in category], "length": slices.groups(length.tolist())}
    return slices.compare(columns, measures, "holm", seed, prompts=prompts)


@pytest.mark.parametrize("per_prompt", [1, 4])
def test_false_alarms_of_holm_stay_at_5_percent(per_prompt: int) -> None:
    runs = [null(seed, per_prompt) for seed in range(100)]
    assert min(run["comparisons"] for run in runs) >= 10
    alarms = np.mean([run["differing"] > 0 for run in runs])
    assert alarms <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    uncorrected = np.mean([any((test["p"] or 1) < 0.05 for test in run["tests"]) for run in runs])
    assert uncorrected > 0.2  # so there was something to correct


def test_a_bad_group_of_prompts_is_found() -> None:
    runs = [null(seed, 4, worse=6) for seed in range(10)]
    found = [{t["value"] for t in run["tests"] if t["differs"]} for run in runs]
    assert sum("c0" in values for values in found) >= 9


def test_a_bad_length_is_found_within_prompts() -> None:
    rng = np.random.default_rng(1)
    prompts = np.repeat(np.arange(100), 3)
    length = ["short", "middle", "long"] * 100
    long = np.array([name == "long" for name in length])
    x = rng.normal(0, 2, 100)[prompts] + rng.normal(0, 1, 300) - 0.8 * long
    found = by_group(slices.compare({"length": length}, {"x": x}, "holm", prompts=prompts))
    assert found["length", "long"]["differs"]


def test_copies_of_completions_prove_no_more_than_one() -> None:
    x = np.random.default_rng(0).normal(0, 1, 50)
    groups = ["a"] * 20 + ["b"] * 30
    once = slices.compare({"g": groups}, {"x": x}, "holm")["tests"]
    copied = slices.compare(
        {"g": groups * 4}, {"x": np.tile(x, 4)}, "holm", prompts=np.tile(np.arange(50), 4)
    )
    assert [t["p"] for t in copied["tests"]] == pytest.approx([t["p"] for t in once])
    assert [t["n"] for t in copied["tests"]] == [80, 120]


def test_ten_rows_that_agree_are_no_alarm_within_prompts() -> None:
    """Nearly all rows are right, so a few that are all right are nothing rare."""
    x = np.ones(300)
    x[::20] = 0
    groups = ["few" if i % 6 == 1 and i < 150 else "rest" for i in range(300)]
    found = slices.compare({"g": groups}, {"x": x}, "holm", prompts=np.repeat(np.arange(150), 2))
    assert by_group(found)["g", "few"]["here"] == 1
    assert by_group(found)["g", "few"]["p"] > 0.05


def test_prompts_that_are_the_same_on_average_differ_nowhere() -> None:
    prompts = np.repeat(np.arange(40), 2)
    found = slices.compare(
        {"g": ["a"] * 40 + ["b"] * 40}, {"x": np.tile([0.1, 0.9], 40)}, "holm", prompts=prompts
    )
    assert [test["p"] for test in found["tests"]] == [1, 1]


def test_groups_of_few_prompts_are_not_tested() -> None:
    prompts = np.append(np.zeros(50), np.arange(1, 51)).astype(np.intp)
    found = slices.compare({"g": ["a"] * 50 + ["b"] * 50}, {"x": np.arange(100.0)}, "holm", prompts=prompts)
    assert (found["comparisons"], found["tests"][0]["n"], found["tests"][0]["p"]) == (0, 50, None)


def test_both_halves_of_a_column_are_one_comparison() -> None:
    x = np.random.default_rng(0).normal(0, 1, 60)
    found = slices.compare({"half": ["b", "a"] * 30, "third": ["x", "y", "z"] * 20}, {"x": x}, "holm")
    a, b, *_ = found["tests"]
    assert found["comparisons"] == 4
    assert (a["p"], a["adjusted"]) == (b["p"], b["adjusted"])
    assert (a["here"], a["elsewhere"]) == pytest.approx((b["elsewhere"], b["here"]))


def test_a_difference_is_found_among_hundreds_of_comparisons() -> None:
    """However many there are, enough permutations are drawn for the smallest p to pass."""
    rng = np.random.default_rng(2)
    columns = {f"noise {i}": rng.choice(["a", "b", "c"], 200).tolist() for i in range(99)}
    bad = rng.choice(["bad", "good", "other"], 200, p=[0.2, 0.4, 0.4])
    x = rng.normal(0, 1, 200) - 2 * (bad == "bad")
    found = slices.compare({**columns, "planted": bad.tolist()}, {"x": x}, "holm")
    assert found["comparisons"] == 300
    assert by_group(found)["planted", "bad"]["differs"]


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
    assert null(1, 4) == null(1, 4)


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
    found = slices.compare({"n": slices.groups(values)}, {"x": np.zeros(201)}, "holm")
    assert [test["value"] for test in found["tests"]] == ["1 to 67", "68 to 134", "135 to 200", "(none)"]
