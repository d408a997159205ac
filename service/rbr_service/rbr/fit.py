"""The weight fit: a hinge loss on ranked completions, one convex problem per response type.

    ranked rows (prompt, class, features, base reward) -> pairs (better, worse) -> weights

Minimises mean over pairs of max(0, margin - (R_tot(better) - R_tot(worse))) + l2/2 |w|^2, the
paper's objective with a small L2 term: separable data has no unique optimum without it. The hinge's
corner is rounded over `SMOOTHING` so that L-BFGS can follow it. A good trait's weight is held >= 0
and a bad one's <= 0; class weights fall from best to worst. Class features sum to 1, so class weights
are known only up to a constant: they are centred on 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from rbr_service.errors import DataError
from rbr_service.rbr.policy import ResponseType

Floats = NDArray[np.float64]

SMOOTHING = 1e-3
MARGIN = 1.0
L2 = 1e-2  # strong: the ranked data is small and the embedded grader noisy


@dataclass(frozen=True)
class RankedRow:
    """A completion: its prompt's group, its rank (0 is best), P of the propositions, base reward."""

    group: str
    rank: int
    p: Floats
    base_reward: float


@dataclass(frozen=True)
class Fit:
    """Weights by feature and what the fit saw. `error` is the share of pairs ranked wrongly."""

    weights: dict[str, float]
    pairs: int
    loss: float
    error: float


def features(kind: ResponseType, p: Floats) -> Floats:
    """(n, features) from (n, len(kind.propositions)) probabilities, in the order of kind.features."""
    index = {name: i for i, name in enumerate(kind.propositions)}
    columns = p[:, [index[name] for name in kind.feature_propositions]]
    classes = kind.diagram.of_rows(p[:, : len(kind.diagram.variables)])
    return np.hstack([columns, classes]) if kind.class_features else columns


def fit(kind: ResponseType, rows: Sequence[RankedRow], l2: float = L2, margin: float = MARGIN) -> Fit:
    """Weights for one response type. Deterministic. Raises DataError where nothing can be learned."""
    better, worse = _pairs(rows)
    if not len(better):
        raise DataError(
            f"response type {kind.name!r}: no two completions of one prompt differ in class; "
            "nothing can be ranked"
        )
    phi = features(kind, np.stack([row.p for row in rows]))
    base = np.array([row.base_reward for row in rows])
    difference, gap = phi[better] - phi[worse], base[better] - base[worse]
    basis, bounds = _parameters(kind)

    def objective(v: Floats) -> tuple[float, Floats]:
        w = basis @ v
        loss, slope = _hinge(margin - gap - difference @ w)
        gradient = -(difference.T @ slope) / len(slope) + l2 * w
        return float(loss.mean() + l2 / 2 * (w @ w)), basis.T @ gradient

    start = np.zeros(basis.shape[1])
    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    w = basis @ np.asarray(found.x)
    lead = gap + difference @ w
    weights = {name: round(float(value), 9) + 0.0 for name, value in zip(kind.features, w, strict=True)}
    return Fit(weights, len(better), float(np.maximum(0.0, margin - lead).mean()), float((lead <= 0).mean()))


def _pairs(rows: Sequence[RankedRow]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.group, []).append(i)
    found = [
        (a, b) if rows[a].rank < rows[b].rank else (b, a)
        for members in groups.values()
        for a, b in combinations(members, 2)
        if rows[a].rank != rows[b].rank
    ]
    table = np.array(found, dtype=np.intp).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _hinge(z: Floats) -> tuple[Floats, Floats]:
    """max(0, z) with a parabola of width SMOOTHING for a corner, and its slope."""
    slope = np.clip(z / SMOOTHING, 0.0, 1.0)
    return np.where(z < SMOOTHING, slope * z / 2, z - SMOOTHING / 2), slope


def _parameters(kind: ResponseType) -> tuple[Floats, Bounds]:
    """The weights as basis @ v, and v's bounds: signs of traits, order of classes.

    Class weights are steps down from each class to the next, each >= 0, centred on 0.
    """
    names = kind.feature_propositions
    steps = len(kind.classes) - 1 if kind.class_features else 0
    basis = np.zeros((len(kind.features), len(names) + steps))
    basis[: len(names), : len(names)] = np.eye(len(names))
    if steps:
        ladder = np.triu(np.ones((steps + 1, steps)))
        basis[len(names) :, len(names) :] = ladder - ladder.mean(axis=0)
    lower = [0.0 if n in kind.good else -np.inf for n in names] + [0.0] * steps
    upper = [0.0 if n in kind.bad else np.inf for n in names] + [np.inf] * steps
    return basis, Bounds(np.array(lower), np.array(upper))
