"""`rbr score`: rewards for a file of completions."""

import asyncio
from pathlib import Path
from typing import Any

import click

from rbr_service import rows
from rbr_service.batch import Summary, score_file
from rbr_service.build import make_scorer
from rbr_service.cli.options import SCORING, read, settings_options
from rbr_service.errors import DataError
from rbr_service.metrics import Metrics
from rbr_service.reading import Reader
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
@click.option("--strict", is_flag=True, help="Stop at the first bad row (exit code 2).")
@settings_options(SCORING)
def score(source: Path, output: Path, strict: bool, config: Path | None, **flags: Any) -> None:
    r"""Score every row of IN (JSONL or Parquet).

    \b
    A row:  {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}],
             "response_type": "hard_refusal", "id": 7}
    or:     {"prompt": "..." or [...], "completion": "..." or [...], "category": "K-R"}

    An interrupted run goes on where it was when started again: OUTPUT.journal holds what is done.
    Bad rows are reported by line and stand in the output with their error.
    """
    settings = read(config, flags)
    if not source.is_file():
        raise DataError(f"{source}: no such file")
    if not output.absolute().parent.is_dir():
        raise DataError(f"{output}: its folder does not exist")
    summary = asyncio.run(_run(source, output, settings, strict=strict))
    click.echo(
        f"{output}: {summary.rows} rows, {summary.bad} bad, {summary.out_of_scope} out of the policy's scope",
        err=True,
    )


async def _run(source: Path, output: Path, settings: Settings, *, strict: bool) -> Summary:
    scorer = make_scorer(settings, Metrics())
    await scorer.grader.start()
    try:
        with click.progressbar(
            length=sum(1 for _ in rows.read(source)), label="scoring", show_pos=True
        ) as bar:
            return await score_file(
                source, output, scorer, Reader(settings), strict=strict, progress=bar.update,
                report=lambda message: click.echo(f"rbr: {message}", err=True),
            )  # fmt: skip
    finally:
        await scorer.grader.close()
