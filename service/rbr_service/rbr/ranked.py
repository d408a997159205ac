"""Graded completions of one response type, and the pairs that their ranking makes.

    rows (prompt, rank, P of the propositions, base reward) -> Ranked -> Pairs (better, worse)

Pairs are made within a prompt only, in time linear in their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rbr_service.errors import DataError
from rbr_service.rbr.policy import ResponseType, digest

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

MOST_PAIRS = 10_000_000  # 2 GB of feature differences


@dataclass(frozen=True)
class Pairs:
    """Row indices (n,) of the better and the worse completion of each pair."""

    better: Ints
    worse: Ints

    def __len__(self) -> int:
        return len(self.better)


class Ranked:
    """Completions of one response type.

    `prompts` (n,) numbers each row's prompt, `ranks` (n,) its class (0 the best), `p` is (n,
    len(kind.propositions)), `base` (n,) the helpful-only rewards. Raises DataError for what is not finite.
    """

    def __init__(self, kind: ResponseType, prompts: Ints, ranks: Ints, p: Floats, base: Floats) -> None:
        if p.shape != (len(ranks), len(kind.propositions)) or not len(prompts) == len(ranks) == len(base):
            raise DataError(f"{kind.name}: the columns of the ranked completions differ in length")
        if len(ranks) and not 0 <= ranks.min() <= ranks.max() < len(kind.classes):
            raise DataError(f"{kind.name}: a rank lies outside the {len(kind.classes)} classes")
        for name, column in (("a base reward", base), ("a probability", p)):
            if not np.isfinite(column).all():
                raise DataError(f"{kind.name}: {name} is not a finite number")
        self.kind, self.prompts, self.ranks, self.p, self.base = kind, prompts, ranks, p, base
        self.phi = features(kind, p)

    def __len__(self) -> int:
        return len(self.ranks)

    def take(self, rows: Ints | NDArray[np.bool_]) -> "Ranked":
        """The completions at `rows`."""
        return Ranked(self.kind, self.prompts[rows], self.ranks[rows], self.p[rows], self.base[rows])

    def pairs(self) -> Pairs:
        """All pairs of two completions of a prompt that differ in rank. Raises DataError for too many."""
        return pairs(self.prompts, self.ranks)


def features(kind: ResponseType, p: Floats) -> Floats:
    """(n, features) from (n, len(kind.propositions)) probabilities, in the order of kind.features."""
    index = {name: i for i, name in enumerate(kind.propositions)}
    columns = p[:, [index[name] for name in kind.feature_propositions]]
    if not kind.class_features:
        return columns
    return np.hstack([columns, kind.diagram.of_rows(p[:, : len(kind.diagram.variables)])])


def pairs(prompts: Ints, ranks: Ints) -> Pairs:
    """Pairs within each prompt, by prompt in order of its number. Raises DataError for too many.

    Prompts of equally many completions are paired at once.
    """
    order = np.lexsort((ranks, prompts))
    starts = np.flatnonzero(np.diff(prompts[order], prepend=-1)) if len(order) else np.zeros(0, np.intp)
    sizes = np.diff(np.append(starts, len(order)))
    if (sizes * (sizes - 1) // 2).sum() > MOST_PAIRS:
        largest = int(sizes.max())
        raise DataError(
            f"more than {MOST_PAIRS:,} pairs, the most that are fitted at once: the prompt with the most "
            f"completions has {largest:,}; give fewer completions of a prompt, or fewer prompts"
        )
    found = [_of_size(order, starts[sizes == size], int(size)) for size in np.unique(sizes) if size > 1]
    better, worse = (
        np.concatenate([part[side] for part in found]) if found else np.zeros(0, np.intp) for side in (0, 1)
    )
    unlike = ranks[better] != ranks[worse]
    better, worse = better[unlike], worse[unlike]
    by_prompt = np.argsort(prompts[better], kind="stable")
    return Pairs(better[by_prompt], worse[by_prompt])


def _of_size(order: Ints, starts: Ints, size: int) -> tuple[Ints, Ints]:
    """Pairs of the groups that begin at `starts` of `order`; ranks rise within a group."""
    first, second = np.triu_indices(size, 1)
    rows = starts[:, None]
    return order[rows + first].ravel(), order[rows + second].ravel()


def codes(names: Sequence[str]) -> Ints:
    """A number for each different name, by first appearance."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.intp)


def held_out(names: Sequence[str], share: float, seed: int) -> set[str]:
    """The names of a share of the prompts, at least one where the share is not 0.

    Which ones depends on the seed and the names alone. Raises DataError where none would be left to fit on.
    """
    unlike = sorted(set(names), key=lambda name: digest([seed, name]))
    count = max(1, round(share * len(unlike))) if share else 0
    if count >= len(unlike) and count:
        raise DataError(
            f"{len(unlike)} prompts cannot be split into fitted and held-out ones: give more, name a file "
            "(--held-out FILE), or hold nothing out (--held-out 0)"
        )
    return set(unlike[:count])
