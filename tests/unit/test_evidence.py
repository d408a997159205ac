"""What a fit has to show: strengths, intervals, classes; against hand values."""

import numpy as np
import pytest

from rbr_service.errors import DataError
from rbr_service.rbr import evidence
from rbr_service.rbr.fit import Objective
from rbr_service.rbr.policy import Policy
from rbr_service.rbr.ranked import Ranked
from tests import simulated


@pytest.fixture(scope="module")
def train() -> Ranked:
    return simulated.ranked(simulated.wide_type(), 150, seed=1)


@pytest.fixture(scope="module")
def held_out() -> Ranked:
    return simulated.ranked(simulated.wide_type(), 150, seed=2)


def unpaid(ranked: Ranked) -> Ranked:
    return Ranked(ranked.kind, ranked.prompts, ranked.ranks, ranked.p, np.zeros(len(ranked)))


def test_strength_multiplies_every_weight(train: Ranked, held_out: Ranked) -> None:
    plain, double = (evidence.fit_strong(train, held_out, Objective(), s, 0.1) for s in (1.0, 2.0))
    assert double.strength == 2
    assert double.weights == pytest.approx({name: 2 * w for name, w in plain.weights.items()}, abs=1e-8)


def test_auto_strength_is_folded_into_the_weights(train: Ranked, held_out: Ranked) -> None:
    strong = evidence.fit_strong(train, held_out, Objective(), "auto", 0.2)
    error = evidence.held_out_figures(strong.weights, held_out, 0)["ranking_error"]["total"]["value"]
    weaker = {name: 0.98 * weight for name, weight in strong.weights.items()}
    assert error <= 0.2
    assert evidence.held_out_figures(weaker, held_out, 0)["ranking_error"]["total"]["value"] > 0.2


@pytest.mark.parametrize("missing", ["held out", "base reward", "best class"])
def test_auto_strength_needs_data_to_choose_by(train: Ranked, held_out: Ranked, missing: str) -> None:
    judged = {
        "held out": None,
        "base reward": unpaid(held_out),
        "best class": held_out.take(held_out.ranks > 0),
    }[missing]
    with pytest.raises(DataError, match=missing.replace("held out", "held-out")):
        evidence.fit_strong(train, judged, Objective(), "auto", 0.1)


def test_held_out_figures(train: Ranked, held_out: Ranked) -> None:
    strong = evidence.fit_strong(train, held_out, Objective(), 1.0, 0.1)
    found = evidence.held_out_figures(strong.weights, held_out, 0)
    assert found["prompts"] == 150
    assert found["completions"] == 600
    errors = found["ranking_error"]
    assert errors["total"]["value"] < errors["base"]["value"]
    assert -1 <= found["rank_correlation"]["value"] <= 1
    alone = evidence.held_out_figures(strong.weights, unpaid(held_out), 0)
    assert alone["ranking_error"]["base"] is None
    assert alone["rank_correlation"] is None
    assert alone["ranking_error"]["rbr"] == alone["ranking_error"]["total"] == errors["rbr"]


def test_intervals_of_weights_hold_most_refits(train: Ranked, held_out: Ranked) -> None:
    strong = evidence.fit_strong(train, held_out, Objective(l2=0.01), 3.0, 0.1)
    counted: list[int] = []
    found = evidence.weight_intervals(train, Objective(l2=0.01), strong, 20, 0, lambda: counted.append(1))
    assert found is not None
    assert len(counted) == 20
    assert found == evidence.weight_intervals(train, Objective(l2=0.01), strong, 20, 0)
    other = evidence.fit_strong(held_out, None, Objective(l2=0.01), 3.0, 0.1).weights
    inside = [one.low - 0.2 <= other[name] <= one.high + 0.2 for name, one in found.items()]
    assert np.mean(inside) > 0.6
    assert any(one.high > one.low for one in found.values())


def test_without_resampling_there_is_no_interval(train: Ranked) -> None:
    strong = evidence.fit_strong(train, None, Objective(), 1.0, 0.1)
    assert evidence.weight_intervals(train, Objective(), strong, 0, 0) is None


def test_losses_are_those_of_the_weights_as_they_are(train: Ranked) -> None:
    plain, double = (evidence.fit_strong(train, None, Objective(), s, 0.1) for s in (1.0, 2.0))
    losses = [evidence.train_figures(train, Objective(), one) for one in (plain, double)]
    assert losses[0]["loss"] == pytest.approx(plain.fit.loss, abs=1e-6)
    assert losses[1]["loss"] != pytest.approx(losses[0]["loss"], abs=1e-3)
    assert losses[1]["objective"] > losses[0]["objective"], "the fit has the least objective"


def test_confusion_counts_labelled_by_graded_class(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    p = np.zeros((3, len(kind.propositions)))
    p[0, [kind.propositions.index(n) for n in ("partially_complies", "fully_complies")]] = 1
    p[1, kind.propositions.index("disallowed_content")] = 1
    ranked = Ranked(kind, np.arange(3), np.array([0, 0, 2]), p, np.zeros(3))
    counts = np.array(evidence.confusion(ranked)["counts"])
    assert counts[0, 0] == 1
    assert counts[0, 4] == 1
    assert counts[2, 2] == 1
    assert counts.sum() == 3


def test_everything_of_a_type(train: Ranked, held_out: Ranked) -> None:
    strong = evidence.fit_strong(train, held_out, Objective(), 1.0, 0.1)
    options = {"resamples": 2, "wanted_error": None, "seed": 0, "progress": lambda: None}
    found = evidence.of_type(train, held_out, Objective(), strong, **options)  # type: ignore[arg-type]
    rewards = evidence.reward(strong.weights, held_out)
    assert found["range"]["low"] <= rewards.min()
    assert rewards.max() <= found["range"]["high"]
    assert sum(len(columns["rbr"]) for columns in found["rewards"].values()) == 600
    strengths = [point["strength"] for point in found["strength"]["curve"]]
    assert strengths[0] < found["strength"]["chosen"] < strengths[-1]
    lone = evidence.of_type(train, None, Objective(), strong, **options)  # type: ignore[arg-type]
    assert lone.keys() == {"classes", "train", "weights", "range", "strength"}
