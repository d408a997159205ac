"""How well a grader agrees with labelled data, per proposition and per class.

    P (n, k), labels (n, k) -> accuracy, balanced accuracy, F1, AUROC, Brier, ECE per proposition
                            -> class accuracy, macro recall and confusion under the policy's own rules
                            -> intervals of the mean figures; what is right and wrong of each row

Labels are 0, 1 or NaN (not labelled). The gold class is what the policy's rules make of the labels;
the predicted class is the most probable one.

Intervals are at 95%. Those of mean figures are bootstrapped over prompts, for the completions of a prompt
depend on one another; those of a cell's recall are Wilson's (1927), over rows. ECE has none: a resample
always shows more of it than the data does.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from rbr_service.rbr import ranking, reliability
from rbr_service.rbr.policy import Policy, ResponseType
from rbr_service.rbr.ranked import Floats, Ints
from rbr_service.rbr.ranking import Interval

MIN_POSITIVES = 15  # balanced accuracy and ECE of rarer propositions say little
MIN_CELL = 10  # rows of a response type x class cell that counts


@dataclass(frozen=True)
class Judged:
    """The rows of one response type that have a class.

    `rows` (m,) are their places; `gold` (m,) the labelled classes, `p` (m, classes) the grader's.
    """

    kind: ResponseType
    rows: Ints
    gold: Ints
    p: Floats

    @property
    def said(self) -> Ints:
        """The most probable class of each row."""
        return np.asarray(self.p.argmax(axis=1))


@dataclass(frozen=True)
class Ratios:
    """A mean figure: the mean over m of sum over rows of parts / sum over rows of wholes, (rows, m) each."""

    parts: Floats
    wholes: Floats

    @property
    def value(self) -> float | None:
        """The figure; None where every whole is 0."""
        return _mean_ratio(self.parts.sum(axis=0), self.wholes.sum(axis=0))

    def interval(self, prompts: Ints, seed: int) -> Interval | None:
        """The figure with its interval over prompts."""
        value = self.value
        if value is None:
            return None
        numbers = np.unique(prompts, return_inverse=True)[1]
        parts, wholes = _sums(self.parts, numbers), _sums(self.wholes, numbers)

        def again(drawn: Ints) -> float:
            found = _mean_ratio(parts[drawn].sum(axis=0), wholes[drawn].sum(axis=0))
            return value if found is None else found

        low, high = ranking.bootstrap(again, len(parts), seed)
        return Interval(value, low, high)


def evaluate(
    policy: Policy, types: Sequence[str | None], p: Floats, labels: Floats, prompts: Ints, seed: int = 0
) -> dict[str, Any]:
    """All figures. Columns are the policy's propositions in order; `types` names each row's type.

    `prompts` (n,) numbers each row's prompt. `brier` and `ece` are means over the propositions with
    MIN_POSITIVES positives, `balanced_accuracy` over those of them that have a labelled no, too;
    `proposition_accuracy` is over all that are labelled.
    """
    names = list(policy.file.propositions)
    table = {name: proposition(p[:, i], labels[:, i]) for i, name in enumerate(names)}
    frequent = np.array([row["positives"] >= MIN_POSITIVES for row in table.values()], dtype=bool)
    found = judge(policy, types, p, labels)
    means = {
        key: ratios.interval(prompts, seed)
        for key, ratios in {**_of_propositions(p, labels, frequent), **_of_classes(found, len(p))}.items()
    }
    errors = [row["ece"] for row, often in zip(table.values(), frequent, strict=True) if often]
    return {
        "rows": len(p),
        **{key: mean.value if mean else None for key, mean in means.items()},
        "ece": float(np.mean(errors)) if errors else None,
        "intervals": {key: asdict(mean) for key, mean in means.items() if mean},
        "cells": cells(found),
        "propositions": table,
        "response_types": {one.kind.name: {"confusion": confusion(one)} for one in found},
    }


def proposition(p: Floats, labels: Floats) -> dict[str, Any]:
    """Figures of one proposition over its labelled rows; None where undefined."""
    known = ~np.isnan(labels)
    of_all = reliability.figures(p, labels)
    p, truth = p[known], labels[known] == 1
    said = p >= 0.5
    positives, negatives = int(truth.sum()), int((~truth).sum())
    hits, misses, alarms = (
        int((said & truth).sum()),
        int((~said & truth).sum()),
        int((said & ~truth).sum()),
    )
    recall, specificity = _ratio(hits, positives), _ratio(negatives - alarms, negatives)
    both = recall is not None and specificity is not None
    return {
        **of_all,
        "balanced_accuracy": (recall + specificity) / 2 if both else None,  # type: ignore[operator]
        "f1": _ratio(2 * hits, 2 * hits + misses + alarms),
        "auroc": auroc(p, truth),
    }


def auroc(p: Floats, truth: NDArray[np.bool_]) -> float | None:
    """Probability that a positive outranks a negative, ties half; None with one kind only."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return None
    others = np.sort(p[~truth])
    below, not_above = (np.searchsorted(others, p[truth], side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / negatives)


def judge(policy: Policy, types: Sequence[str | None], p: Floats, labels: Floats) -> list[Judged]:
    """The rows that have a class, by response type: those with a label for all that its rules read."""
    column = {name: i for i, name in enumerate(policy.file.propositions)}
    found = []
    for name, kind in policy.response_types.items():
        wanted = [column[v] for v in kind.diagram.variables]
        of_type = np.array([t == name for t in types], dtype=bool)
        rows = np.flatnonzero(of_type & ~np.isnan(labels[:, wanted]).any(axis=1))
        if len(rows):
            gold = kind.diagram.of_rows(labels[rows][:, wanted]).argmax(axis=1)
            found.append(Judged(kind, rows, gold, kind.diagram.of_rows(p[rows][:, wanted])))
    return found


def cells(found: Sequence[Judged]) -> dict[str, dict[str, dict[str, float]]]:
    """Rows and recall, with its interval, of every class that has rows."""
    return {
        one.kind.name: {
            one.kind.classes[c]: _recall(one.said[one.gold == c] == c) for c in np.unique(one.gold).tolist()
        }
        for one in found
    }


def _recall(right: NDArray[np.bool_]) -> dict[str, float]:
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return {
        "n": len(right),
        "recall": float(right.mean()),
        "low": float(interval.low),
        "high": float(interval.high),
    }


def confusion(one: Judged) -> dict[str, Any]:
    """Rows by labelled class (rows) and by the grader's most probable one (columns)."""
    counts = np.zeros((len(one.kind.classes), len(one.kind.classes)), dtype=int)
    np.add.at(counts, (one.gold, one.said), 1)
    return {"classes": list(one.kind.classes), "counts": counts.tolist()}


def outcomes(policy: Policy, types: Sequence[str | None], p: Floats, labels: Floats) -> dict[str, Floats]:
    """What can be compared between groups of rows, (n,) each, NaN where a row has no such measure.

    `class_right`: 1 where the class is right. `propositions_right`: share of its labelled propositions.
    `best_class_error`: P(best class) - [the labelled class is the best], so below 0 where the grader thinks
    too little of a row.
    """
    known = ~np.isnan(labels)
    right = (((p >= 0.5) == (labels == 1)) & known).sum(axis=1)
    asked = known.sum(axis=1)
    class_right, best_class_error = np.full((2, len(p)), np.nan)
    for one in judge(policy, types, p, labels):
        class_right[one.rows] = one.said == one.gold
        best_class_error[one.rows] = one.p[:, 0] - (one.gold == 0)
    return {
        "class_right": class_right,
        "propositions_right": np.where(asked > 0, right / np.maximum(asked, 1), np.nan),
        "best_class_error": best_class_error,
    }


def routing(policy: Policy, categories: Sequence[str], p: Floats) -> dict[str, Any]:
    """How well the content policy's categories are found from requests; `p` is (n, categories).

    `milder`: requests taken for out of scope or for a less strict type than theirs, as declared in
    `auto.strictest_first`.
    """
    order = [*(policy.file.auto.strictest_first if policy.file.auto else ()), "out_of_scope"]
    found = [policy.route(row.tolist()) for row in p]
    said = [route.response_type.name if route.response_type else "out_of_scope" for route in found]
    truth = [policy.file.content_policy[category].response_type for category in categories]
    named = sum(route.category == category for route, category in zip(found, categories, strict=True))
    right = sum(a == b for a, b in zip(said, truth, strict=True))
    milder = sum(order.index(a) > order.index(b) for a, b in zip(said, truth, strict=True))
    return {
        "rows": len(p),
        "category_accuracy": _ratio(named, len(p)),
        "response_type_accuracy": _ratio(right, len(p)),
        "milder": _ratio(milder, len(p)),
    }


def _of_propositions(p: Floats, labels: Floats, frequent: NDArray[np.bool_]) -> dict[str, Ratios]:
    known = ~np.isnan(labels)
    truth, said = labels == 1, p >= 0.5
    both = frequent & (known & ~truth).any(axis=0)
    yes, no = truth & both, known & ~truth & both
    return {
        "proposition_accuracy": _ratios((said == truth) & known, known),
        # Per proposition, the mean of recall and specificity.
        "balanced_accuracy": _ratios(np.hstack([said & yes, ~said & no]), np.hstack([yes, no])),
        "brier": _ratios(np.where(known & frequent, (p - truth) ** 2, 0), known & frequent),
    }


def _of_classes(found: Sequence[Judged], n: int) -> dict[str, Ratios]:
    has_class, right = np.zeros((2, n, 1))
    large: list[tuple[Floats, Floats]] = []
    for one in found:
        has_class[one.rows] = 1
        right[one.rows, 0] = one.said == one.gold
        for c in range(len(one.kind.classes)):
            whole = np.zeros(n)
            whole[one.rows[one.gold == c]] = 1
            if whole.sum() >= MIN_CELL:
                large.append((whole * right[:, 0], whole))
    parts, wholes = (np.array([cell[side] for cell in large]).reshape(-1, n).T for side in (0, 1))
    return {"class_accuracy": _ratios(right, has_class), "class_macro_recall": _ratios(parts, wholes)}


def _ratios(parts: NDArray[Any], wholes: NDArray[Any]) -> Ratios:
    return Ratios(parts.astype(float), wholes.astype(float))


def _mean_ratio(parts: Floats, wholes: Floats) -> float | None:
    some = wholes > 0
    return float((parts[some] / wholes[some]).mean()) if some.any() else None


def _sums(table: Floats, numbers: Ints) -> Floats:
    """Sums of the rows of each number."""
    sums = np.zeros((int(numbers.max(initial=-1)) + 1, table.shape[1]))
    np.add.at(sums, numbers, table)
    return sums


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
