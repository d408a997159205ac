"""Figures about rewards: how they tell the classes apart (the paper's Figure 3).

response types -> histograms of rewards per class, ranking errors
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from rbr_service.report import figures
from rbr_service.report.evidence import Types, classes, intervals, listed, number, spread
from rbr_service.report.figures import CLASS_COLOURS
from rbr_service.report.parts import Figure, Panel

SUMMANDS = {"base": "base reward", "rbr": "RBR alone", "total": "base + RBR"}
_COLOURS = {"base": figures.GREY, "rbr": figures.SKY, "total": figures.BLUE}
_BINS = 40


def histograms(types: Types) -> list[Figure]:
    """Held-out rewards per class, a row of panels per response type (the paper's Figure 3a).

    Without a base reward, which is 0 everywhere, the RBR stands alone.
    """
    caption = (
        "Held-out rewards of each class: the further the best class lies right of the others, the better it "
        "is told apart. Panels side by side share the horizontal axis."
    )
    rows = []
    for place, (name, kind) in enumerate(types.items()):
        rewards = {label: kind["rewards"][label] for label in classes(kind)}
        based = any(any(samples.get("base", [])) for samples in rewards.values())
        parts = SUMMANDS if based else {"rbr": SUMMANDS["rbr"]}
        samples = {part: {label: r[part] for label, r in rewards.items() if part in r} for part in parts}
        values = [value for one in samples.values() for value in chain.from_iterable(one.values())]
        if not values:
            continue
        colours = {label: CLASS_COLOURS[i % len(CLASS_COLOURS)] for i, label in enumerate(rewards)}
        edges = _edges(min(values), max(values))
        panels = [
            _histogram(f"rewards-{place}-{part}", name, parts[part], one, colours, edges)
            for part, one in samples.items()
            if one
        ]
        rows.append(Figure(caption, panels, list(colours.items()), name))
    return rows


def _edges(low: float, high: float) -> Any:
    margin = 0.5 if high - low < 1e-9 * max(1, abs(low)) else 0.0
    return np.linspace(low - margin, high + margin, _BINS + 1)


def _histogram(
    anchor: str,
    name: str,
    caption: str,
    samples: Mapping[str, Sequence[float]],
    colours: Mapping[str, str],
    edges: Any,
) -> Panel:
    drawing, axes = figures.canvas(190)
    for label, values in samples.items():
        shares = np.histogram(values, edges)[0] / len(values)
        axes.stairs(shares, edges, fill=True, color=colours[label], alpha=0.25)
        axes.stairs(shares, edges, color=colours[label], linewidth=1.4)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("reward")
    axes.set_ylabel("share of its class")
    axes.locator_params(nbins=5)
    medians = listed((label, number(float(np.median(values)), 2)) for label, values in samples.items())
    return figures.panel(drawing, anchor, f"Histogram, {name}, {caption}. Medians: {medians}.", caption)


def ranking_errors(types: Types) -> list[Figure]:
    """Held-out ranking errors of base reward, RBR and their sum (the paper's Figure 3b)."""
    found = {name: intervals(kind.get("held_out", {}).get("ranking_error")) for name, kind in types.items()}
    known = {name: {p: e[p] for p in SUMMANDS if p in e} for name, e in found.items() if e.keys() & SUMMANDS}
    panels = []
    for place, (name, errors) in enumerate(known.items()):
        drawing, axes = figures.canvas(140)
        named = {SUMMANDS[part]: error for part, error in errors.items()}
        figures.bars(axes, named, [_COLOURS[part] for part in errors])
        figures.error_axis(axes, "x", [bound for one in known.values() for e in one.values() for bound in e])
        axes.set_xlabel("ranking error")
        text = listed((part, spread(error)) for part, error in named.items())
        panels.append(figures.panel(drawing, f"errors-{place}", f"Ranking errors, {name}: {text}.", name))
    caption = (
        "The share of held-out pairs in which the worse completion earns as much as the better one or more, "
        "with its 95% interval: shorter is better. Where errors differ much, the axis is logarithmic above "
        "0.01 and linear below it, so that zero stays in sight."
    )
    return [Figure(caption, panels)] if panels else []
