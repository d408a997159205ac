"""`rbr score`: rewards for a file of completions."""

import asyncio
from pathlib import Path
from typing import Any

import click

from rbr_service.batch import Summary, score_file
from rbr_service.build import make_scorer, policy_path, weights_path
from rbr_service.cli.options import SCORING, outputs, read, regular, settings_options, sources
from rbr_service.cli.progress import Progress, say
from rbr_service.errors import BaseRewardError, GraderError, OutputError, RBRError
from rbr_service.journal import journal_path
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.reading import Reader
from rbr_service.scorer import Scorer
from rbr_service.settings import Settings


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Where the rewards go; .parquet or JSONL.",
)
@click.option(
    "--strict", is_flag=True, help="Refuse an input that has a bad row, before scoring any (exit code 2)."
)
@settings_options(SCORING)
def score(source: Path, output: Path, strict: bool, config: Path | None, **flags: Any) -> None:
    """Score every row of IN (JSONL or Parquet).

    \b
    A row:  {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}],
             "response_type": "hard_refusal", "id": 7}
    or:     {"prompt": "..." or [...], "completion": "..." or [...], "category": "K-R"}

    An interrupted run goes on where it was when started again: OUTPUT.journal holds what is done.
    Bad rows are reported by line and stand in the output with their error.
    """  # noqa: D301 - click's mark: keep these lines as they are
    settings = read(config, flags)
    regular(source)
    scorer = make_scorer(settings, Metrics())
    weights = weights_path(settings, scorer.grader, policy_path(settings.policy))
    outputs((source, weights, *sources(settings, config, scorer.grader)), output, journal_path(output))
    try:
        summary = asyncio.run(_run(source, output, scorer, settings, strict=strict))
    except (GraderError, BaseRewardError, OutputError, OSError) as error:
        raise RBRError(f"{error}: what is done is kept, run the same command again to go on") from error
    click.echo(
        f"{output}: {summary.rows} rows, {summary.bad} bad, {summary.out_of_scope} out of the policy's scope",
        err=True,
    )


async def _run(source: Path, output: Path, scorer: Scorer, settings: Settings, *, strict: bool) -> Summary:
    for mismatch in scorer.model.mismatches:
        say(f"accepted for a trial: {mismatch}")
    async with started(scorer.grader), started(scorer.base):
        with Progress("scoring") as progress:
            return await score_file(
                source, output, scorer, Reader(settings), strict=strict, progress=progress.show,
                report=progress.say,
            )  # fmt: skip
