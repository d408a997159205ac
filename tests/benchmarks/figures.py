"""The figures of a run: kept in one JSON file, to which every benchmark adds its own keys."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number; it should be at most `target`."""

    key: str
    value: float
    target: float
    meaning: str


def merge(path: Path, figures: list[Figure]) -> None:
    """Write figures into the file and leave the others there as they are."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known.update({figure.key: round(figure.value, 4) for figure in figures})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def table(figures: list[Figure]) -> str:
    """Figures, one a line, beside their targets."""
    lines = [f"{'figure':<28} {'measured':>9} {'target':>8}       of what"]
    for figure in figures:
        verdict = "ok" if figure.value <= figure.target else "OVER"
        lines.append(
            f"{figure.key:<28} {figure.value:>9.3f} {'<= ' + format(figure.target, 'g'):>8} {verdict:<5} "
            f"{figure.meaning}"
        )
    return "\n".join(lines)
