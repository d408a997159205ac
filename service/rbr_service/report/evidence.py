r"""What is known of the evidence, and how its numbers are written.

    {..., None, NaN, "a\nb"} -> known -> {..., "a b"}: what is missing is absent, text is printable

Everything else in this package reads what `known` returned: a part that is not there is left out of the
report, so a figure is never drawn from a number that nobody measured.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Types = Mapping[str, Mapping[str, Any]]  # response types by name


class Interval(NamedTuple):
    """A figure and the bounds of its 95% interval."""

    value: float
    low: float
    high: float


def known(value: Any) -> Any:
    """A copy of plain data without None, NaN, infinities and what is empty then; None if nothing is left."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        kept = {printable(str(key)): known(part) for key, part in value.items()}
        return {key: part for key, part in kept.items() if part is not None} or None
    if isinstance(value, Sequence):
        return [part for part in map(known, value) if part is not None] or None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def printable(text: str) -> str:
    """`text` on one line; what no page can show, or what would reorder it, becomes U+FFFD."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def interval(found: Mapping[str, Any] | None) -> Interval | None:
    """A known figure; bounds that are missing are the value itself."""
    if not found or "value" not in found:
        return None
    value = found["value"]
    return Interval(value, found.get("low", value), found.get("high", value))


def intervals(found: Mapping[str, Any] | None) -> dict[str, Interval]:
    """The known figures of a mapping, in its order."""
    read = {name: interval(part) for name, part in (found or {}).items()}
    return {name: part for name, part in read.items() if part is not None}


def classes(kind: Mapping[str, Any]) -> list[str]:
    """The classes of a response type that have rewards: as declared, best first, then any other."""
    declared = kind.get("classes", [])
    found = kind.get("rewards", {})
    return [name for name in dict.fromkeys([*declared, *found]) if name in found]


def number(value: float | None, digits: int = 3) -> str:
    """A figure as text; a dash where there is none, an exponent where digits would run away."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.{digits}g}"


def count(value: float | None) -> str:
    """A whole number as text, thousands set apart."""
    return "–" if value is None else f"{value:,.0f}"


def spread(found: Interval | None, digits: int = 3) -> str:
    """A figure with its interval as text."""
    if found is None:
        return "–"
    return f"{number(found.value, digits)} ({number(found.low, digits)} to {number(found.high, digits)})"


def listed(figures: Iterable[tuple[str, str]]) -> str:
    """Named figures as a sentence: the text alternative of a plot."""
    return "; ".join(f"{name} {figure}" for name, figure in figures)
