"""What a fit has to show for itself: held-out errors, intervals, strength; plain data for files and reports.

train, held out (Ranked) -> Fit, strength -> Evidence: weights, ranking errors of R_rm, R_rbr and R_tot
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from rbr_service.errors import DataError
from rbr_service.rbr import evaluation, ranking
from rbr_service.rbr.evaluation import Judged
from rbr_service.rbr.fit import Fit, Objective, fit, losses
from rbr_service.rbr.ranked import Floats, Ints, Ranked
from rbr_service.rbr.ranking import Interval
from rbr_service.rbr.reach import reach

SHOWN = 5  # decimals
LARGEST = 1e6  # weight that a weights file takes
Strength = float | Literal["auto"]


@dataclass(frozen=True)
class Strong:
    """A fit with the strength folded into its weights."""

    weights: dict[str, float]
    strength: float
    fit: Fit


def fit_strong(
    train: Ranked, held_out: Ranked | None, objective: Objective, strength: Strength, wanted_error: float
) -> Strong:
    """Weights of the wanted strength, "auto" being the least that reaches `wanted_error` held out.

    Raises DataError where no strength does, or nothing can be learned.
    """
    found = fit(train, objective)
    if strength == "auto":
        if held_out is None:
            raise DataError(f"{train.kind.name}: --strength auto is chosen by held-out data")
        strength = _least(found, held_out, wanted_error)
    weights = {name: round(strength * weight, 9) + 0.0 for name, weight in found.weights.items()}
    if max(map(abs, weights.values())) > LARGEST:
        raise DataError(
            f"{train.kind.name}: weights beyond {LARGEST:g}: base rewards, margin or strength are too large"
        )
    return Strong(weights, strength, found)


def _least(found: Fit, held_out: Ranked, wanted_error: float) -> float:
    name = held_out.kind.name
    if not held_out.base.any():
        raise DataError(
            f"{name}: without a base reward every strength ranks alike: give --strength a number, or a base "
            "reward (--base-reward, --simulate-base-reward)"
        )
    pairs = ranking.best_pairs(held_out)
    if not len(pairs):
        raise DataError(f"{name}: the held-out data has no pair with a completion of the best class")
    return ranking.least_strength(reward(found.weights, held_out), held_out, pairs, wanted_error)


def of_type(
    train: Ranked,
    held_out: Ranked | None,
    objective: Objective,
    strong: Strong,
    *,
    resamples: int,
    wanted_error: float | None,
    seed: int,
    progress: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """All there is to show of one response type; without held-out data only what the fit saw."""
    drawn = weight_intervals(train, objective, strong, resamples, seed, progress)
    low, high = reach(train.kind, strong.weights)
    found = {
        "classes": list(train.kind.classes),
        "train": train_figures(train, objective, strong),
        "weights": {
            name: asdict(drawn[name]) if drawn else {"value": value} for name, value in strong.weights.items()
        },
        "range": {"low": round(low, SHOWN), "high": round(high, SHOWN)},
    }
    if held_out is None:
        return {**found, "strength": {"chosen": strong.strength}}
    return {
        **found,
        **of_weights(strong.weights, held_out, seed),
        "strength": curve(strong, held_out, wanted_error, seed),
    }


def of_weights(weights: Mapping[str, float], held_out: Ranked, seed: int) -> dict[str, Any]:
    """What can be said of weights by completions that they were not fitted on."""
    return {
        "classes": list(held_out.kind.classes),
        "held_out": held_out_figures(weights, held_out, seed),
        "rewards": rewards(weights, held_out),
        "confusion": confusion(held_out),
    }


def reward(weights: Mapping[str, float], ranked: Ranked) -> Floats:
    """(n,) RBR rewards."""
    return np.asarray(ranked.phi @ np.array([weights[name] for name in ranked.kind.features]))


def weight_intervals(
    train: Ranked,
    objective: Objective,
    strong: Strong,
    resamples: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Interval] | None:  # fmt: skip
    """The 95% interval of each weight: fits on prompts drawn with replacement.

    None without resamples. `progress` is called after each fit.
    """
    prompts = np.unique(train.prompts, return_inverse=True)[1]
    order = np.argsort(prompts, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(prompts))[:-1])
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        chosen = rng.integers(0, len(rows), len(rows))
        again = _again(train, [rows[i] for i in chosen])
        if len(again.pairs()):
            weights = fit(again, objective).weights
            drawn.append([strong.strength * weights[name] for name in train.kind.features])
        progress()
    if not drawn:
        return None
    low, high = np.percentile(drawn, ranking.LEVELS, axis=0)
    return {
        name: Interval(value, round(float(lo), SHOWN), round(float(hi), SHOWN))
        for (name, value), lo, hi in zip(strong.weights.items(), low, high, strict=True)
    }


def _again(train: Ranked, prompts: list[Ints]) -> Ranked:
    """The completions of some prompts; one drawn twice counts as two prompts."""
    numbers = np.repeat(np.arange(len(prompts)), [len(rows) for rows in prompts])
    taken = train.take(np.concatenate(prompts))
    return Ranked(train.kind, numbers, taken.ranks, taken.p, taken.base)


def held_out_figures(weights: Mapping[str, float], held_out: Ranked, seed: int) -> dict[str, Any]:
    """Ranking errors of R_rm, R_rbr and R_tot, and what is left to R_rm inside the best class.

    R_rm's is None where there is no base reward.
    """
    pairs = ranking.best_pairs(held_out)
    rbr = reward(weights, held_out)
    based = bool(held_out.base.any())
    total = held_out.base + rbr
    columns = {"base": held_out.base if based else None, "rbr": rbr, "total": total}
    correlation = ranking.rank_correlation(total, held_out, seed) if based else None
    return {
        **_sizes(held_out),
        "pairs": len(pairs),
        "ranking_error": {
            name: shown(ranking.ranking_error(column, held_out, pairs, seed)) if column is not None else None
            for name, column in columns.items()
        },
        "rank_correlation": shown(correlation),
    }


def train_figures(train: Ranked, objective: Objective, strong: Strong) -> dict[str, Any]:
    """What the fit saw, and how the weights do on it."""
    weights = np.array([strong.weights[name] for name in train.kind.features])
    loss, whole = losses(train, objective, weights)
    return {**_sizes(train), "pairs": strong.fit.pairs, "loss": round(loss, 9), "objective": round(whole, 9),
            "constant_features": list(strong.fit.constant)}  # fmt: skip


def curve(strong: Strong, held_out: Ranked, wanted_error: float | None, seed: int) -> dict[str, Any]:
    """Error against strength; empty without a base reward, which it depends on."""
    pairs = ranking.best_pairs(held_out)
    points = []
    if held_out.base.any() and len(pairs):
        rbr = reward(strong.fit.weights, held_out)
        points = ranking.strength_curve(rbr, held_out, pairs, strong.strength, seed)
    return {
        "chosen": strong.strength,
        "wanted_error": wanted_error,
        "curve": [
            {"strength": p.strength, "error": p.error.value, "low": p.error.low, "high": p.error.high,
             "rank_correlation": p.rank_correlation}
            for p in points
        ],
    }  # fmt: skip


def rewards(weights: Mapping[str, float], held_out: Ranked) -> dict[str, dict[str, list[float]]]:
    """The held-out rewards of each class: base, RBR and their sum."""
    rbr = reward(weights, held_out)
    columns = {"base": held_out.base, "rbr": rbr, "total": held_out.base + rbr}
    return {
        name: {key: column[held_out.ranks == rank].round(SHOWN).tolist() for key, column in columns.items()}
        for rank, name in enumerate(held_out.kind.classes)
        if (held_out.ranks == rank).any()
    }


def confusion(ranked: Ranked) -> dict[str, Any]:
    """Labelled class (rows) against the most probable one by the grader (columns)."""
    diagram = ranked.kind.diagram
    p = diagram.of_rows(ranked.p[:, : len(diagram.variables)])
    return evaluation.confusion(Judged(ranked.kind, np.arange(len(ranked)), ranked.ranks, p))


def shown(interval: Interval | None) -> dict[str, float] | None:
    """An interval as data."""
    return {k: round(v, SHOWN) for k, v in asdict(interval).items()} if interval else None


def _sizes(ranked: Ranked) -> dict[str, int]:
    return {"prompts": len(np.unique(ranked.prompts)), "completions": len(ranked)}
