"""Cohen's kappa by hand, against resampling, and where it is undefined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rbr_service.rbr.agreement import Agreement, agreement, mean_kappa

Floats = NDArray[np.float64]
NAN = float("nan")


def pairs(both_yes: int, yes_no: int, no_yes: int, both_no: int) -> tuple[Floats, Floats]:
    """Two annotators' labels with so many rows of each kind."""
    counts = (both_yes, yes_no, no_yes, both_no)
    return np.repeat([1.0, 1.0, 0.0, 0.0], counts), np.repeat([1.0, 0.0, 1.0, 0.0], counts)


def test_by_hand() -> None:
    found = agreement(*pairs(20, 5, 10, 15))
    assert (found.n, found.yes, found.prevalence) == (50, (25, 30), 0.55)
    assert found.observed == pytest.approx(0.7)
    assert found.kappa == pytest.approx((0.7 - 0.5) / (1 - 0.5))


def test_the_interval_is_that_of_resampled_rows() -> None:
    a, b = pairs(400, 90, 160, 1350)
    found = agreement(a, b)
    assert found.interval is not None
    generator = np.random.default_rng(0)
    draws = (generator.integers(0, len(a), len(a)) for _ in range(3000))
    kappas = [k for k in (agreement(a[i], b[i]).kappa for i in draws) if k is not None]
    assert len(kappas) == 3000
    assert found.interval == pytest.approx(tuple(np.quantile(kappas, [0.025, 0.975])), abs=0.004)


def test_rows_that_one_did_not_label_do_not_count() -> None:
    a, b = pairs(20, 5, 10, 15)
    more = np.append(a, [NAN, 1.0, NAN]), np.append(b, [1.0, NAN, NAN])
    assert agreement(*more) == agreement(a, b)


@pytest.mark.parametrize("counts", [(9, 0, 0, 0), (0, 0, 0, 9), (0, 9, 0, 0), (0, 0, 9, 0)])
def test_kappa_of_two_constant_annotators_is_undefined(counts: tuple[int, int, int, int]) -> None:
    found = agreement(*pairs(*counts))
    assert (found.kappa, found.interval) == (None, None)
    assert found.observed == float(counts[0] + counts[3] == 9)


def test_no_rows_give_no_figures() -> None:
    assert agreement(np.array([NAN, 1.0]), np.array([0.0, NAN])) == Agreement(0, (0, 0), None, None, None)


def test_perfect_agreement_has_no_interval() -> None:
    found = agreement(*pairs(3, 0, 0, 3))
    assert (found.kappa, found.interval) == (1.0, None)


def test_one_constant_annotator_is_no_better_than_chance() -> None:
    found = agreement(*pairs(0, 3, 0, 17))
    assert found.kappa == pytest.approx(0)
    assert found.interval is None


@pytest.mark.parametrize(
    ("counts", "unstable"),
    [((9, 0, 0, 500), True), ((10, 0, 0, 500), False), ((500, 0, 0, 9), True), ((5, 5, 4, 500), True)],
)
def test_rare_labels_are_told(counts: tuple[int, int, int, int], unstable: bool) -> None:
    assert agreement(*pairs(*counts)).unstable is unstable


@given(st.tuples(*[st.integers(0, 30)] * 4))
def test_whoever_comes_first_and_whatever_yes_means(counts: tuple[int, int, int, int]) -> None:
    a, b = pairs(*counts)
    found, swapped, inverted = agreement(a, b), agreement(b, a), agreement(1 - a, 1 - b)
    for other in (swapped, inverted):
        assert other.kappa == pytest.approx(found.kappa)
        assert other.interval == pytest.approx(found.interval)
    if found.kappa is not None:
        assert -1 <= found.kappa <= 1
        assert found.interval is None or found.interval[0] <= found.kappa <= found.interval[1]


def test_the_mean_passes_over_undefined_ones() -> None:
    half, constant = agreement(*pairs(20, 5, 10, 15)), agreement(*pairs(0, 0, 0, 9))
    assert mean_kappa([half, constant]) == pytest.approx(half.kappa)
    assert mean_kappa([constant]) is None
