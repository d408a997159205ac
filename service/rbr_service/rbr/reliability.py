"""Whether probabilities mean what they say.

    P (n,), truth (n,) -> Brier score, bins of P, expected calibration error (ECE)

ECE is taken over ten bins of equal width, each weighing as its rows (Naeini et al. 2015; Guo et al. 2017),
because that is what others report. It is never below 0 and so biased upwards: on a few hundred rows a grader
that is perfectly calibrated shows some hundredths. `least_ece` says how many; compare with it. Bins of equal
size would tear the few values apart that the lexical grader gives.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbr_service.rbr.ranked import Floats, Ints

Bools = NDArray[np.bool_]

BINS = 10
DRAWS = 200


def figures(p: Floats, labels: Floats) -> dict[str, Any]:
    """Accuracy, Brier score, ECE and bins over the rows with a label; None where there are none.

    `p` and `labels` (n,); labels are 0, 1 or NaN (not labelled).
    """
    known = ~np.isnan(labels)
    p, truth = p[known], labels[known] == 1
    some = len(p) > 0
    return {
        "n": len(p),
        "positives": int(truth.sum()),
        "accuracy": float(((p >= 0.5) == truth).mean()) if some else None,
        "brier": brier(p, truth) if some else None,
        "ece": ece(p, truth) if some else None,
        "bins": bins(p, truth),
    }


def repeated(p: Floats, labels: Floats) -> dict[str, Any]:
    """The means of `figures` over repeats, for P (repeats, n); bins hold the rows of all repeats.

    Of the ECE, `eces` (repeats,) are the single ones; the ECE of pooled repeats would hide what they vary.
    """
    eces = [figures(one, labels)["ece"] for one in p]
    pooled = figures(p.ravel(), np.tile(labels, len(p)))
    whole = {key: pooled[key] // len(p) for key in ("n", "positives")}
    return {**pooled, **whole, "ece": float(np.mean(eces)) if whole["n"] else None, "eces": eces}


def brier(p: Floats, truth: Bools) -> float:
    """Mean squared difference of P and truth (Brier 1950)."""
    return float(((p - truth) ** 2).mean())


def ece(p: Floats, truth: Bools) -> float:
    """Mean over rows of |mean P - share of yes| of the row's bin."""
    return _gap(_bin(p), p, truth)


def bins(p: Floats, truth: Bools) -> list[dict[str, Any]]:
    """The calibration curve: mean P, share of yes and rows of each bin that has any."""
    places = _bin(p)
    return [
        {"p": float(p[inside].mean()), "share": float(truth[inside].mean()), "n": int(inside.sum())}
        for inside in (places == number for number in np.unique(places))
    ]


def least_ece(p: Floats, seed: int = 0) -> float:
    """The ECE to be expected were every P exactly right: the mean over truths drawn from P."""
    places, rng = _bin(p), np.random.default_rng(seed)
    return float(np.mean([_gap(places, p, rng.random(len(p)) < p) for _ in range(DRAWS)]))


def _bin(p: Floats) -> Ints:
    return np.minimum((p * BINS).astype(np.intp), BINS - 1)


def _gap(places: Ints, p: Floats, truth: Bools) -> float:
    return float(np.abs(np.bincount(places, weights=p - truth)).sum() / len(p))
