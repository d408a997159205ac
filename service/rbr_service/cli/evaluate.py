"""`rbr evaluate`: the grader against labelled completions."""

import asyncio
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from rbr_service import files
from rbr_service import gold as labelled
from rbr_service.backends import make_grader
from rbr_service.build import GRADED_WITH, command, load_calibration, policy_path
from rbr_service.cli import grading, tables
from rbr_service.cli.options import GRADER, outputs, read, regular, settings_options, sources
from rbr_service.conversation import Conversation
from rbr_service.errors import DataError, SettingsError
from rbr_service.gold import Gold
from rbr_service.graders import layout
from rbr_service.graders.base import Grader, GradeRequest, Subject
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.rbr import evaluation, slices
from rbr_service.rbr.calibration import NONE, Calibration
from rbr_service.rbr.model import version
from rbr_service.rbr.policy import Policy, load
from rbr_service.rbr.ranked import Floats
from rbr_service.rbr.slices import Correction
from rbr_service.settings import Settings


@dataclass(frozen=True)
class Question:
    """What is to be measured: labelled rows, and the groups that they are cut into."""

    policy: Policy
    gold: Gold
    groups: Mapping[str, Sequence[str]]
    correction: Correction
    seed: int


@dataclass(frozen=True)
class Measured:
    """A grader to be measured: its counters, and the calibration in force."""

    grader: Grader
    metrics: Metrics
    calibration: Calibration | None

    @classmethod
    def make(cls, settings: Settings, policy: Policy, path: Path) -> "Measured":
        """As set. Raises StartupError."""
        metrics = Metrics()
        grader = make_grader(settings, policy, path, metrics, serving=False)
        return cls(grader, metrics, load_calibration(settings, policy, path, grader))


@click.command()
@click.option(
    "--gold",
    required=True,
    type=click.Path(path_type=Path),
    help="Labelled rows, JSONL or Parquet.",
)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all figures there.")
@click.option("--report", type=click.Path(path_type=Path), help="Write them as one HTML page.")
@click.option("--layouts", help="Compare these prompt layouts, such as book,conversation-first.")
@click.option(
    "--slice",
    "columns",
    metavar="COLUMN",
    multiple=True,
    help=f"Compare the groups of this column; repeatable.  [default: {', '.join(labelled.USUAL)}]",
)
@click.option(
    "--correction",
    type=click.Choice(["holm", "bh"]),
    default="holm",
    show_default=True,
    help="For the number of comparisons: holm bounds the chance of any false alarm, bh the share of false "
    "alarms among all.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of intervals and permutations."
)
@settings_options(["policy", "calibration", *GRADER, "strip_reasoning"])
def evaluate(
    gold: Path, out: Path | None, report: Path | None, layouts: str | None, columns: tuple[str, ...],
    correction: Correction, seed: int, config: Path | None, **flags: Any,
) -> None:  # fmt: skip
    """Measure the grader on labelled completions.

    A row is one of `rbr score` with "propositions": {"apology": true, ...}; propositions that a row
    lacks count as not labelled. Classes are judged by the policy's own rules on the labels. Where rows
    name their category and the policy has an `auto` block, finding the category is measured too.

    Slices show whether the grader treats some completions worse than the rest. Each group of rows is
    compared with all others: is the class right, what share of its propositions is right, and P(best class)
    minus whether the labelled class is the best (below 0: thought too little of). A column of numbers is
    cut into three; length is the completion's in words. One column often stands for another, as a
    response type does for the categories that it answers: what a difference is due to is for you to find.

    Prompts, not rows, are what is compared: several completions of a prompt are no independent evidence.

    brier and ece are means over the propositions with 15 positives or more. ECE is taken over ten bins and
    never 0: on 351 rows a perfectly calibrated grader shows .02 to .045. On the rows that the calibration
    was fitted on, it looks better than it is: the figures are then said to be in sample.
    """
    settings = read(config, flags)
    names = _layouts(settings, layouts, report)
    path = policy_path(settings.policy)
    policy = load(path)
    # Which curves there are beside the policy belong to one layout.
    raw = {"calibration": Path(NONE)} if layouts else {}
    graders = {
        name: Measured.make(settings.model_copy(update={"layout": name, **raw}), policy, path)
        for name in names
    }
    outputs((regular(gold), *sources(settings, config, graders[names[0]].grader)), out, report)
    found = labelled.read(gold, policy, settings, columns or labelled.USUAL)
    question = Question(policy, found, _groups(gold, found, columns), correction, seed)
    figures = {
        name: asyncio.run(_measure(one, question, settings.min_label_mass)) for name, one in graders.items()
    }
    one = figures[names[0]]
    if out:
        files.write(out, json.dumps(figures if layouts else one, indent=1) + "\n")
    if report:
        from rbr_service.report import page  # it loads the plotting library

        files.write(report, page.render(_evidence(settings, gold, one)))
    click.echo(tables.side_by_side(figures) if layouts else tables.evaluation(one))


def _layouts(settings: Settings, layouts: str | None, report: Path | None) -> list[str]:
    """The layouts to measure, checked before hours of grading. Raises SettingsError."""
    names = [name.strip() for name in layouts.split(",")] if layouts else [settings.layout]
    if layouts and settings.grader == "lexical":
        raise SettingsError("--layouts: the lexical grader reads no prompts: choose --grader vllm or openai")
    if layouts and (report or settings.calibration not in (None, Path(NONE))):
        given = "--report" if report else "--calibration"
        raise SettingsError(f"--layouts and {given}: a {given[2:]} is of one layout: name it with --layout")
    for name in names if settings.grader != "lexical" else ():
        layout.load(name)
    return names


def _groups(path: Path, gold: Gold, columns: Sequence[str]) -> dict[str, list[str]]:
    groups = gold.groups(columns or labelled.USUAL)
    if missing := [name for name in columns if name not in groups]:
        raise DataError(f"{path}: --slice {missing[0]}: no row has such a column")
    return groups


async def _measure(measured: Measured, asked: Question, least_mass: float) -> dict[str, Any]:
    policy, gold = asked.policy, asked.gold
    grader, metrics, calibration = measured.grader, measured.metrics, measured.calibration
    async with started(grader):
        before, begin = metrics.computed_tokens, time.perf_counter()
        p, mass = await probabilities(grader, gold.conversations, tuple(policy.file.propositions))
        seconds = time.perf_counter() - begin
        computed = metrics.computed_tokens - before
        routing = await _routing(grader, policy, gold)
    if calibration:
        p = calibration.apply(tuple(policy.file.propositions), p)
    outcomes = evaluation.outcomes(policy, gold.types, p, gold.labels)
    return {
        **evaluation.evaluate(policy, gold.types, p, gold.labels, gold.prompts, asked.seed),
        "slices": slices.compare(asked.groups, outcomes, asked.correction, asked.seed, prompts=gold.prompts),
        "grader": f"{grader.name}/{grader.fingerprint[:12]}",
        "calibration": version(calibration),
        "in_sample": bool(calibration and calibration.origin.get("data_sha256") == gold.sha256),
        "completions_per_second": len(p) / seconds,
        "tokens_per_completion": computed / len(p) if computed else None,  # only an engine in process tells
        "label_mass_median": float(np.median(mass)),
        "label_mass_low": float((mass < least_mass).mean()),
        **({"routing": routing} if routing else {}),
    }


async def _routing(grader: Grader, policy: Policy, gold: Gold) -> dict[str, Any] | None:
    known = [i for i, category in enumerate(gold.categories) if category]
    if not (policy.file.auto and known):
        return None
    asked = [Conversation(gold.conversations[i].prompt, "") for i in known]
    p, _ = await probabilities(grader, asked, policy.categories, "request")
    return evaluation.routing(policy, [str(gold.categories[i]) for i in known], p)


async def probabilities(
    grader: Grader, conversations: list[Conversation], names: tuple[str, ...], about: Subject = "completion"
) -> tuple[Floats, Floats]:
    """P(yes) and label mass, (n, questions) each."""
    asked = [GradeRequest(conversation, names, about) for conversation in conversations]
    found = await grading.grades(grader, asked, f"grading {about}s")
    p = [[verdict.p for verdict in grade.verdicts] for grade in found]
    mass = [[verdict.label_mass for verdict in grade.verdicts] for grade in found]
    return np.array(p), np.array(mass)


def _evidence(settings: Settings, gold: Path, figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures as the report reads them."""
    facts = {
        "grader": figures["grader"],
        "calibration": figures["calibration"][:12]
        + (f", {tables.IN_SAMPLE}" if figures["in_sample"] else ""),
        "labelled rows": f"{figures['rows']} of {gold.name}",
        **{name.replace("_", " "): tables.total(figures, name) for name in tables.PRINTED},
    }
    depends = (*GRADED_WITH, "calibration")
    return {
        "title": f"{settings.policy}: the {settings.grader} grader against labels",
        "command": f"{command('evaluate', settings, depends)} --gold {shlex.quote(str(gold))}",
        "facts": facts,
        **{key: figures[key] for key in ("response_types", "propositions", "slices")},
    }
