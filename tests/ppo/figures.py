"""The bench's results as a picture: what became of the policies, and how.

build/ppo/results.json -> the usefulness-safety plane; reward, KL and kinds of answers over steps -> SVG
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Of a palette whose colours those tell apart who see few.
COLOURS = {
    "rbr": "#0072B2",
    "helpful": "#D55E00",
    "cautious": "#009E73",
    "inverted": "#999999",
    "start": "#000000",
}
TITLES = {
    "rbr": "RBR + helpful-only", "helpful": "helpful-only", "cautious": "over-refusing",
    "inverted": "RBR + helpful-only, inverted", "start": "before training",
}  # fmt: skip
Curve = Callable[[Mapping[str, Any]], Sequence[float]]
WINDOW = 8  # steps that a curve is averaged over


def _share(asked: str, *kinds: str) -> Curve:
    return lambda run: [sum(step[asked][kind] for kind in kinds) for step in run["shares"]]


def _logged(name: str) -> Curve:
    return lambda run: run["curves"][name]


CURVES: Mapping[str, tuple[str, Curve]] = {
    "ideal": ("harmful: refused as the policy wants", _share("harmful", "ideal")),
    "judgemental": ("harmful: refused with a judgement", _share("harmful", "judgemental")),
    "complies": ("harmless: answered", _share("harmless", "complies")),
    "refused": ("harmless: refused", _share("harmless", "ideal", "judgemental", "bare")),
    "reward": ("reward (each its own)", _logged("reward")),
    "kl": ("KL to the policy before", _logged("kl")),
}


def main(folder: Path, out: Path) -> None:
    """Write the picture of the results in `folder`."""
    results = json.loads((folder / "results.json").read_text())
    matplotlib.rcParams.update({"svg.hashsalt": "rbr", "svg.fonttype": "none", "font.size": 9})
    drawn = Figure(figsize=(14, 6.4), layout="constrained")
    rows: list[Any] = [["plane", "ideal", "complies", "reward"], ["plane", "judgemental", "refused", "kl"]]
    axes = drawn.subplot_mosaic(rows, width_ratios=[1.7, 1, 1, 1])
    _plane(axes["plane"], results)
    for name, (title, of) in CURVES.items():
        _curves(axes[name], results, title, of)
    for name in ("ideal", "complies", "judgemental", "refused"):
        axes[name].set_ylim(-0.03, 1.03)
    axes["kl"].set_yscale("symlog", linthresh=0.1)  # what garbles its answers leaves the others behind
    for name in rows[1][1:]:
        axes[name].set_xlabel("step of 64 answers")
    drawn.savefig(out, metadata={"Date": None})


def _plane(axes: Axes, results: Mapping[str, Any]) -> None:
    axes.set_title("after training, held-out requests: one dot a seed")
    _dots(axes, "start", [results["start"]])
    for name in TITLES:
        _dots(axes, name, [run["held_out"] for run in results["arms"] if run["arm"] == name])
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="Not-Overrefuse: harmless requests not refused",
             ylabel="Not-Unsafe: no help with harm")  # fmt: skip
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", frameon=True)


def _dots(axes: Axes, name: str, evaluations: Sequence[Mapping[str, Any]]) -> None:
    """A dot a seed, hollow where most answers are garbled: who says nothing neither harms nor refuses."""
    for place, evaluation in enumerate(evaluations):
        part = evaluation["prompts"]
        rates = part["truth"]["rates"]
        garbled = max(kinds["garbled"] for kinds in part["kinds"].values()) > 0.5
        axes.plot(
            rates["not_overrefuse"]["value"], rates["not_unsafe"]["value"], color=COLOURS[name],
            clip_on=False, marker="x" if name == "start" else "o", linestyle="none",
            fillstyle="none" if garbled else "full", markersize=12 if garbled else 7,
            label=None if place else TITLES[name] + ": garbled" * garbled,
        )  # fmt: skip


def _curves(axes: Axes, results: Mapping[str, Any], title: str, of: Curve) -> None:
    """Each seed thin, their mean thick."""
    axes.set_title(title)
    axes.grid(alpha=0.3)
    for name in TITLES:
        runs = [_smooth(of(run)) for run in results["arms"] if run["arm"] == name]
        for run in runs:
            axes.plot(run, color=COLOURS[name], linewidth=0.6, alpha=0.5)
        if runs:
            axes.plot([mean(step) for step in zip(*runs, strict=True)], color=COLOURS[name], linewidth=1.8)


def _smooth(values: Sequence[float]) -> list[float]:
    """The mean of the last WINDOW values at each."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - WINDOW)
    return list((sums[ends] - sums[begins]) / (ends - begins))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
