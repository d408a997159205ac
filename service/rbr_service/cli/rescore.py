"""`rbr rescore`: what a changed rule would have done to the rewards in a score log."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from rbr_service.build import make_scorer, policy_path, weights_path
from rbr_service.cli.options import BASE_REWARD, GRADER, outputs, read, settings_options, sources
from rbr_service.cli.progress import Progress, say
from rbr_service.cli.terminal import visible
from rbr_service.errors import RBRError
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.rescore.changes import Change, Outcome, Summary
from rbr_service.rescore.output import writing
from rbr_service.rescore.scoring import Rescorer
from rbr_service.scorelog import reader
from rbr_service.scorer import LowMass

OPTIONS = ("policy", "weights", "calibration", *GRADER, *BASE_REWARD, "accept_mismatch")


@click.command()
@click.argument("log", metavar="LOG", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path),
    help="Where every row's rewards before and after go; .parquet or JSONL.",
)  # fmt: skip
@settings_options(OPTIONS)
def rescore(log: Path, output: Path | None, config: Path | None, **flags: Any) -> None:
    """Show what a changed rule would have done to past rewards.

    LOG is what `rbr serve --score-log` wrote: its folder, one day's (date=2026-11-26) or one file. Give the
    grader and base reward options of the service.

    \b
      rbr serve --score-log log --score-log-share 0.05
      rbr rescore log --policy new.yaml -o changes.jsonl
      rbr rescore log --policy new.yaml --weights old.json --accept-mismatch
                                       a new rule before its weights are fitted

    Verdicts are taken from the log where the question is word for word the same and the grader too; with
    --accept-mismatch those of another grader count. Other questions are graded now, which needs the
    texts: rbr serve --score-log-texts. Base rewards stay as they were.
    """  # noqa: D301 - click's mark: keep these lines as they are
    settings = read(config, flags)
    files = reader.parts(log)
    scorer = make_scorer(settings, Metrics())
    weights = weights_path(settings, scorer.grader, policy_path(settings.policy))
    outputs((*files, weights, *sources(settings, config, scorer.grader)), output)
    for mismatch in scorer.model.mismatches:
        say(f"accepted for a trial: {mismatch}")
    low_mass = LowMass(settings.on_low_mass, settings.min_label_mass)
    rescorer = Rescorer(scorer, low_mass, accept_mismatch=settings.accept_mismatch)
    summary = asyncio.run(_run(files, output, rescorer))
    if not summary.rescored:
        reason = next(iter(summary.reasons.values()), "it has no rows")
        raise RBRError(f"{log}: nothing could be rescored: {reason}")
    click.echo("\n".join(_report(summary, rescorer)))


async def _run(files: Sequence[Path], output: Path | None, rescorer: Rescorer) -> Summary:
    summary, done, total = Summary(), 0, reader.count(files)
    with Progress("rescoring") as progress, writing(output) as write:
        async with started(rescorer.grader):
            progress.show(done, total)
            for rows in reader.read(files):
                changes = await rescorer.changes(rows)
                for change in changes:
                    summary.add(change)
                write(changes)
                done += len(rows)
                progress.show(done, total)
    return summary


def _report(summary: Summary, rescorer: Rescorer) -> Iterator[str]:
    grader, scorer = rescorer.grader, rescorer.scorer
    policy, version = scorer.policy, scorer.reward_version
    yield f"policy {policy.name} {policy.version[:12]}, reward version {version[:12]}"
    yield f"{summary.rescored} rows rescored, of {len(summary.versions)} former reward versions"
    yield f"{grader.recalled} verdicts from the log, {grader.graded} graded now"
    if rescorer.foreign:
        yield f"{rescorer.foreign} rows were graded by another grader"
    for code, number in summary.failed.most_common():
        yield f"{number} rows not rescored: {code}: {summary.reasons[code]}"
    yield ""
    yield from _types(summary)
    yield ""
    yield from _movers(summary.movers)


def _types(summary: Summary) -> Iterator[str]:
    """A line for each response type that the log has."""
    yield f"{'mean reward, by logged response type':38}{'rows':>8}{'before':>10}{'after':>10}" \
          f"{'change':>10}{'other class':>13}{'other type':>11}"  # fmt: skip
    for name, one in sorted(summary.types.items()):
        before, after = one.before / one.rows, one.after / one.rows
        yield (
            f"{name[:37]:38}{one.rows:8}{before:10.4f}{after:10.4f}{after - before:+10.4f}"
            f"{one.other_class / one.rows:13.1%}{one.other_type / one.rows:11.1%}"
        )


def _movers(movers: Sequence[Change]) -> Iterator[str]:
    if not movers:
        yield "no reward changes"
        return
    yield "largest changes"
    for change in movers:
        assert change.after
        name = visible(change.id).replace("\n", " ")[:24] if change.id else change.content[:12]
        yield (
            f"  {name:24} {change.before.reward:9.4f} -> {change.after.reward:9.4f} {change.moved:+9.4f}  "
            f"{_place(change.before)} -> {_place(change.after)}"
        )


def _place(one: Outcome) -> str:
    return f"{one.kind}/{one.best}" if one.kind else "out of scope"
