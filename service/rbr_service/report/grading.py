"""Figures about the grader: can it be believed, and which classes does it mix up.

propositions -> calibration curves; response types -> confusion
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from rbr_service.rbr.evaluation import MIN_POSITIVES
from rbr_service.report import figures
from rbr_service.report.evidence import Types, count, listed, number
from rbr_service.report.parts import Figure, Panel

Proposition = Mapping[str, Any]


def calibration(propositions: Mapping[str, Proposition]) -> list[Figure]:
    """A curve per proposition that has positives enough; before and after where it was calibrated."""
    drawn = {name: found for name, found in propositions.items() if _bins(found) and _frequent(found)}
    panels = [_curve(f"calibration-{i}", name, found) for i, (name, found) in enumerate(drawn.items())]
    after = any("calibrated" in found for found in drawn.values())
    caption = (
        "How often a proposition is true where the grader gives it this probability; larger points hold more "
        "completions. On the diagonal the grader can be believed, below it it says yes too readily, above it "
        f"too rarely. Propositions with fewer than {MIN_POSITIVES} positives are in the table only."
    )
    legend = [("before calibration" if after else "the grader", figures.ORANGE)]
    legend += [("after", figures.BLUE)] if after else []
    return [Figure(caption, panels, legend, small=True)] if panels else []


def _frequent(found: Proposition) -> bool:
    return bool(found.get("positives", 0) >= MIN_POSITIVES)


def _bins(found: Proposition) -> list[Mapping[str, float]]:
    return [point for point in found.get("bins", []) if point.keys() >= {"p", "share"}]


def _curve(anchor: str, name: str, found: Proposition) -> Panel:
    drawing, axes = figures.canvas(figures.SMALL, figures.SMALL)
    axes.plot([0, 1], [0, 1], color=figures.GREY, linewidth=0.8, linestyle="--")
    calibrated = found.get("calibrated", {})
    for bins, colour in ((_bins(found), figures.ORANGE), (_bins(calibrated), figures.BLUE)):
        total = max((point.get("n", 1) for point in bins), default=1)
        sizes = [10 + 50 * point.get("n", 1) / max(total, 1) for point in bins]
        x, y = [point["p"] for point in bins], [point["share"] for point in bins]
        axes.plot(x, y, color=colour, linewidth=1)
        axes.scatter(x, y, s=sizes, color=colour, alpha=0.8, linewidths=0)
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), xlabel="P(yes)", ylabel="share true")
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    errors = [
        (text, " → ".join(number(part[key]) for part in (found, calibrated) if key in part))
        for key, text in (("ece", "ECE"), ("brier", "Brier"))
        if key in found
    ]
    points = listed(
        (f"at {number(b['p'], 2)}", number(b["share"], 2)) for b in _bins(calibrated) or _bins(found)
    )
    alternative = f"Calibration of {name}: {points}. {listed(errors)}"
    return figures.panel(drawing, anchor, alternative, name, listed(errors))


def confusion(types: Types) -> list[Figure]:
    """Labelled class against the grader's most probable class, per response type."""
    panels = []
    for place, (name, kind) in enumerate(types.items()):
        found = kind.get("confusion", {})
        labels, counts = found.get("classes", []), found.get("counts", [])
        if labels and len(counts) == len(labels) and all(len(row) == len(labels) for row in counts):
            panels.append(_heatmap(f"confusion-{place}", name, labels, np.array(counts, dtype=float)))
    caption = (
        "Completions by labelled class (rows) and by the class that the grader finds most probable "
        "(columns): counts, and their share of the row. A sound grader is dark on the diagonal."
    )
    return [Figure(caption, panels)] if panels else []


def _heatmap(anchor: str, name: str, labels: Sequence[str], counts: Any) -> Panel:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    drawing, axes = figures.canvas(130 + 36 * len(labels))
    borders = np.arange(len(labels) + 1) - 0.5
    axes.pcolormesh(borders, borders, shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    axes.invert_yaxis()
    _cells(axes, counts, shares)
    places, names = range(len(labels)), [figures.short(label, 20) for label in labels]
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("the grader's class")
    axes.set_ylabel("labelled class")
    rows = listed(
        (label, ", ".join(f"{count(n)} as {other}" for other, n in zip(labels, row, strict=True) if n))
        for label, row in zip(labels, counts, strict=True)
    )
    return figures.panel(drawing, anchor, f"Confusion of classes, {name}: {rows}.", name)


def _cells(axes: Axes, counts: Any, shares: Any) -> None:
    for (row, column), share in np.ndenumerate(shares):
        text = f"{count(counts[row, column])}\n{share:.0%}" if counts[row, column] else "0"
        colour = "white" if share > 0.55 else figures.INK
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10, linespacing=1.1)
