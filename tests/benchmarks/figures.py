"""The figures of a run: kept in one JSON file, to which every benchmark adds its own keys."""

import json
import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number; it should be at most `target`, or at `least`; an infinite one asks nothing.

    "a.b" is the key b in the object a.
    """

    key: str
    value: float
    target: float
    meaning: str
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether the number is what it should be."""
        return self.value >= self.target if self.least else self.value <= self.target


def merge(path: Path, figures: list[Figure]) -> None:
    """Write figures into the file and leave the others there as they are."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for figure in figures:
        *objects, key = figure.key.split(".")
        place = known
        for name in objects:
            place = place.setdefault(name, {})
        place[key] = float(f"{figure.value:.4g}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def table(figures: list[Figure]) -> str:
    """Figures, one a line, beside their targets."""
    lines = [f"{'figure':<40} {'measured':>10} {'target':>10}        of what"]
    for figure in figures:
        sign = ">=" if figure.least else "<="
        target = f"{sign} {figure.target:,.6g}" if math.isfinite(figure.target) else ""
        verdict = ("ok" if figure.met else "MISSED") if target else ""
        lines.append(f"{figure.key:<40} {figure.value:>10,.3f} {target:>10} {verdict:<6} {figure.meaning}")
    return "\n".join(lines)
