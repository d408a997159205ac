"""Calibration curves: what they may never do, where they are left out, and the file they are kept in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.errors import CalibrationError
from rbr_service.rbr import calibration, reliability
from rbr_service.rbr.calibration import Calibration, Curve, GraderIdentity
from rbr_service.rbr.ranked import Floats

GRADER = GraderIdentity(name="lexical", fingerprint="f00")
MADE = Calibration(
    grader=GRADER,
    propositions={"apology": Curve(slope=0.5, offset=-1.25, n=351, positives=40)},
    questions={"apology": "abc"},
    origin={"command": "rbr calibrate"},
)


def drawn(n: int, slope: float, offset: float, seed: int = 0) -> tuple[Floats, Floats]:
    """P(yes), and labels that are true as often as sigmoid(slope * logit(P) + offset) says."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.98, n)
    true = calibration.scaled(Curve(slope=slope, offset=offset, n=n, positives=0), p)
    return p, (rng.random(n) < true).astype(float)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Any P and labels, among them few values, extreme ones, and rows that are not labelled."""
    values = draw(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    rows = draw(
        st.lists(st.tuples(st.sampled_from(values), st.sampled_from([0.0, 1.0, np.nan])), max_size=80)
    )
    table = np.array(rows, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@given(labelled())
@settings(max_examples=150, deadline=None)
def test_a_curve_keeps_order_and_stays_in_bounds(data: tuple[Floats, Floats]) -> None:
    p, labels = data
    yes, no = int((labels == 1).sum()), int((labels == 0).sum())
    curve = calibration.fit(p, labels)
    assert (curve is None) == (min(yes, no) < 10)
    if curve is None:
        return
    assert (curve.n, curve.positives) == (yes + no, yes)
    assert calibration.fit(p, labels) == curve
    grid = np.sort(np.append(p, [0.0, 1e-9, 0.5, 1.0]))
    made = calibration.scaled(curve, grid)
    assert ((made >= 0) & (made <= 1)).all()
    assert (np.diff(made) >= 0).all()


def test_a_curve_is_found_again() -> None:
    curve = calibration.fit(*drawn(20_000, 0.6, -0.8))
    assert curve is not None
    assert curve.slope == pytest.approx(0.6, abs=0.03)
    assert curve.offset == pytest.approx(-0.8, abs=0.05)


def test_an_order_that_is_wrong_is_flattened_not_turned_round() -> None:
    p, labels = drawn(2000, 1, 0)
    curve = calibration.fit(1 - p, labels)
    assert curve is not None
    assert curve.slope == 0
    assert calibration.scaled(curve, p) == pytest.approx(np.full(len(p), labels.mean()), abs=0.001)


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.03, 0.5, 1.0])
def test_a_constant_p_becomes_the_share_of_yes(p: float) -> None:
    labels = np.repeat([1.0, 0.0], [15, 85])
    curve = calibration.fit(np.full(100, p), labels)
    assert curve is not None
    assert curve.slope == 1
    assert calibration.scaled(curve, np.array([p])) == pytest.approx([0.15], abs=0.01)


@pytest.mark.parametrize("levels", [(0.05, 0.95), (0.0, 1.0), (0.49, 0.51), (0.9, 0.95)])
def test_separable_data_gives_a_finite_curve_that_learned(levels: tuple[float, float]) -> None:
    p, labels = np.repeat(levels, [40, 12]), np.repeat([0.0, 1.0], [40, 12])
    curve = calibration.fit(p, labels)
    assert curve is not None
    assert np.isfinite([curve.slope, curve.offset]).all()
    assert reliability.brier(calibration.scaled(curve, p), labels == 1) < 0.05


@pytest.mark.parametrize(("yes", "no"), [(0, 50), (50, 0), (9, 50), (50, 9)])
def test_few_labels_of_a_kind_leave_p_as_it_is(yes: int, no: int) -> None:
    p = np.linspace(0.1, 0.9, yes + no)
    labels = np.repeat([1.0, 0.0], [yes, no])
    prompts = np.arange(yes + no)
    assert calibration.fit(p, labels) is None
    assert np.array_equal(calibration.cross_validated(p, labels, prompts, 5, 1, 0), [p])


def test_ten_of_a_kind_make_a_curve_but_not_in_a_fold() -> None:
    p, labels = np.linspace(0.1, 0.9, 60), np.repeat([1.0, 0.0], [10, 50])
    assert calibration.fit(p, labels) is not None
    [made] = calibration.cross_validated(p, labels, np.arange(60), 5, 1, 0)
    assert np.array_equal(made, p)  # each fold holds two of the ten: eight are left


def test_cross_validation_calibrates_rows_that_the_curve_has_not_seen() -> None:
    p, labels = drawn(1000, 0.3, 1.0)
    [made] = calibration.cross_validated(p, labels, np.arange(1000), 5, 1, 0)
    assert reliability.ece(p, labels == 1) > 0.15
    assert reliability.ece(made, labels == 1) < 0.06


def test_rows_of_a_prompt_share_a_curve() -> None:
    """Equal P of one prompt stay equal: were a prompt in two folds, its labels would reach its own rows."""
    p, labels = drawn(60, 0.5, 0.0)
    prompts = np.random.default_rng(0).permutation(np.repeat(np.arange(60), 5))
    [made] = calibration.cross_validated(p[prompts], np.tile(labels, 5), prompts, 5, 1, 0)
    assert len(set(zip(prompts.tolist(), made.tolist(), strict=True))) == 60
    assert len(np.unique(made - p[prompts])) > 5  # and there are several curves


def test_cross_validation_is_seeded() -> None:
    p, labels = drawn(200, 0.5, 0.5)
    first, again, other = (
        calibration.cross_validated(p, labels, np.arange(200), 5, 3, seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    repeats = [*first, *other]
    assert len({one.tobytes() for one in repeats}) == 6  # no two deal the folds alike


def test_names_without_a_curve_keep_their_p() -> None:
    p = np.array([[0.2, 0.7], [0.9, 0.7]])
    made = MADE.apply(("apology", "judgement"), p)
    assert made[:, 1].tolist() == [0.7, 0.7]
    assert made[0, 0] == pytest.approx(1 / (1 + np.exp(-(0.5 * np.log(0.2 / 0.8) - 1.25))))
    assert p[0, 0] == 0.2


@given(st.floats(0, 50), st.floats(-1000, 1000), st.floats(0, 1))
def test_one_p_goes_through_a_curve_as_a_column_does(slope: float, offset: float, p: float) -> None:
    curve = Curve(slope=slope, offset=offset, n=20, positives=10)
    assert curve.of(p) == pytest.approx(calibration.scaled(curve, np.array([p]))[0], abs=1e-9)
    assert 0 <= curve.of(p) <= 1


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(MADE.model_dump()))
    read = Calibration.load(path, "rbr calibrate")
    assert read == MADE
    assert read.version == MADE.version
    assert read.model_copy(update={"origin": {}}).version == MADE.version
    assert read.model_copy(update={"questions": {"apology": "other"}}).version != MADE.version


def test_a_missing_or_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(CalibrationError, match=r"c\.json: cannot be read: .*make it with: rbr calibrate"):
        Calibration.load(path, "rbr calibrate")
    path.write_text(json.dumps(MADE.model_dump())[:-20])
    with pytest.raises(CalibrationError, match=r"c\.json: content: .*make the file anew with: rbr calibrate"):
        Calibration.load(path, "rbr calibrate")


@pytest.mark.parametrize(
    ("key", "value"),
    [("slope", -0.1), ("slope", "steep"), ("slope", float("nan")), ("offset", float("inf")), ("offset", 1e4),
     ("n", -1), ("positives", 1.5), ("slop", 1.0)],
)  # fmt: skip
def test_a_bad_edit_is_refused_by_file_and_key(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "c.json"
    content = MADE.model_dump()
    content["propositions"]["apology"][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match=rf"c\.json: propositions\.apology\.{key}: "):
        Calibration.load(path, "rbr calibrate")


def test_what_it_was_fitted_to_is_told() -> None:
    assert MADE.mismatches(GRADER, {"apology": "abc", "other": "x"}) == []
    assert MADE.mismatches(GRADER, {}) == []  # a question that is gone harms nobody
    other = GraderIdentity(name="llm", fingerprint="f00")
    [grader, questions] = MADE.mismatches(other, {"apology": "reworded"})
    assert "lexical/f00" in grader
    assert "llm/f00" in grader
    assert "apology" in questions
    [unknown] = MADE.model_copy(update={"questions": {}}).mismatches(GRADER, {"apology": "abc"})
    assert "apology" in unknown
