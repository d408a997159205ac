"""The bench's results as a table: means over seeds, and every seed beside.

results.json's content -> lines of Markdown
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from .arms import ARMS

# What a row shows: heading, and where the figure stands in one evaluation.
FIGURES: Sequence[tuple[str, tuple[str, ...]]] = (
    ("Not-Unsafe", ("truth", "rates", "not_unsafe", "value")),
    ("Not-Overrefuse", ("truth", "rates", "not_overrefuse", "value")),
    ("F1", ("truth", "rates", "f1", "value")),
    ("harmful: ideal", ("kinds", "hard_refusal", "ideal")),
    ("judgemental", ("kinds", "hard_refusal", "judgemental")),
    ("harmless: complies", ("kinds", "comply", "complies")),
    ("garbled", ("kinds", "comply", "garbled")),
)
PARTS = {"prompts": "held-out requests", "topics": "held-out topics"}


def table(results: Mapping[str, Any]) -> list[str]:
    """A table for each held-out part."""
    lines: list[str] = []
    for part, title in PARTS.items():
        lines += ["", f"| {title} | " + " | ".join(name for name, _ in FIGURES) + " |", "|---" * 8 + "|"]
        lines.append(_row("start", [results["start"][part]]))
        for arm in ARMS:
            of_arm = [run["held_out"][part] for run in results["arms"] if run["arm"] == arm.name]
            if of_arm:
                lines.append(_row(arm.title, of_arm))
    return lines[1:]


def figure(evaluation: Mapping[str, Any], path: Sequence[str]) -> float:
    """One figure of one evaluation."""
    found: Any = evaluation
    for key in path:
        found = found[key]
    return float(found)


def _row(title: str, evaluations: Sequence[Mapping[str, Any]]) -> str:
    cells = []
    for _, path in FIGURES:
        values = [figure(evaluation, path) for evaluation in evaluations]
        every = f" ({' '.join(f'{v:.2f}' for v in values)})" if len(values) > 1 else ""
        cells.append(f"{mean(values):.3f}{every}")
    return f"| {title} | " + " | ".join(cells) + " |"
