"""Whether rewards rank held-out completions as the policy wants, and at what strength.

    Ranked, RBR rewards -> share of (best class, other class) pairs of a prompt that are ranked wrongly
                        -> the same over the strength of the RBR reward -> the least strength that suffices

A pair is wrong where R(other) >= R(best): ties count against us (paper, Figure 3b). Intervals are 95%
percentile bootstraps over prompts, for the completions of a prompt depend on one another; of a share of 0 or
1 Wilson's over prompts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, rankdata

from rbr_service.errors import DataError
from rbr_service.rbr.ranked import Floats, Ints, Pairs, Ranked

RESAMPLES = 1000
LEVELS = (2.5, 97.5)  # percentiles
CURVE = np.geomspace(0.01, 10.0, 31)  # strengths shown, in units of the chosen one
JUST_ABOVE = 1 + 1e-6  # a tie counts as wrong, and weights are rounded
LEAST = 1e-3  # a strength below which a reward says nothing


@dataclass(frozen=True)
class Interval:
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """Held-out error at a strength; `rank_correlation` with the base reward inside the best class."""

    strength: float
    error: Interval
    rank_correlation: float | None


def best_pairs(ranked: Ranked) -> Pairs:
    """The pairs whose better completion is of the best class."""
    pairs = ranked.pairs()
    best = ranked.ranks[pairs.better] == 0
    return Pairs(pairs.better[best], pairs.worse[best])


def error(reward: Floats, pairs: Pairs) -> float:
    """Share of the pairs in which the worse completion has no less reward."""
    return float((reward[pairs.worse] >= reward[pairs.better]).mean())


def ranking_error(reward: Floats, ranked: Ranked, pairs: Pairs, seed: int) -> Interval | None:
    """Share of wrong pairs and its interval; None without pairs."""
    if not len(pairs):
        return None
    wrong = reward[pairs.worse] >= reward[pairs.better]
    prompts = np.unique(ranked.prompts[pairs.better], return_inverse=True)[1]
    per_prompt = np.bincount(prompts), np.bincount(prompts, weights=wrong)

    def share(rows: Ints) -> float:
        count, errors = (column[rows].sum() for column in per_prompt)
        return float(errors / count)

    value = float(wrong.mean())
    if value in (0.0, 1.0):  # every resample says the same, which proves less than it seems to
        return Interval(value, *_wilson(value, len(per_prompt[0])))
    low, high = bootstrap(share, len(per_prompt[0]), seed)
    return Interval(value, low, high)


def _wilson(value: float, prompts: int) -> tuple[float, float]:
    """Wilson's (1927) 95% interval of a share of 0 or 1."""
    found = binomtest(round(value * prompts), prompts).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def rank_correlation(reward: Floats, ranked: Ranked, seed: int) -> Interval | None:
    """Spearman's correlation of reward and base reward inside the best class.

    What is left to the reward model. None with fewer than 3 completions or where either is constant.
    """
    inside = ranked.ranks == 0
    total, base = reward[inside], ranked.base[inside]
    value = spearman(total, base)
    if value is None:
        return None

    def again(rows: Ints) -> float:
        found = spearman(total[rows], base[rows])
        return value if found is None else found

    low, high = bootstrap(again, len(total), seed, RESAMPLES // 5)
    return Interval(value, low, high)


def spearman(a: Floats, b: Floats) -> float | None:
    """Spearman's rank correlation; None where it is undefined."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def bootstrap(
    figure: Callable[[Ints], float], size: int, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The interval of a figure of `size` units: `figure` is given indices drawn with replacement."""
    rng = np.random.default_rng(seed)
    values = [figure(rng.integers(0, size, size)) for _ in range(resamples)]
    low, high = np.percentile(values, LEVELS)
    return float(low), float(high)


def least_strength(rbr: Floats, ranked: Ranked, pairs: Pairs, wanted: float) -> float:
    """The smallest factor of the RBR reward at which the error is at most `wanted`; exact.

    Each pair goes right or wrong at one strength, -(lead of the base reward) / (lead of the RBR reward),
    so the error changes at those strengths only. Raises DataError where no strength suffices.
    """
    lead = ranked.base[pairs.better] - ranked.base[pairs.worse]
    gain = rbr[pairs.better] - rbr[pairs.worse]
    moving = gain != 0
    with np.errstate(over="ignore"):
        turns = -lead[moving] / gain[moving]
    candidates = np.unique(np.append(turns[np.isfinite(turns) & (turns > LEAST)] * JUST_ABOVE, LEAST))
    # Wrong at s: lead + s * gain <= 0. Counted by sorting: those that go right at a strength, and those
    # that go wrong.
    rising = np.sort(turns[gain[moving] > 0])
    falling = np.sort(turns[gain[moving] < 0])
    still_wrong = len(rising) - np.searchsorted(rising, candidates, "left")
    gone_wrong = np.searchsorted(falling, candidates, "right")
    always = int((lead[~moving] <= 0).sum())
    errors = (still_wrong + gone_wrong + always) / len(pairs)
    reached = np.flatnonzero(errors <= wanted)
    if not len(reached):
        best = int(errors.argmin())
        raise DataError(
            f"{ranked.kind.name}: no strength brings the held-out ranking error to {wanted:g}: "
            f"the least is {errors[best]:.4f}, at strength {candidates[best]:.3g}; look at the propositions "
            "and rules, give more data, or ask for less (--wanted-error)"
        )
    return float(candidates[reached[0]])


def strength_curve(rbr: Floats, ranked: Ranked, pairs: Pairs, chosen: float, seed: int) -> list[Point]:
    """Held-out error and rank correlation over a range of strengths around the chosen one.

    `rbr` is the reward at strength 1.
    """
    points = []
    inside = ranked.ranks == 0
    for strength in CURVE * chosen:
        total = ranked.base + strength * rbr
        found = ranking_error(total, ranked, pairs, seed)
        if found is not None:
            correlation = spearman(total[inside], ranked.base[inside])
            points.append(Point(float(strength), found, correlation))
    return points
