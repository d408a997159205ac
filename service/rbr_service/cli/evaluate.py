"""`rbr evaluate`: the grader against labelled completions."""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from rbr_service import rows
from rbr_service.backends import make_grader
from rbr_service.build import policy_path
from rbr_service.cli import grading
from rbr_service.cli.options import GRADER, read, settings_options, writable
from rbr_service.conversation import Conversation
from rbr_service.errors import DataError, SettingsError
from rbr_service.graders import layout
from rbr_service.graders.base import Grader, GradeRequest, Subject
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.rbr import evaluation
from rbr_service.rbr.policy import Policy, load
from rbr_service.reading import Reader
from rbr_service.settings import Settings

Floats = NDArray[np.float64]


@dataclass
class Gold:
    """Labelled rows. `labels` (n, propositions): 0, 1 or NaN where a row does not say."""

    conversations: list[Conversation]
    types: list[str | None]
    categories: list[str | None]
    labels: Floats


@click.command()
@click.option(
    "--gold",
    required=True,
    type=click.Path(path_type=Path),
    help="Labelled rows, JSONL or Parquet.",
)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all figures there.")
@click.option("--layouts", help="Compare these prompt layouts, such as book,conversation-first.")
@settings_options(["policy", *GRADER, "strip_reasoning"])
def evaluate(gold: Path, out: Path | None, layouts: str | None, config: Path | None, **flags: Any) -> None:
    """Measure the grader on labelled completions.

    A row is one of `rbr score` with "propositions": {"apology": true, ...}; propositions that a row
    lacks count as not labelled. Classes are judged by the policy's own rules on the labels. Where rows
    name their category and the policy has an `auto` block, finding the category is measured too.
    """
    settings = read(config, flags)
    if out:
        writable(out)
    names = [name.strip() for name in layouts.split(",")] if layouts else [settings.layout]
    if layouts and settings.grader == "lexical":
        raise SettingsError("--layouts: the lexical grader reads no prompts: choose --grader vllm or openai")
    for name in names if settings.grader != "lexical" else ():
        layout.load(name)  # a name that is not there is told before hours of grading
    policy = load(policy_path(settings.policy))
    # Labelled rows are read as served ones are, but for empty answers, which are labelled too.
    found = _read(gold, policy, Reader(settings.model_copy(update={"empty_completion": "grade"})))
    figures = {
        name: asyncio.run(_measure(settings.model_copy(update={"layout": name}), policy, found))
        for name in names
    }
    whole_table = figures if layouts else figures[names[0]]
    if out:
        out.write_text(json.dumps(whole_table, indent=1) + "\n")
    click.echo(_side_by_side(figures) if layouts else _table(figures[names[0]]))


async def _measure(settings: Settings, policy: Policy, gold: Gold) -> dict[str, Any]:
    metrics = Metrics()
    grader = make_grader(settings, policy, policy_path(settings.policy), metrics, serving=False)
    async with started(grader):
        before, begin = metrics.computed_tokens, time.perf_counter()
        p, mass = await _grade(grader, gold.conversations, tuple(policy.file.propositions))
        seconds = time.perf_counter() - begin
        computed = metrics.computed_tokens - before
        routing = await _routing(grader, policy, gold)
    figures = evaluation.evaluate(policy, gold.types, p, gold.labels)
    return {
        **figures,
        "completions_per_second": len(p) / seconds,
        "tokens_per_completion": computed / len(p) if computed else None,  # only an engine in process tells
        "label_mass_median": float(np.median(mass)),
        "label_mass_low": float((mass < settings.min_label_mass).mean()),
        **({"routing": routing} if routing else {}),
    }


async def _routing(grader: Grader, policy: Policy, gold: Gold) -> dict[str, Any] | None:
    labelled = [i for i, category in enumerate(gold.categories) if category]
    if not (policy.file.auto and labelled):
        return None
    asked = [Conversation(gold.conversations[i].prompt, "") for i in labelled]
    p, _ = await _grade(grader, asked, policy.categories, "request")
    return evaluation.routing(policy, [str(gold.categories[i]) for i in labelled], p)


def _read(gold: Path, policy: Policy, reader: Reader) -> Gold:
    conversations, types, categories, labels = [], [], [], []
    for number, found in rows.read(gold):
        with rows.placed(gold, number):
            row = rows.whole(found)
            sample = reader.row(rows.sample(row))
            kind = policy.resolve(sample.label)
        conversations.append(sample.conversation)
        types.append(kind.name if kind else None)
        category = row.get("category")
        categories.append(category if category in policy.file.content_policy else None)
        labels.append(_labels(gold, number, row, policy))
    if not conversations:
        raise DataError(f"{gold}: holds no rows")
    return Gold(conversations, types, categories, np.array(labels, dtype=float))


def _labels(gold: Path, number: int, row: dict[str, Any], policy: Policy) -> list[float]:
    given = row.get("propositions")
    if not isinstance(given, dict) or not all(v is None or isinstance(v, bool) for v in given.values()):
        raise DataError(f"{gold}:{number}: propositions must be an object of true and false")
    unknown = given.keys() - policy.file.propositions.keys()
    if unknown:
        raise DataError(f"{gold}:{number}: propositions: the policy {policy.name!r} has no {min(unknown)!r}")
    return [float("nan") if given.get(n) is None else float(given[n]) for n in policy.file.propositions]


async def _grade(
    grader: Grader, conversations: list[Conversation], names: tuple[str, ...], about: Subject = "completion"
) -> tuple[Floats, Floats]:
    """P(yes) and label mass, (n, questions) each."""
    asked = [GradeRequest(conversation, names, about) for conversation in conversations]
    found = await grading.grades(grader, asked, f"grading {about}s")
    p = [[verdict.p for verdict in grade.verdicts] for grade in found]
    mass = [[verdict.label_mass for verdict in grade.verdicts] for grade in found]
    return np.array(p), np.array(mass)


TOTALS = (
    "proposition_accuracy", "balanced_accuracy", "class_accuracy", "class_macro_recall", "label_mass_median",
    "label_mass_low", "tokens_per_completion", "completions_per_second",
)  # fmt: skip


def _side_by_side(figures: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'':28}" + "".join(f"{name[-22:]:>24}" for name in figures)]
    for key in TOTALS:
        cells = (one[key] for one in figures.values())
        lines.append(f"{key:28}" + "".join(f"{'-' if c is None else format(c, '.4g'):>24}" for c in cells))
    return "\n".join(lines)


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
    lines.extend(f"{key:40} {show(figures[key])}" for key in TOTALS[:4])
    for key, value in figures.get("routing", {}).items():
        lines.append(f"{'routing: ' + key:40} {value if isinstance(value, int) else show(value)}")
    return "\n".join(lines)
