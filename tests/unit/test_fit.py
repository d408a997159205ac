"""The fit against the exact optimum (a linear programme), its constraints, and what it refuses."""

import numpy as np
import pytest

from rbr_service.errors import DataError
from rbr_service.rbr.fit import Objective, fit, problem
from rbr_service.rbr.policy import Policy, ResponseType
from rbr_service.rbr.ranked import Ranked
from tests import linear_programme, simulated

EXACT = Objective(l2=0.0)


def of_type(kind: ResponseType, seed: int, noise: float = 0.4, prompts: int = 40) -> Ranked:
    """Per prompt one completion per class: the better, the likelier its good traits."""
    rng = np.random.default_rng(seed)
    good = np.array([p in kind.good for p in kind.propositions])
    ranks = np.tile(np.arange(len(kind.classes)), prompts)
    share = 1 - ranks[:, None] / (len(kind.classes) - 1)
    p = np.where(good, share, 1 - share) * (1 - noise) + noise * rng.uniform(size=(len(ranks), len(good)))
    numbers = np.repeat(np.arange(prompts), len(kind.classes))
    return Ranked(kind, numbers, ranks, p, rng.normal(size=len(ranks)))


def replaced(ranked: Ranked, **columns: np.ndarray) -> Ranked:
    found = {"prompts": ranked.prompts, "ranks": ranked.ranks, "p": ranked.p, "base": ranked.base}
    return Ranked(ranked.kind, **{**found, **columns})


@pytest.mark.parametrize("name", ["hard_refusal", "comply"])
@pytest.mark.parametrize("weigh", ["pair", "prompt"])
def test_without_l2_the_loss_is_the_linear_programmes(safety: Policy, name: str, weigh: str) -> None:
    kind = safety.response_types[name]
    data = of_type(kind, seed=3, noise=0.95)
    objective = Objective(l2=0.0, weigh=weigh, margins={("ideal", "disallowed"): 2.5})  # type: ignore[arg-type]
    exact = linear_programme.optimum(problem(data, data.pairs(), objective))
    assert exact > 0.01, "the data must not be separable, or the test says nothing"
    assert fit(data, objective).loss == pytest.approx(exact, rel=1e-5)


def test_at_the_papers_size_within_a_millionth_of_the_optimum() -> None:
    data = simulated.ranked(simulated.wide_type(), 6700)
    exact = linear_programme.optimum(problem(data, data.pairs(), EXACT))
    assert 0 <= fit(data, EXACT).loss / exact - 1 < 1e-6


def test_signs_order_and_sum(safety: Policy) -> None:
    for kind in safety.response_types.values():
        w = fit(of_type(kind, seed=5, noise=0.9), Objective()).weights
        classes = [w[f"class:{c}"] for c in kind.classes]
        assert classes == sorted(classes, reverse=True)
        assert sum(classes) == pytest.approx(0, abs=1e-6)
        assert all(w[f"p:{p}"] >= 0 for p in kind.good & set(kind.feature_propositions))
        assert all(w[f"p:{p}"] <= 0 for p in kind.bad & set(kind.feature_propositions))


def test_same_data_same_weights_whatever_the_order_of_prompts() -> None:
    data = simulated.ranked(simulated.wide_type(), 300)
    assert fit(data, EXACT) == fit(data, EXACT)
    backwards = data.take(np.arange(len(data))[::-1].copy())
    again = fit(backwards, Objective())
    assert again.weights == pytest.approx(fit(data, Objective()).weights, abs=1e-3)


def test_a_strong_base_reward_is_overcome(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    data = of_type(kind, 2, noise=0.1)
    against = replaced(data, base=3.0 * data.ranks)
    found = fit(against, Objective())
    reward = against.base + against.phi @ np.array(list(found.weights.values()))
    pairs = against.pairs()
    assert (reward[pairs.better] > reward[pairs.worse]).all()


def test_fractional_margins_count_as_they_are(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    data = replaced(of_type(kind, 2, noise=0.1), base=np.zeros(200))
    lead = [
        float(np.array(list(fit(data, Objective(margin=margin, l2=1e-6)).weights.values())) @ (
            data.phi[data.ranks == 0].mean(axis=0) - data.phi[data.ranks == 1].mean(axis=0)))
        for margin in (0.5, 1.0)
    ]  # fmt: skip
    assert lead[0] == pytest.approx(lead[1] / 2, rel=0.05)
    assert lead[0] > 0.4


def test_a_margin_of_two_classes_moves_only_these(safety: Policy) -> None:
    kind = safety.response_types["hard_refusal"]
    data = replaced(of_type(kind, 4, noise=0.02), base=np.zeros(200))
    far = Objective(l2=0.0, margins={("ideal", "minimum_acceptable"): 7.25})
    w = np.array(list(fit(data, far).weights.values()))
    means = [float(data.phi[data.ranks == rank].mean(axis=0) @ w) for rank in range(len(kind.classes))]
    assert means[0] - means[1] >= 7.2


def test_prompts_weigh_equally_where_asked(safety: Policy) -> None:
    """One prompt has as many pairs as nine others together, and says the opposite of them."""
    kind = safety.response_types["hard_refusal"]
    feature = kind.feature_propositions.index("fully_complies")  # neither good nor bad: any sign
    column = kind.propositions.index("fully_complies")
    p = np.full((28, len(kind.propositions)), 0.5)
    prompts = np.array([0] * 10 + [i for i in range(1, 10) for _ in range(2)])
    ranks = np.array([0] * 5 + [2] * 5 + [0, 2] * 9)
    p[:10, column] = np.where(ranks[:10] == 0, 0.9, 0.1)
    p[10:, column] = np.where(ranks[10:] == 0, 0.1, 0.9)
    data = Ranked(kind, prompts, ranks, p, np.zeros(28))
    per_pair, per_prompt = (
        fit(data, Objective(weigh=weigh)).weights[f"p:{kind.feature_propositions[feature]}"]
        for weigh in ("pair", "prompt")
    )
    assert per_pair > 0.1
    assert per_prompt < -0.1


def test_what_is_left_out_weighs_nothing(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    data = of_type(kind, 1, noise=0.6)
    found = fit(data, Objective(), without={"p:judgement", "class:ideal"}).weights
    assert found["p:judgement"] == 0
    assert all(weight == 0 for name, weight in found.items() if name.startswith("class:"))
    assert any(found.values())


@pytest.mark.parametrize("l2", [0.0, 1e-4])
def test_a_constant_feature_is_named_and_weighs_nothing(safety: Policy, l2: float) -> None:
    kind = safety.response_types["comply"]
    data = of_type(kind, 1)
    p = data.p.copy()
    p[:, kind.propositions.index("insulting_language")] = 0.25
    found = fit(replaced(data, p=p), Objective(l2=l2))
    assert found.constant == ("p:insulting_language",)
    assert found.weights["p:insulting_language"] == 0


def test_one_prompt_is_enough_to_fit(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    assert fit(of_type(kind, 1, prompts=1), Objective()).pairs == 10


def test_nothing_to_rank_is_said(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    data = of_type(kind, 1)
    with pytest.raises(DataError, match="nothing can be ranked; its 200 completions are ideal"):
        fit(replaced(data, ranks=np.zeros(200, dtype=np.intp)), Objective())
    with pytest.raises(DataError, match="its 0 completions are none"):
        fit(data.take(np.zeros(0, dtype=np.intp)), Objective())


def test_a_million_completions(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    prompts = np.repeat(np.arange(250_000), 4)
    ranks = np.tile(np.arange(4), 250_000)
    rng = np.random.default_rng(0)
    p = np.clip(rng.uniform(size=(10**6, len(kind.propositions))) - 0.1 * ranks[:, None], 0, 1)
    found = fit(Ranked(kind, prompts, ranks, p, rng.normal(size=10**6)), Objective())
    assert found.pairs == 1_500_000
    assert 0 < found.loss < 1.5
