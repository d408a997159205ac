"""How well a grader agrees with labelled data, per proposition and per class.

    P (n, k), labels (n, k) -> accuracy, balanced accuracy, F1, AUROC per proposition
                            -> class accuracy and macro recall under the policy's own rules

Labels are 0, 1 or NaN (not labelled). The gold class is what the policy's rules make of the labels;
the predicted class is the most probable one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbr_service.rbr.policy import Policy

Floats = NDArray[np.float64]

MIN_POSITIVES = 15  # balanced accuracy of rarer propositions says little
MIN_CELL = 10  # rows of a response type x class cell that counts


def evaluate(policy: Policy, types: Sequence[str | None], p: Floats, labels: Floats) -> dict[str, Any]:
    """All figures. Columns are the policy's propositions in order; `types` names each row's type."""
    names = list(policy.file.propositions)
    table = {name: proposition(p[:, i], labels[:, i]) for i, name in enumerate(names)}
    counted = [row for row in table.values() if row["n"]]
    frequent = [row["balanced_accuracy"] for row in counted if row["positives"] >= MIN_POSITIVES]
    return {
        "rows": len(p),
        "proposition_accuracy": _mean([row["accuracy"] for row in counted]),
        "balanced_accuracy": _mean([b for b in frequent if b is not None]),
        **classes(policy, types, p, labels),
        "propositions": table,
    }


def proposition(p: Floats, labels: Floats) -> dict[str, Any]:
    """Figures of one proposition over its labelled rows; None where undefined."""
    known = ~np.isnan(labels)
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
        "n": len(p),
        "positives": positives,
        "accuracy": _ratio(int((said == truth).sum()), len(p)),
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


def classes(policy: Policy, types: Sequence[str | None], p: Floats, labels: Floats) -> dict[str, Any]:
    """Class accuracy, macro recall over large cells, and the recall of every cell."""
    column = {name: i for i, name in enumerate(policy.file.propositions)}
    cells: dict[str, dict[str, dict[str, float]]] = {}
    right = total = 0
    for name, kind in policy.response_types.items():
        rows = np.array([t == name for t in types], dtype=bool)
        wanted = [column[v] for v in kind.diagram.variables]
        rows &= ~np.isnan(labels[:, wanted]).any(axis=1)
        if not rows.any():
            continue
        gold = kind.diagram.of_rows(labels[rows][:, wanted]).argmax(axis=1)
        said = kind.diagram.of_rows(p[rows][:, wanted]).argmax(axis=1)
        right, total = right + int((gold == said).sum()), total + int(rows.sum())
        cells[name] = {
            kind.classes[c]: {
                "n": int((gold == c).sum()),
                "recall": float((said[gold == c] == c).mean()),
            }
            for c in sorted(set(gold.tolist()))
        }
    large = [cell["recall"] for row in cells.values() for cell in row.values() if cell["n"] >= MIN_CELL]
    return {
        "class_accuracy": _ratio(right, total),
        "class_macro_recall": _mean(large),
        "cells": cells,
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


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
