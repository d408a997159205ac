"""The weight fit: a hinge loss on ranked completions, one convex problem per response type.

    Ranked -> pairs (better, worse) -> weights

Minimises the weighted mean over pairs of max(0, margin - (R_tot(better) - R_tot(worse))) + l2/2 |w|^2:
the paper's objective, base rewards included, with a small L2 term, as separable data has no unique
optimum without it. A good trait's weight is held >= 0 and a bad one's <= 0; class weights fall from
best to worst. Class features sum to 1, so class weights are known only up to a constant: they sum to 0.

L-BFGS follows the hinge with its corner rounded off, ever more sharply. At the paper's size the loss ends
1e-7 above the optimum of the exact linear programme (tests/benchmarks/fit.py), on a few hundred pairs 1e-5.
BLAS runs on one thread: on matrices this small more threads cost many times the CPU, and their number would
show in the last bits of the weights.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize
from threadpoolctl import threadpool_limits

from rbr_service.errors import DataError
from rbr_service.rbr.policy import ResponseType
from rbr_service.rbr.ranked import Floats, Pairs, Ranked

WIDTHS = (0.3, 0.03, 3e-3, 3e-4)  # of the rounded corner, in mean margins: each leads to the next's optimum


@dataclass(frozen=True)
class Objective:
    """What is minimised. `margins` (better class, worse class) stand in for `margin` where given.

    `weigh` "pair": each pair counts the same, as in the paper, so a prompt with more completions counts
    more; "prompt": each prompt counts the same.
    """

    margin: float = 1.0
    margins: Mapping[tuple[str, str], float] = field(default_factory=dict)
    weigh: Literal["pair", "prompt"] = "pair"
    l2: float = 1e-4

    def describe(self) -> dict[str, Any]:
        """For the origin of weights."""
        margins = {f"{better} > {worse}": margin for (better, worse), margin in self.margins.items()}
        return {"loss": "mean hinge", "margin": self.margin, "margins": margins, "weigh": self.weigh,
                "l2": self.l2}  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """Weights by feature. `loss` is the exact mean hinge, `objective` with the L2 term.

    `constant`: propositions' features that no pair differs in: nothing can be learned of them, weight 0.
    """

    weights: dict[str, float]
    pairs: int
    loss: float
    objective: float
    constant: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """min over v of sum(share * max(0, target - x @ v)) + l2/2 |basis @ v|^2 within bounds.

    `x` (pairs, parameters) are differences of features, `target` (pairs,) the margins less the base
    rewards' lead, `share` (pairs,) sums to 1; the weights are basis @ v.
    """

    x: Floats
    target: Floats
    share: Floats
    basis: Floats
    bounds: Bounds
    l2: float
    width: float

    def loss(self, v: Floats) -> float:
        """The exact hinge loss."""
        return float(self.share @ np.maximum(0.0, self.target - self.x @ v))

    def objective(self, v: Floats) -> float:
        """The exact hinge loss and the L2 term."""
        w = self.basis @ v
        return self.loss(v) + self.l2 / 2 * float(w @ w)


def fit(ranked: Ranked, objective: Objective, without: Collection[str] = ()) -> Fit:
    """Weights for one response type; features in `without` keep weight 0. Deterministic.

    Raises DataError where nothing can be learned.
    """
    kind = ranked.kind
    pairs = ranked.pairs()
    if not len(pairs):
        held = sorted({kind.classes[rank] for rank in ranked.ranks})
        raise DataError(
            f"response type {kind.name!r}: no two completions of one prompt differ in class, so nothing can "
            f"be ranked; its {len(ranked)} completions are {', '.join(held) or 'none'}"
        )
    with threadpool_limits(1, user_api="blas"):
        found = problem(ranked, pairs, objective, without)
        v = solve(found)
    weights = found.basis @ v
    return Fit(
        {name: round(float(w), 9) + 0.0 for name, w in zip(kind.features, weights, strict=True)},
        len(pairs), found.loss(v), found.objective(v), _constant(ranked, pairs),
    )  # fmt: skip


def problem(ranked: Ranked, pairs: Pairs, objective: Objective, without: Collection[str] = ()) -> Problem:
    """The optimisation problem of a fit."""
    basis, bounds = _parameters(ranked.kind, without)
    margins = _margins(ranked, pairs, objective)
    lead = ranked.base[pairs.better] - ranked.base[pairs.worse]
    reduced = ranked.phi @ basis
    x = reduced[pairs.better] - reduced[pairs.worse]
    unit = float(np.abs(margins).mean()) or 1.0
    return Problem(x, margins - lead, _shares(ranked, pairs, objective), basis, bounds, objective.l2, unit)


def solve(problem: Problem) -> Floats:
    """The parameters at the optimum, from zeros. Raises DataError where the solver gives up."""
    v = np.zeros(problem.x.shape[1])
    gram = problem.basis.T @ problem.basis * problem.l2
    for width in WIDTHS:

        def rounded(v: Floats, corner: float = width * problem.width) -> tuple[float, Floats]:
            z = problem.target - problem.x @ v
            slope = np.clip(z / corner, 0.0, 1.0)
            loss = problem.share @ (slope * (z - corner / 2 * slope))
            pull = gram @ v
            return float(loss + v @ pull / 2), pull - problem.x.T @ (problem.share * slope)

        found = minimize(
            rounded, v, jac=True, method="L-BFGS-B", bounds=problem.bounds,
            options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-11, "gtol": 1e-10, "maxcor": 30},
        )  # fmt: skip
        v = np.asarray(found.x)
    if not np.isfinite(v).all():
        raise DataError("the fit did not converge: base rewards or margins are too large")
    return v


def losses(ranked: Ranked, objective: Objective, weights: Floats) -> tuple[float, float]:
    """The exact loss, and the objective with the L2 term, of given weights (features,)."""
    found = ranked.pairs()
    reward = ranked.base + ranked.phi @ weights
    short = _margins(ranked, found, objective) - (reward[found.better] - reward[found.worse])
    loss = float(_shares(ranked, found, objective) @ np.maximum(0.0, short))
    return loss, loss + objective.l2 / 2 * float(weights @ weights)


def _margins(ranked: Ranked, pairs: Pairs, objective: Objective) -> Floats:
    """(pairs,) margins by the pair's classes."""
    classes = ranked.kind.classes
    table = np.full((len(classes), len(classes)), objective.margin)
    for (better, worse), margin in objective.margins.items():
        if better in classes and worse in classes:
            table[classes.index(better), classes.index(worse)] = margin
    return np.asarray(table[ranked.ranks[pairs.better], ranked.ranks[pairs.worse]])


def _shares(ranked: Ranked, pairs: Pairs, objective: Objective) -> Floats:
    if objective.weigh == "pair":
        return np.full(len(pairs), 1 / len(pairs))
    prompts = ranked.prompts[pairs.better]
    share: Floats = 1 / np.bincount(prompts)[prompts]
    return np.asarray(share / share.sum())


def _constant(ranked: Ranked, pairs: Pairs) -> tuple[str, ...]:
    """Propositions' features that are the same on both sides of every pair."""
    same = [bool((column[pairs.better] == column[pairs.worse]).all()) for column in ranked.phi.T]
    names = zip(ranked.kind.features, same, strict=True)
    return tuple(name for name, is_same in names if is_same and name.startswith("p:"))


def _parameters(kind: ResponseType, without: Collection[str]) -> tuple[Floats, Bounds]:
    """The weights as basis @ v, and v's bounds: signs of traits, order of classes.

    Class weights are steps down from each class to the next, each >= 0, centred on 0; leaving one out
    leaves out all.
    """
    names = kind.feature_propositions
    steps = len(kind.classes) - 1 if kind.class_features else 0
    basis = np.zeros((len(kind.features), len(names) + steps))
    basis[: len(names), : len(names)] = np.eye(len(names))
    if steps:
        ladder = np.triu(np.ones((steps + 1, steps)))
        basis[len(names) :, len(names) :] = ladder - ladder.mean(axis=0)
    classes = any(feature.startswith("class:") for feature in without)
    out = [f"p:{name}" in without for name in names] + [classes] * steps
    lower = [0.0 if n in kind.good else -np.inf for n in names] + [0.0] * steps
    upper = [0.0 if n in kind.bad else np.inf for n in names] + [np.inf] * steps
    return basis, Bounds(_fixed(lower, out), _fixed(upper, out))


def _fixed(bounds: list[float], out: list[bool]) -> NDArray[np.float64]:
    return np.where(out, 0.0, np.array(bounds))
