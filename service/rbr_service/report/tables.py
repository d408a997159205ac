"""The tables of a report: figures as text.

facts, response types, propositions, slices, ablation -> Table, or none where nothing is known
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rbr_service.report.evidence import Interval, Types, count, interval, intervals, number, spread
from rbr_service.report.parts import Table
from rbr_service.report.rewards import SUMMANDS


def facts(found: Mapping[str, Any]) -> list[Table]:
    """What the figures were made from."""
    rows = [(name, str(value)) for name, value in found.items()]
    return _table("What the figures were made from.", ("fact", "value"), rows)


def summary(types: Types) -> list[Table]:
    """Held-out errors, rank correlation and reachable range per response type."""
    rows = []
    for name, kind in types.items():
        held_out = kind.get("held_out", {})
        errors = intervals(held_out.get("ranking_error"))
        reach = kind.get("range", {})
        ends = f"{number(reach.get('low'), 2)} to {number(reach.get('high'), 2)}" if reach else "–"
        cells = [spread(errors.get(part)) for part in SUMMANDS]
        rows.append((name, *cells, spread(interval(held_out.get("rank_correlation")), 2), ends))
    caption = (
        "Ranking error: the share of held-out pairs whose worse completion earns as much or more, with its "
        "95% interval. Rank correlation: how far base + RBR orders the best class as the base reward does. "
        "Range: the rewards that the RBR can reach."
    )
    head = ("response type", *(f"error, {text}" for text in SUMMANDS.values()), "rank correlation", "range")
    return _table(caption, head, rows)


def amounts(types: Types) -> list[Table]:
    """How much data stands behind each response type."""
    rows = []
    for name, kind in types.items():
        train, held_out = kind.get("train", {}), kind.get("held_out", {})
        cells = [count(part.get(key)) for part in (train, held_out) for key in _AMOUNTS]
        rows.append((name, *cells, number(train.get("loss")), number(train.get("objective"))))
    caption = (
        "What was fitted on and what was held out. The objective is the loss and the penalty on weights."
    )
    heads = [f"{key}, {part}" for part in ("train", "held out") for key in _AMOUNTS]
    return _table(caption, ("response type", *heads, "loss", "objective"), rows)


_AMOUNTS = ("prompts", "completions", "pairs")


def calibration(propositions: Mapping[str, Any]) -> list[Table]:
    """Accuracy, Brier score and ECE of each proposition, with what calibration made of them."""
    rows = [
        (
            name,
            count(found.get("n")),
            count(found.get("positives")),
            *(_change(found, key) for key in ("accuracy", "brier", "ece")),
        )
        for name, found in propositions.items()
    ]
    caption = (
        "Brier score: mean squared distance of P(yes) from the label. ECE, the expected calibration error: "
        "mean distance of P(yes) from the share that is true. Smaller is better; after an arrow: calibrated."
    )
    return _table(caption, ("proposition", "n", "positives", "accuracy", "Brier", "ECE"), rows)


def _change(found: Mapping[str, Any], key: str) -> str:
    after = found.get("calibrated", {}).get(key)
    return number(found.get(key)) + ("" if after is None else f" → {number(after)}")


def slices(found: Mapping[str, Any]) -> list[Table]:
    """Groups of completions against all others; those that differ first."""
    tests = sorted(found.get("tests", []), key=lambda test: not test.get("differs"))
    method = found.get("correction", "")
    caption = (
        "Does the grader treat some completions otherwise than the rest? Here: the measure inside the slice; "
        "elsewhere: outside it. A slice differs if its p value, adjusted for the number of tests"
        f"{f' ({_CORRECTIONS.get(method, method)})' if method else ''}, is below {found.get('level', 0.05)}; "
        "where n is small, “no” proves little."
    )
    head = ("slice", "differs?", "measure", "n", "here", "elsewhere", "p", "p adjusted")
    flagged = frozenset(i for i, test in enumerate(tests) if test.get("differs"))
    return _table(caption, head, [_slice(test) for test in tests], flagged)


_CORRECTIONS = {"holm": "Holm", "bh": "Benjamini-Hochberg"}


def _slice(test: Mapping[str, Any]) -> tuple[str, ...]:
    verdict = "differs" if test.get("differs") else "no" if test.get("p") is not None else "not tested"
    return (
        f"{test.get('column', '–')} = {test.get('value', '–')}",
        verdict,
        str(test.get("measure", "–")),
        count(test.get("n")),
        number(test.get("here")),
        number(test.get("elsewhere")),
        _p_value(test.get("p")),
        _p_value(test.get("adjusted")),
    )


def _p_value(p: float | None) -> str:
    return "< 0.001" if p is not None and p < 0.001 else number(p)


def ablation(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Held-out error without each part, a column per response type."""
    found: dict[str, dict[str, Interval | None]] = {}
    for row in rows:
        kind = row.get("response_type", "–")
        found.setdefault(row.get("left_out", "–"), {})[kind] = interval(row.get("error"))
    kinds = list(dict.fromkeys(kind for cells in found.values() for kind in cells))
    caption = (
        "Held-out ranking error, with its 95% interval, after fitting without the part that names the row."
    )
    table = [(part, *(spread(cells.get(kind)) for kind in kinds)) for part, cells in found.items()]
    return _table(caption, ("left out", *kinds), table)


def _table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], flagged: frozenset[int] = frozenset()
) -> list[Table]:
    """The table, unless it would be empty."""
    kept = list(rows)
    return [Table(caption, head, kept, flagged)] if kept else []
