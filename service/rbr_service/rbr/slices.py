"""Whether a grader errs more, or otherwise, on some groups of rows than on the rest.

    measures (n,) per row, columns (n,) of group names -> each group against all other rows -> p, corrected

This is the check that the paper's section on ethics asks for. Groups are compared by the difference of
means. Where a measure is 0 or 1, by Fisher's exact test; otherwise by permutation of Welch's t, which needs
no normal distribution, is exact where the group makes no difference at all, and, unlike a test of ranks,
keeps its level when groups have the same mean and other spreads (Janssen 1997; Chung & Romano 2013). Rows
are taken as independent of each other.

All p of one call are corrected together, so that it does not matter how many columns were tried: `holm`
holds the chance of any false alarm at 5% (Holm 1979), `bh` the expected share of false ones among the alarms
(Benjamini & Hochberg 1995).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact, norm

from rbr_service.rbr.ranked import Floats, Ints

Bools = NDArray[np.bool_]
Correction = Literal["holm", "bh"]

LEAST_ROWS = 10  # in a group and outside it, for a test
LEVEL = 0.05
RESAMPLES = 9999
NONE = "(none)"  # the group of rows that say nothing
ROUNDING = 1e-6  # below which a difference is one of arithmetic
MANY = 1000  # rows
AT_ONCE = 1000  # permutations held at a time


@dataclass(frozen=True)
class Comparison:
    """A group against the other rows: rows with the measure, both means, p or None where not tested."""

    column: str
    value: str
    measure: str
    n: int
    here: float
    elsewhere: float | None
    p: float | None


def compare(
    columns: Mapping[str, Sequence[str]], measures: Mapping[str, Floats], correction: Correction,
    seed: int = 0, resamples: int = RESAMPLES,
) -> dict[str, Any]:  # fmt: skip
    """All groups of all columns, by all measures (NaN where a row has none), corrected together.

    Gives {"correction", "level", "tests": [{"column", "value", "measure", "n", "here", "elsewhere", "p",
    "adjusted", "differs"}]}; p and adjusted are None where not tested.
    """
    found = [
        comparison
        for measure, values in measures.items()
        for comparison in _by_measure(columns, measure, values, np.random.default_rng(seed), resamples)
    ]
    tested = [c.p for c in found if c.p is not None]
    adjusted = iter(adjust(np.array(tested), correction).tolist())
    tests = []
    for comparison in found:
        corrected = None if comparison.p is None else next(adjusted)
        differs = corrected is not None and corrected < LEVEL
        tests.append({**asdict(comparison), "adjusted": corrected, "differs": differs})
    return {"correction": correction, "level": LEVEL, "tests": tests}


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


def _by_measure(
    columns: Mapping[str, Sequence[str]], measure: str, values: Floats, rng: np.random.Generator,
    resamples: int,
) -> Iterator[Comparison]:  # fmt: skip
    known = ~np.isnan(values)
    if not known.any():
        return
    x = values[known]
    named = {column: np.array(names, dtype=object)[known] for column, names in columns.items()}
    places = [(column, name) for column, names in named.items() for name in sorted(set(names), key=_order)]
    members = np.array([named[column] == name for column, name in places], dtype=bool).reshape(-1, len(x))
    sizes = members.sum(axis=1)
    testable = (sizes >= LEAST_ROWS) & (len(x) - sizes >= LEAST_ROWS)
    p = np.full(len(places), np.nan)
    if testable.any():
        binary = bool(np.isin(x, (0.0, 1.0)).all())
        tested = members[testable]
        p[testable] = _fisher(x, tested) if binary else _permutation(x, tested, rng, resamples)
    for i, (column, name) in enumerate(places):
        inside = members[i]
        elsewhere = None if inside.all() else float(x[~inside].mean())
        yield Comparison(column, name, measure, int(inside.sum()), float(x[inside].mean()), elsewhere,
                         float(p[i]) if testable[i] else None)  # fmt: skip


def _fisher(x: Floats, members: Bools) -> Floats:
    """The p of each row of `members` (groups, n), for a measure of 0 and 1."""
    tables = ([[part.sum(), len(part) - part.sum()] for part in (x[row], x[~row])] for row in members)
    return np.array([fisher_exact(np.array(table, dtype=int)).pvalue for table in tables])


def _permutation(x: Floats, members: Bools, rng: np.random.Generator, resamples: int) -> Floats:
    """The p of each row of `members`: the share of permutations, the data's own one among them, with as
    large a |t|.

    How t is distributed depends on the group's size alone, so the first rows of one drawn permutation stand
    for all groups. Where a group and its rest have MANY rows, t is as good as normal.
    """
    if np.ptp(x) == 0:
        return np.ones(len(members))
    x = (x - x.mean()) / x.std()
    smaller = np.where(members.mean(axis=1, keepdims=True) <= 0.5, members, ~members)
    sizes = smaller.sum(axis=1)
    seen = _t(smaller @ x, smaller @ x**2, sizes, len(x))
    p = 2 * norm.sf(seen)
    few = sizes < MANY
    if few.any():
        most, last, beyond = int(sizes[few].max()), sizes[few] - 1, np.ones(int(few.sum()))
        for begin in range(0, resamples, AT_ONCE):
            count = min(AT_ONCE, resamples - begin)
            drawn = x[np.array([rng.choice(len(x), most, replace=False) for _ in range(count)])]
            sums, squares = (np.cumsum(part, axis=1)[:, last] for part in (drawn, drawn**2))
            beyond += (_t(sums, squares, sizes[few], len(x)) >= seen[few] * (1 - ROUNDING)).sum(axis=0)
        p[few] = beyond / (resamples + 1)
    return np.asarray(p)


def _t(sums: Floats, squares: Floats, sizes: Ints, n: int) -> Floats:
    """|Welch's t| of groups of these sizes by the sums of a measure and of its square.

    Over all n rows the measure has mean 0 and variance 1.
    """
    rest = n - sizes
    spread = (squares - sums**2 / sizes) / (sizes - 1) / sizes
    spread += (n - squares - sums**2 / rest) / (rest - 1) / rest
    return np.asarray(np.abs(sums / sizes + sums / rest) / np.sqrt(np.maximum(spread, ROUNDING**2)))
