"""Figures about weights: which features earn, how strong the RBR is, and what each part is worth.

response types -> weights, error and rank correlation by strength; ablation rows -> errors
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from rbr_service.report import figures
from rbr_service.report.evidence import Interval, Types, interval, intervals, listed, number, spread
from rbr_service.report.parts import Figure, Panel

Points = Sequence[Mapping[str, float]]

_BESIDE_VALUES = 24  # characters of a name where values stand right of the bars


def weights(types: Types) -> list[Figure]:
    """The weights of each response type, in the features' order."""
    panels = []
    for place, (name, kind) in enumerate(types.items()):
        found = intervals(kind.get("weights"))
        if not found:
            continue
        drawing, axes = figures.canvas(50 + 18 * len(found))
        colours = [figures.BLUE if weight.value >= 0 else figures.VERMILION for weight in found.values()]
        figures.bars(axes, found, colours, values=False)
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("weight")
        text = listed((feature, spread(weight, 2)) for feature, weight in found.items())
        panels.append(figures.panel(drawing, f"weights-{place}", f"Weights, {name}: {text}.", name))
    caption = (
        "What a feature adds to the reward when it is certain, with its 95% interval. Where the interval "
        "crosses zero, the data do not say which way the feature matters."
    )
    legend = [("earns", figures.BLUE), ("costs", figures.VERMILION)]
    return [Figure(caption, panels, legend)] if panels else []


def strength(types: Types) -> list[Figure]:
    """Error and rank correlation against strength, a row of two panels per response type."""
    caption = (
        "Held-out ranking error of base + RBR with its 95% band, and how far the best class keeps the order "
        "of the base reward (1: entirely), as the RBR grows stronger. Solid line: the strength chosen; "
        "dashed: the error wanted. The smallest strength that reaches it leaves most to the reward model."
    )
    rows = []
    for place, (name, kind) in enumerate(types.items()):
        found = kind.get("strength", {})
        points = sorted(
            (point for point in found.get("curve", []) if "strength" in point),
            key=lambda point: float(point["strength"]),
        )
        panels = [
            draw(f"strength-{place}-{key}", name, drawn, found)
            for key, draw in (("error", _error_curve), ("rank_correlation", _correlation_curve))
            if (drawn := [point for point in points if key in point])
        ]
        if panels:
            rows.append(Figure(caption, panels, title=name))
    return rows


def _error_curve(anchor: str, name: str, points: Points, found: Mapping[str, Any]) -> Panel:
    drawing, axes, path = _curve(points, "error", found)
    low, high = ([point.get(end, point["error"]) for point in points] for end in ("low", "high"))
    axes.fill_between([p["strength"] for p in points], low, high, color=figures.SKY, alpha=0.4, linewidth=0)
    wanted = found.get("wanted_error")
    if wanted is not None:
        axes.axhline(wanted, color=figures.INK, linewidth=1.2, linestyle="--")
    figures.error_axis(axes, "y", [*low, *high, *(p["error"] for p in points), wanted or 0])
    axes.set_ylabel("ranking error")
    note = f"chosen strength {number(found.get('chosen'), 2)}, wanted error {number(wanted)}"
    return figures.panel(
        drawing, anchor, f"Ranking error by strength, {name}: {path}; {note}.", "ranking error", note
    )


def _correlation_curve(anchor: str, name: str, points: Points, found: Mapping[str, Any]) -> Panel:
    drawing, axes, path = _curve(points, "rank_correlation", found)
    axes.set_ylim(min(0, *(point["rank_correlation"] - 0.05 for point in points)), 1.05)
    axes.locator_params(axis="y", nbins=5)
    axes.set_ylabel("rank correlation")
    note = f"chosen strength {number(found.get('chosen'), 2)}"
    alternative = f"Rank correlation with the base reward by strength, {name}: {path}; {note}."
    return figures.panel(drawing, anchor, alternative, "rank correlation inside the best class", note)


def _curve(points: Points, key: str, found: Mapping[str, Any]) -> tuple[Drawing, Axes, str]:
    """The curve of one figure with the chosen strength, and the same as text."""
    drawing, axes = figures.canvas(210)
    x, y = [point["strength"] for point in points], [point[key] for point in points]
    axes.plot(x, y, color=figures.BLUE, marker="o", markersize=3.5)
    if "chosen" in found:
        axes.axvline(found["chosen"], color=figures.VERMILION, linewidth=1.4)
    if min(x) > 0 and max(x) > 10 * min(x):
        _log_axis(axes, min(x), max(x))
    axes.set_xlabel("strength")
    return drawing, axes, listed((f"at {number(a, 2)}", number(b)) for a, b in zip(x, y, strict=True))


def _log_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.minorticks_off()
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 3) if len(decades) <= 4 else (1,)
    ticks = [
        step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high
    ]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def ablation(rows: Sequence[Mapping[str, Any]], types: Types) -> list[Figure]:
    """Held-out error without each part, beside the error of the whole."""
    found: dict[str, dict[str, Interval]] = {}
    for row in rows:
        error = interval(row.get("error"))
        if error:
            found.setdefault(row.get("response_type", ""), {})[row.get("left_out", "")] = error
    scale = [bound for errors in found.values() for error in errors.values() for bound in error]
    panels = []
    for place, (name, errors) in enumerate(found.items()):
        drawing, axes = figures.canvas(50 + 18 * len(errors))
        figures.bars(axes, errors, [figures.SKY] * len(errors), size=_BESIDE_VALUES)
        figures.error_axis(axes, "x", scale)
        whole = intervals(types.get(name, {}).get("held_out", {}).get("ranking_error")).get("total")
        if whole:
            axes.axvline(whole.value, color=figures.VERMILION, linewidth=1.4)
        axes.set_xlabel("ranking error without it")
        text = listed((part, spread(error)) for part, error in errors.items())
        alternative = f"Ranking error without each part, {name}: {text}. With all: {spread(whole)}."
        panels.append(figures.panel(drawing, f"ablation-{place}", alternative, name))
    caption = (
        "Held-out ranking error after fitting without the named part, with its 95% interval; the vertical "
        "line is the error with everything. A bar that ends at the line names a part that could go."
    )
    return [Figure(caption, panels)] if panels else []
