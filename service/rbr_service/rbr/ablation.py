"""What each part of the model is worth: held-out ranking error without it.

    train, held out (Ranked) -> fit without a part -> error, for every part

A proposition that is left out says the same of every completion, its mean in the data of the fit: it then
tells nothing, neither as a feature nor through the rules. Weights are fitted anew each time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rbr_service.rbr import ranking
from rbr_service.rbr.evidence import reward
from rbr_service.rbr.fit import Objective, fit
from rbr_service.rbr.ranked import Ranked
from rbr_service.rbr.ranking import Interval

NOTHING, CLASSES, BASE = "nothing", "class features", "base reward"
FRACTIONS = (0.05, 0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Without:
    """The held-out ranking error of the total reward without a part."""

    left_out: str
    error: Interval


@dataclass(frozen=True)
class Variant:
    """A way to fit and judge with a part left out."""

    left_out: str
    train: Ranked
    held_out: Ranked
    without: tuple[str, ...] = ()


def ablate(
    train: Ranked, held_out: Ranked, objective: Objective, seed: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Without]:  # fmt: skip
    """The error without nothing, each proposition, the class features, the base reward, most of the data.

    `progress` is called after each fit. Raises DataError where nothing can be learned, or judged.
    """
    found = []
    for variant in variants(train, held_out, seed):
        weights = fit(variant.train, objective, variant.without).weights
        judged = variant.held_out
        total = judged.base + reward(weights, judged)
        error = ranking.ranking_error(total, judged, ranking.best_pairs(judged), seed)
        if error is not None:
            found.append(Without(variant.left_out, error))
        progress()
    return found


def count(train: Ranked) -> int:
    """How many fits `ablate` makes."""
    return sum(1 for _ in variants(train, train, 0))


def variants(train: Ranked, held_out: Ranked, seed: int) -> Iterator[Variant]:
    """Everything that can be left out, beginning with nothing."""
    kind = train.kind
    yield Variant(NOTHING, train, held_out)
    for column, name in enumerate(kind.propositions):
        yield Variant(name, _silenced(train, column, train), _silenced(held_out, column, train))
    if kind.class_features:
        yield Variant(CLASSES, train, held_out, tuple(f"class:{name}" for name in kind.classes))
    if train.base.any():
        yield Variant(BASE, _unpaid(train), _unpaid(held_out))
    prompts = np.random.default_rng(seed).permutation(np.unique(train.prompts))
    for fraction in FRACTIONS:
        kept = prompts[: max(1, round(fraction * len(prompts)))]
        some = train.take(np.isin(train.prompts, kept))
        if len(some.pairs()):
            yield Variant(f"{1 - fraction:.0%} of the data", some, held_out)


def _silenced(ranked: Ranked, column: int, train: Ranked) -> Ranked:
    p = ranked.p.copy()
    p[:, column] = train.p[:, column].mean()
    return Ranked(ranked.kind, ranked.prompts, ranked.ranks, p, ranked.base)


def _unpaid(ranked: Ranked) -> Ranked:
    return Ranked(ranked.kind, ranked.prompts, ranked.ranks, ranked.p, np.zeros(len(ranked)))
