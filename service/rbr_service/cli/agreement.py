"""`rbr agreement`: two annotators' labels of the same completions.

A, B (gold rows) -> rows matched by id, else by text -> kappa per proposition, the rows in dispute
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from rbr_service import jsontext, labelling, rows
from rbr_service.cli.options import outputs
from rbr_service.cli.progress import say
from rbr_service.errors import DataError
from rbr_service.files import write
from rbr_service.rbr.agreement import FEW, Agreement, Floats, agreement, mean_kappa
from rbr_service.rbr.policy import digest


@dataclass(frozen=True)
class Row:
    """A labelled row: `text` is a hash of its messages, outer white space aside."""

    line: int
    id: str | None
    text: str
    labels: dict[str, bool]
    whole: dict[str, Any]


@click.command("agreement")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@click.option(
    "--disputed",
    type=click.Path(path_type=Path),
    help="Write the rows in dispute there, null where A and B differ, for `rbr label --missing`.",
)
def compare(first: Path, second: Path, disputed: Path | None) -> None:
    """Measure how far two annotators agree: gold rows A and B, as `rbr label` writes them.

    Rows are matched by id, and by the text of prompt and completion where one of them has none. Kappa is
    agreement beyond chance (Cohen 1960), with the large-sample 95% interval; - where it is undefined, as
    when both gave one answer throughout.

    To adjudicate: rbr agreement A B --disputed D, then rbr label D -o FINAL --missing.
    """
    outputs((first, second), disputed)
    pairs = _matched(_read(first), _read(second), first, second)
    names = list(dict.fromkeys(name for pair in pairs for row in pair for name in row.labels))
    found = {name: agreement(*(_column(pairs, side, name) for side in (0, 1))) for name in names}
    click.echo("\n".join(_table(found, len(pairs))))
    if disputed:
        apart = [_open(a, b) for a, b in pairs if _differing(a, b)]
        write(disputed, b"".join(map(jsontext.line, apart)))
        say(f"{disputed}: {len(apart)} rows in dispute")


def _read(path: Path) -> list[Row]:
    found = []
    for line, row in rows.read(path):
        with rows.placed(path, line):
            whole = rows.whole(row)
            sample = rows.sample(whole)
            labels = labelling.labelled(whole)
        text = digest([[message.role, message.content.strip()] for message in sample.messages])
        found.append(Row(line, None if sample.id is None else str(sample.id), text, labels, whole))
    return found


def _matched(a: Sequence[Row], b: Sequence[Row], first: Path, second: Path) -> list[tuple[Row, Row]]:
    """The rows that are in both files. Raises DataError."""
    _by_id(a, first)
    known = _by_id(b, second)
    named = {row.line: known[row.id] for row in a if row.id in known}
    used = {other.line for other in named.values()}
    free: dict[str, list[Row]] = {}
    for other in b:
        if other.line not in used:
            free.setdefault(other.text, []).append(other)
    pairs = []
    for row in a:
        found = named.get(row.line) or _alike(row, free.get(row.text, []))
        if found and found.text != row.text:
            raise DataError(f"{first}:{row.line}: has the id of {second}:{found.line} and another text")
        if found:
            pairs.append((row, found))
    if not pairs:
        raise DataError(f"{first}: has no completion in common with {second}")
    return pairs


def _by_id(found: Sequence[Row], path: Path) -> dict[str | None, Row]:
    known: dict[str | None, Row] = {}
    for row in found:
        if row.id in known:
            raise DataError(f"{path}:{row.line}: has the id of line {known[row.id].line}")
        if row.id is not None:
            known[row.id] = row
    return known


def _alike(row: Row, free: list[Row]) -> Row | None:
    """The first row of this text that no other id speaks against, taken out; equal texts go in order."""
    for i, other in enumerate(free):
        if row.id is None or other.id is None:
            return free.pop(i)
    return None


def _column(pairs: Sequence[tuple[Row, Row]], side: int, name: str) -> Floats:
    return np.array([pair[side].labels.get(name, np.nan) for pair in pairs], dtype=float)


def _differing(a: Row, b: Row) -> set[str]:
    return {name for name in a.labels.keys() & b.labels.keys() if a.labels[name] != b.labels[name]}


def _open(a: Row, b: Row) -> dict[str, Any]:
    """A's row with the labels of both; what they differ in is null."""
    said: dict[str, bool | None] = {**dict.fromkeys(a.whole["propositions"]), **b.labels, **a.labels}
    row = {name: value for name, value in a.whole.items() if name != "annotator"}
    return row | {"propositions": said | dict.fromkeys(_differing(a, b))}


def _table(found: dict[str, Agreement], rows_in_both: int) -> list[str]:
    heading = (
        f"{'proposition':38} {'n':>5} {'yes A':>6} {'yes B':>6} {'preval.':>7} {'agree':>6} {'kappa':>6}"
    )
    mean = mean_kappa(list(found.values()))
    defined = sum(one.kappa is not None for one in found.values())
    lines = [f"{heading}  95% interval", *(_line(name, one) for name, one in found.items()), ""]
    lines.append(
        f"{rows_in_both} rows in both; mean kappa {_shown(mean).strip()} over {defined} propositions"
    )
    if any(one.unstable for one in found.values()):
        lines.append(f"* yes or no is rarer than {FEW} rows: kappa is unstable there, a few answers turn it")
    return lines


def _line(name: str, one: Agreement) -> str:
    interval = f"{one.interval[0]:5.2f} .. {one.interval[1]:.2f}" if one.interval else "    -"
    counts = f"{one.n:5} {one.yes[0]:6} {one.yes[1]:6}  {_shown(one.prevalence)}"
    mark = " *" if one.unstable else ""
    return f"{name:38} {counts} {_shown(one.observed)} {_shown(one.kappa)}  {interval}{mark}"


def _shown(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.2f}"
