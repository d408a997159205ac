"""What a report's page is made of: sections of figures and tables, all text still unescaped."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing; `svg` is safe to insert as it is. The caption tells panels apart, the note adds to it."""

    svg: Markup
    caption: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels side by side where there is room; `legend` pairs each text with its colour.

    `caption` says how to read it. `small` panels need half a phone's width.
    """

    caption: str
    panels: Sequence[Panel]
    legend: Sequence[tuple[str, str]] = ()
    title: str = ""
    small: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, the first cell of each its heading; `flagged` rows stand out."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    flagged: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, an anchor, and what stands below it."""

    anchor: str
    title: str
    parts: Sequence[Figure | Table]
