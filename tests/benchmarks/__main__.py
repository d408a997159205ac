"""`python -m tests.benchmarks`: measure, print a table, merge the figures into build/bench.json."""

from pathlib import Path

import click

from . import front_door, lexical
from .figures import merge, table


@click.command(help=__doc__)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("build/bench.json")
)
def main(output: Path) -> None:
    """Run every benchmark that needs nothing but this checkout."""
    figures = []
    for measure in (lexical.measure, front_door.measure):
        figures.append(measure())
        merge(output, figures)
    click.echo(table(figures))


main()
