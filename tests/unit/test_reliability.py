"""Reliability figures against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbr_service.rbr import reliability

PROBABILITIES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def test_figures_by_hand() -> None:
    p = np.array([0.12, 0.18, 0.9, 0.9, 0.55, 0.3])
    labels = np.array([0.0, 1.0, 1.0, 1.0, np.nan, 0.0])
    found = reliability.figures(p, labels)
    assert found == {
        "n": 5,
        "positives": 3,
        "accuracy": 0.8,
        "brier": pytest.approx((0.12**2 + 0.82**2 + 2 * 0.1**2 + 0.3**2) / 5),
        # bins: {.12, .18} holds one yes, {.3} none, {.9, .9} two
        "ece": pytest.approx((abs(0.3 - 1) + 0.3 + abs(1.8 - 2)) / 5),
        "bins": [
            {"p": pytest.approx(0.15), "share": 0.5, "n": 2},
            {"p": 0.3, "share": 0.0, "n": 1},
            {"p": 0.9, "share": 1.0, "n": 2},
        ],
    }


def test_repeats_are_averaged_and_not_pooled() -> None:
    labels = np.array([1.0, 0.0, np.nan])
    found = reliability.repeated(np.array([[0.8, 0.3, 0.5], [0.6, 0.1, 0.5]]), labels)
    assert (found["n"], found["positives"], found["accuracy"]) == (2, 1, 1.0)
    assert found["eces"] == pytest.approx([0.25, 0.25])
    assert found["ece"] == pytest.approx(0.25)
    assert found["brier"] == pytest.approx((0.2**2 + 0.3**2 + 0.4**2 + 0.1**2) / 4)
    assert reliability.repeated(np.full((2, 1), 0.5), np.array([np.nan]))["ece"] is None


def test_repeats_beyond_and_below_do_not_cancel() -> None:
    p = np.array([[0.41] * 4, [0.49] * 4])
    labels = np.array([1.0, 1.0, 0.0, 0.0])
    assert reliability.repeated(p, labels)["ece"] == pytest.approx((0.09 + 0.01) / 2)


def test_nothing_labelled_has_no_figures() -> None:
    found = reliability.figures(np.array([0.5]), np.array([np.nan]))
    assert found == {"n": 0, "positives": 0, "accuracy": None, "brier": None, "ece": None, "bins": []}


def test_zero_and_one_have_bins() -> None:
    p, truth = np.array([0.0, 1.0, 1.0]), np.array([False, True, True])
    assert reliability.ece(p, truth) == 0.0
    assert [row["n"] for row in reliability.bins(p, truth)] == [1, 2]


@given(PROBABILITIES)
def test_bounds(rows: list[tuple[float, bool]]) -> None:
    p, truth = np.array([p for p, _ in rows]), np.array([t for _, t in rows])
    assert 0 <= reliability.ece(p, truth) <= 1
    assert 0 <= reliability.brier(p, truth) <= 1
    assert sum(row["n"] for row in reliability.bins(p, truth)) == len(rows)


def test_what_is_calibrated_shows_the_least_ece() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(0.5, 0.5, 351)
    shown = [reliability.ece(p, rng.random(351) < p) for _ in range(200)]
    assert reliability.least_ece(p) == pytest.approx(np.mean(shown), abs=0.003)
    assert reliability.least_ece(p) > 0.02


def test_least_ece_falls_with_rows_and_is_0_for_what_is_certain() -> None:
    p = np.full(100, 0.3)
    assert reliability.least_ece(np.tile(p, 100)) < 0.2 * reliability.least_ece(p)
    assert reliability.least_ece(np.array([0.0, 1.0])) == 0.0
