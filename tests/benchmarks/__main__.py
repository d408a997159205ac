"""`python -m tests.benchmarks [service|fit|engine]`: measure, print a table, merge into build/bench.json.

service: what needs nothing but this checkout. fit: what needs torch beside it. engine: what needs vLLM.
"""

import importlib
import os
from pathlib import Path

import click

from .figures import Figure, merge, table

PARTS = {"service": ("lexical", "front_door"), "fit": ("fit",), "engine": ("tokens", "wall")}


@click.command(help=__doc__)
@click.argument("part", type=click.Choice(list(PARTS)), default="service")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("build/bench.json")
)
def main(part: str, output: Path) -> None:
    """Run the benchmarks of a part."""
    if part == "engine":
        _quiet_engine()
    figures: list[Figure] = []
    for name in PARTS[part]:
        found = importlib.import_module(f"{__package__}.{name}").measure()
        figures += found if isinstance(found, list) else [found]
        merge(output, figures)
    click.echo(table(figures))


def _quiet_engine() -> None:
    """Set what vLLM reads when it is imported."""
    from tests.vllm.servers import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("TQDM_DISABLE", "1")


if __name__ == "__main__":
    main()
