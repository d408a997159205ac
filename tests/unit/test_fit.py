"""The fit against the exact optimum (a linear programme), and its constraints."""

import numpy as np
import pytest
from scipy.optimize import linprog

from rbr_service.errors import DataError
from rbr_service.rbr.fit import RankedRow, features, fit
from rbr_service.rbr.policy import Policy, ResponseType

PROMPTS = 40


def rows(kind: ResponseType, seed: int, noise: float = 0.4) -> list[RankedRow]:
    """Per prompt one completion per class: the better, the likelier its good traits."""
    rng = np.random.default_rng(seed)
    good = np.array([p in kind.good for p in kind.propositions])
    made = []
    for prompt in range(PROMPTS):
        for rank in range(len(kind.classes)):
            share = 1 - rank / (len(kind.classes) - 1)
            p = np.where(good, share, 1 - share) * (1 - noise) + noise * rng.uniform(size=len(good))
            made.append(RankedRow(str(prompt), rank, p, float(rng.normal())))
    return made


def exact_loss(kind: ResponseType, data: list[RankedRow]) -> float:
    """min of the mean hinge under the same constraints, solved exactly by HiGHS."""
    phi = features(kind, np.stack([r.p for r in data]))
    base = np.array([r.base_reward for r in data])
    pairs = [
        (i, j)
        for i, a in enumerate(data)
        for j, b in enumerate(data)
        if a.group == b.group and a.rank < b.rank
    ]
    d = np.array([phi[i] - phi[j] for i, j in pairs])
    gap = np.array([base[i] - base[j] for i, j in pairs])
    n, k = d.shape
    names = len(kind.feature_propositions)
    order = np.zeros((len(kind.classes) - 1, k))
    for i in range(len(kind.classes) - 1):
        order[i, names + i], order[i, names + i + 1] = -1, 1
    cost = np.concatenate([np.zeros(k), np.full(n, 1 / n)])
    upper = np.vstack([np.hstack([-d, -np.eye(n)]), np.hstack([order, np.zeros((len(order), n))])])
    limits = [
        (0 if p in kind.good else None, 0 if p in kind.bad else None) for p in kind.feature_propositions
    ] + [(None, None)] * len(kind.classes)
    solved = linprog(cost, A_ub=upper, b_ub=np.concatenate([gap - 1, np.zeros(len(order))]),
                     bounds=limits + [(0, None)] * n)  # fmt: skip
    assert solved.status == 0
    return float(solved.fun or 0.0)


@pytest.mark.parametrize("name", ["hard_refusal", "comply"])
def test_without_l2_the_loss_is_the_linear_programmes(safety: Policy, name: str) -> None:
    kind = safety.response_types[name]
    data = rows(kind, seed=3, noise=0.95)
    found, exact = fit(kind, data, l2=0.0), exact_loss(kind, data)
    assert exact > 0.01, "the data must not be separable, or the test says nothing"
    assert found.loss == pytest.approx(exact, abs=2e-3)


def test_signs_order_and_centre(safety: Policy) -> None:
    for kind in safety.response_types.values():
        w = fit(kind, rows(kind, seed=5, noise=0.9)).weights
        classes = [w[f"class:{c}"] for c in kind.classes]
        assert classes == sorted(classes, reverse=True)
        assert sum(classes) == pytest.approx(0, abs=1e-6)
        assert all(w[f"p:{p}"] >= 0 for p in kind.good & set(kind.feature_propositions))
        assert all(w[f"p:{p}"] <= 0 for p in kind.bad & set(kind.feature_propositions))


def test_same_data_same_weights(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    assert fit(kind, rows(kind, 1)) == fit(kind, rows(kind, 1))


def test_a_strong_base_reward_is_overcome(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    against = [RankedRow(r.group, r.rank, r.p, 3.0 * r.rank) for r in rows(kind, 2, noise=0.1)]
    assert fit(kind, against, l2=1e-4).error == 0


def test_nothing_to_rank_is_said(safety: Policy) -> None:
    kind = safety.response_types["comply"]
    with pytest.raises(DataError, match="nothing can be ranked"):
        fit(kind, [RankedRow(r.group, 0, r.p, 0.0) for r in rows(kind, 1)])
    with pytest.raises(DataError, match="nothing can be ranked"):
        fit(kind, [])
