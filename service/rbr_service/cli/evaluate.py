"""`rbr evaluate`: the grader against labelled completions."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from rbr_service import rows
from rbr_service.build import make_grader, policy_path
from rbr_service.cli.options import read, settings_options, writable
from rbr_service.conversation import Conversation
from rbr_service.errors import DataError
from rbr_service.graders.base import Grader, GradeRequest, started
from rbr_service.rbr import evaluation
from rbr_service.rbr.policy import Policy, load
from rbr_service.reading import Reader

CHUNK = 64


@click.command()
@click.option(
    "--gold",
    required=True,
    type=click.Path(path_type=Path),
    help="Labelled rows, JSONL or Parquet.",
)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all figures there.")
@settings_options(["policy", "grader", "strip_reasoning"])
def evaluate(gold: Path, out: Path | None, config: Path | None, **flags: Any) -> None:
    """Measure the grader on labelled completions.

    A row is one of `rbr score` with "propositions": {"apology": true, ...}; propositions that a row
    lacks count as not labelled. Classes are judged by the policy's own rules on the labels.
    """
    settings = read(config, flags)
    if out:
        writable(out)
    path = policy_path(settings.policy)
    policy = load(path)
    # Labelled rows are read as served ones are, but for empty answers, which are labelled too.
    reader = Reader(settings.model_copy(update={"empty_completion": "grade"}))
    conversations, types, labels = _read(gold, policy, reader)
    p = asyncio.run(_grade(make_grader(policy, path), conversations, tuple(policy.file.propositions)))
    figures = evaluation.evaluate(policy, types, p, labels)
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n")
    click.echo(_table(figures))


def _read(
    gold: Path, policy: Policy, reader: Reader
) -> tuple[list[Conversation], list[str | None], NDArray[np.float64]]:
    conversations, types, labels = [], [], []
    for number, found in rows.read(gold):
        with rows.placed(gold, number):
            row = rows.whole(found)
            sample = reader.row(rows.sample(row))
            kind = policy.resolve(sample.label)
        conversations.append(sample.conversation)
        types.append(kind.name if kind else None)
        labels.append(_labels(gold, number, row, policy))
    if not conversations:
        raise DataError(f"{gold}: holds no rows")
    return conversations, types, np.array(labels, dtype=float)


def _labels(gold: Path, number: int, row: dict[str, Any], policy: Policy) -> list[float]:
    given = row.get("propositions")
    if not isinstance(given, dict) or not all(v is None or isinstance(v, bool) for v in given.values()):
        raise DataError(f"{gold}:{number}: propositions must be an object of true and false")
    unknown = given.keys() - policy.file.propositions.keys()
    if unknown:
        raise DataError(f"{gold}:{number}: propositions: the policy {policy.name!r} has no {min(unknown)!r}")
    return [float("nan") if given.get(n) is None else float(given[n]) for n in policy.file.propositions]


async def _grade(
    grader: Grader, conversations: list[Conversation], names: tuple[str, ...]
) -> NDArray[np.float64]:
    table = []
    async with started(grader):
        with click.progressbar(range(0, len(conversations), CHUNK), label="grading", file=sys.stderr) as bar:
            for begin in bar:
                asked = [GradeRequest(c, names) for c in conversations[begin : begin + CHUNK]]
                table += [[v.p for v in verdicts] for verdicts in await grader.grade(asked)]
    return np.array(table)


def _table(figures: dict[str, Any]) -> str:
    def show(value: float | None) -> str:
        return "    -" if value is None else f"{value:5.3f}"

    lines = [f"{'proposition':40} {'n':>5} {'pos':>5}   acc   bal    f1 auroc"]
    for name, row in figures["propositions"].items():
        cells = " ".join(show(row[k]) for k in ("accuracy", "balanced_accuracy", "f1", "auroc"))
        lines.append(f"{name:40} {row['n']:5} {row['positives']:5} {cells}")
    lines.append("")
    for kind, cells in figures["cells"].items():
        for name, cell in cells.items():
            lines.append(f"{kind + ' / ' + name:40} {cell['n']:5}       recall {cell['recall']:.3f}")
    lines.append("")
    totals = ("proposition_accuracy", "balanced_accuracy", "class_accuracy", "class_macro_recall")
    lines.extend(f"{key:40} {show(figures[key])}" for key in totals)
    return "\n".join(lines)
