"""Whether a grader errs more, or otherwise, on some groups of rows than on the rest.

    measures (n,) per row, columns (n,) of group names, prompts (n,)
    -> each group against all other rows -> p -> p corrected for their number

This is the check that the paper's section on ethics asks for. Groups are compared by the difference of
means over its standard error. The completions of a prompt depend on one another, so prompts are the unit:
the standard error is taken from sums over prompts, and is never below what all rows together make it, for
ten rows that happen to agree are not certain. Whether that is a large difference is told

- for a group that holds prompts whole, by permuting prompts: exact where the group makes no difference at
  all, and right for many prompts where means are equal and spreads are not (Chung & Romano 2013);
- for a group that holds only some completions of a prompt (as a length does), by the normal distribution: a
  score test with a cluster-robust variance (Rao 1948; Liang & Zeger 1986). It is cautious with small groups:
  of k prompts, p is hardly below exp(-k / 2).

All p of one call are corrected together, so that it does not matter how many columns were tried: `holm`
holds the chance of any false alarm at 5% (Holm 1979), `bh` the expected share of false ones among the alarms
(Benjamini & Hochberg 1995). The two halves of a column of two are one comparison. Permutations are as many
as that needs, PER_COMPARISON for each; only beyond 5,000 comparisons are they too few to find anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from rbr_service.rbr.ranked import Floats, Ints

Bools = NDArray[np.bool_]
Correction = Literal["holm", "bh"]

LEAST_PROMPTS = 10  # in a group and outside it, for a test
LEVEL = 0.05
NONE = "(none)"  # the group of rows that say nothing
ROUNDING = 1e-6  # below which a difference is one of arithmetic
MANY = 500  # prompts from which on the statistic is as good as normal
LEAST_DRAWS, PER_COMPARISON, MOST_DRAWS = 10_000, 400, 100_000  # permutations
AT_ONCE = 1000  # permutations held at a time
ENOUGH = 200  # permutations beyond the data's own that tell a large p well


@dataclass(frozen=True)
class Comparison:
    """A group against the other rows: rows with the measure, both means, p or None where not tested.

    `adjusted` is p for the number of comparisons; the group `differs` where that is below LEVEL.
    """

    column: str
    value: str
    measure: str
    n: int
    here: float
    elsewhere: float | None
    p: float | None
    adjusted: float | None
    differs: bool


@dataclass(frozen=True)
class _Measured:
    """The rows that have a measure `x` (n,): `prompts` (n,) from 0, `members` (groups, n) and their names."""

    name: str
    x: Floats
    prompts: Ints
    places: list[tuple[str, str]]
    members: Bools

    def tested(self) -> Bools:
        """(groups,) whether there are LEAST_PROMPTS in the group and outside it."""
        sides = ((np.bincount(self.prompts[side]) > 0).sum() for row in self.members for side in (row, ~row))
        counts: Ints = np.array(list(sides), dtype=np.intp)
        return np.asarray(counts.reshape(-1, 2).min(axis=1) >= LEAST_PROMPTS)

    def mirrored(self) -> Bools:
        """(groups,) whether the group is all that its column's one other group, named before it, is not."""
        columns = [column for column, _ in self.places]
        return np.array(
            [columns.count(c) == 2 and columns.index(c) < i for i, c in enumerate(columns)], dtype=bool
        )


def compare(
    columns: Mapping[str, Sequence[str]], measures: Mapping[str, Floats], correction: Correction,
    seed: int = 0, *, prompts: Ints | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All groups of all columns, by all measures (NaN where a row has none), corrected together.

    `prompts` (n,) numbers each row's prompt; without it each row is a prompt of its own. Gives {"correction",
    "level", "comparisons", "differing", "tests": Comparison as a dict each}, where the two halves of a
    column of two count once.
    """
    found = [_measured(columns, name, x, prompts) for name, x in measures.items() if not np.isnan(x).all()]
    asked = [one.tested() & ~one.mirrored() for one in found]
    draws = int(np.clip(PER_COMPARISON * sum(map(np.sum, asked)), LEAST_DRAWS, MOST_DRAWS))
    p = [_p(one, rows, np.random.default_rng(seed), draws) for one, rows in zip(found, asked, strict=True)]
    of_all = np.concatenate([*p, np.zeros(0)])
    adjusted = adjust(of_all, correction)
    verdicts = iter(zip(of_all.tolist(), adjusted.tolist(), strict=True))
    tests = [asdict(test) for one in found for test in _comparisons(one, verdicts)]
    differing = int((adjusted < LEVEL).sum())
    return {"correction": correction, "level": LEVEL, "comparisons": len(of_all), "differing": differing,
            "tests": tests}  # fmt: skip


def _comparisons(one: _Measured, verdicts: Iterator[tuple[float, float]]) -> Iterator[Comparison]:
    """Each group of a measure with its p and adjusted p, the next of `verdicts` for each that is asked."""
    p: float | None
    adjusted: float | None
    p = adjusted = None
    for place, inside, tested, mirrored in zip(
        one.places, one.members, one.tested(), one.mirrored(), strict=True
    ):
        if not mirrored:  # otherwise they are those of the group before
            p, adjusted = next(verdicts) if tested else (None, None)
        elsewhere = None if inside.all() else float(one.x[~inside].mean())
        yield Comparison(*place, one.name, int(inside.sum()), float(one.x[inside].mean()), elsewhere, p,
                         adjusted, adjusted is not None and adjusted < LEVEL)  # fmt: skip


def adjust(p: Floats, correction: Correction) -> Floats:
    """Adjusted p (m,) for there being m of them, in their order."""
    order = np.argsort(p)
    count, ranks = len(p), np.arange(1, len(p) + 1)
    if correction == "holm":
        steps = np.maximum.accumulate((count + 1 - ranks) * p[order])
    else:
        steps = np.minimum.accumulate((count / ranks * p[order])[::-1])[::-1]
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def groups(values: Sequence[Any]) -> list[str]:
    """The group of each row, by a column's values: numbers are cut into terciles, the rest goes by value.

    None and NaN are the group "(none)"; numbers of three values or fewer are groups as they are.
    """
    missing = [v is None or v != v for v in values]
    known = [v for v, none in zip(values, missing, strict=True) if not none]
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known)
    names: Iterator[str]
    if numeric and len(set(known)) > 3:
        names = iter(_terciles(np.array(known, dtype=float)))
    else:
        names = map(_name, known)
    return [NONE if none else next(names) for none in missing]


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _order(name: str) -> tuple[bool, float, str]:
    """Numbers and their ranges by size, then text, then the rows that say nothing."""
    try:
        return name == NONE, float(name.split(" to ")[0]), name
    except ValueError:
        return name == NONE, np.inf, name


def _terciles(numbers: Floats) -> list[str]:
    edges = np.quantile(numbers, (1 / 3, 2 / 3), method="inverted_cdf")
    thirds = np.searchsorted(edges, numbers)
    inside = {int(third): numbers[thirds == third] for third in np.unique(thirds)}
    names = {third: _range(part.min(), part.max()) for third, part in inside.items()}
    return [names[third] for third in thirds.tolist()]


def _range(low: float, high: float) -> str:
    return _name(low) if low == high else f"{low:g} to {high:g}"


def _measured(
    columns: Mapping[str, Sequence[str]], name: str, values: Floats, prompts: Ints | None
) -> _Measured:
    known = ~np.isnan(values)
    numbers = (np.arange(len(values)) if prompts is None else prompts)[known]
    named = {column: np.array(names, dtype=object)[known] for column, names in columns.items()}
    places = [(column, group) for column, names in named.items() for group in sorted(set(names), key=_order)]
    members = np.array([named[column] == group for column, group in places], dtype=bool)
    return _Measured(name, values[known], np.unique(numbers, return_inverse=True)[1], places,
                     members.reshape(-1, len(numbers)))  # fmt: skip


def _p(one: _Measured, asked: Bools, rng: np.random.Generator, draws: int) -> Floats:
    """The p of each group that is asked for."""
    groups = one.members[asked]
    p = np.ones(len(groups))
    if np.ptp(one.x) == 0:
        return p
    x = (one.x - one.x.mean()) / one.x.std()
    sizes = np.bincount(one.prompts)
    inside = [np.bincount(one.prompts[row], minlength=len(sizes)) for row in groups]
    whole = np.array([bool(((count == 0) | (count == sizes)).all()) for count in inside], dtype=bool)
    if whole.any():
        chosen = np.array([count > 0 for count, of_prompts in zip(inside, whole, strict=True) if of_prompts])
        sums = np.bincount(one.prompts, weights=x).astype(float)
        p[whole] = _permuted(sizes, sums, chosen, rng, draws)
    p[~whole] = [2 * norm.sf(_score(x, one.prompts, row)) for row in groups[~whole]]
    return p


def _permuted(
    sizes: Ints, sums: Floats, chosen: Bools, rng: np.random.Generator, draws: int
) -> Floats:  # fmt: skip
    """The p of groups (g, prompts) of whole prompts: the share of permutations, the data's own one among
    them, with as large a statistic; `sizes` and `sums` (prompts,) are rows and the measure's sum.

    How the statistic is distributed depends on a group's number of prompts alone, so the first prompts of one
    drawn permutation stand for all groups. A group is done with at ENOUGH such permutations (Besag & Clifford
    1991), or at once where it and its rest have MANY prompts.
    """
    table = np.stack([sizes, sums, sums**2], axis=1)  # (prompts, 3)
    everything = table.sum(axis=0)
    if everything[2] < ROUNDING:  # every prompt has the same mean
        return np.ones(len(chosen))
    smaller = np.where(chosen.mean(axis=1, keepdims=True) <= 0.5, chosen, ~chosen)
    counts = smaller.sum(axis=1)
    seen = _t(smaller @ table, counts / len(sizes), everything)
    beyond, tried = np.ones((2, len(counts)))
    for _ in range(0, draws, AT_ONCE):
        left = np.flatnonzero((beyond < ENOUGH) & (counts < MANY))
        if not len(left):
            break
        most = int(counts[left].max())
        drawn = np.array([rng.choice(len(sizes), most, replace=False) for _ in range(AT_ONCE)])
        parts = np.stack(
            [np.cumsum(column[drawn], axis=1)[:, counts[left] - 1] for column in table.T], axis=-1
        )
        again = _t(parts, counts[left] / len(sizes), everything)
        beyond[left] += (again >= seen[left] * (1 - ROUNDING)).sum(axis=0)
        tried[left] += AT_ONCE
    return np.where(counts < MANY, beyond / tried, 2 * norm.sf(seen))


def _t(parts: Floats, share: Floats, everything: Floats) -> Floats:
    """|Difference of means| over its standard error, of groups that hold a `share` of the prompts.

    `parts` (..., 3) and `everything` (3,) are sums over prompts of rows, of the measure's sum and of that
    squared. Over all rows the measure has mean 0.
    """
    rows, sums, squares = np.moveaxis(parts, -1, 0)
    rest, total = everything[0] - rows, everything[2]
    variance = np.maximum(squares, share * total) / rows**2
    variance += np.maximum(total - squares, (1 - share) * total) / rest**2
    return np.asarray(np.abs(sums) * (1 / rows + 1 / rest) / np.sqrt(variance))


def _score(x: Floats, prompts: Ints, inside: Bools) -> float:
    """|Difference of means| over its standard error, of a group that holds prompts in part.

    The variance is the larger of the cluster-robust one and that of equally correlated rows of a prompt. Over
    all rows the measure has mean 0 and variance 1.
    """
    weights = np.where(inside, 1 / inside.sum(), -1 / (~inside).sum())
    effects, loads = (np.bincount(prompts, weights=part) for part in (weights * x, weights))
    sizes, sums = np.bincount(prompts), np.bincount(prompts, weights=x)
    correlation = float(((sums**2).sum() - len(x)) / (sizes * (sizes - 1)).sum())
    alike = (1 - correlation) * (weights**2).sum() + correlation * (loads**2).sum()
    return float(abs(effects.sum()) / np.sqrt(max((effects**2).sum(), alike)))
