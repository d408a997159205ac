"""`python docs/capacity.py`: how many replicas and GPUs the rewards of a training job need.

scores per second, cost of a score -> service cores, tokens per second, grader GPUs -> a table

docs/capacity.md says where the inputs come from, and which of them were measured.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

LEAST = 2  # of either kind: one may die
DEADLINE = 170.0  # seconds in which a request must be graded: the service's --grader-deadline

POSITIVE = click.FloatRange(0, min_open=True)


@dataclass(frozen=True)
class Load:
    """What a job asks: `rate` scores per second while a rollout arrives, `samples` of it in all."""

    name: str
    rate: float
    samples: int


@dataclass(frozen=True)
class Part:
    """What bears the load: one bears `each` units of work per second, of which a score costs `cost`.

    `use` is the share of `each` that is planned with.
    """

    cost: float
    each: float
    use: float

    def steady(self, load: Load) -> int:
        """How many keep up with the rate."""
        return self._enough(load.rate)

    def at_once(self, load: Load) -> int:
        """How many are done within DEADLINE when all samples arrive at the same time."""
        return self._enough(load.samples / DEADLINE)

    def _enough(self, rate: float) -> int:
        return max(LEAST, math.ceil(rate * self.cost / (self.each * self.use)))


def table(first: str, loads: Sequence[Load], cores: Part, graders: Sequence[Part]) -> Iterator[str]:
    """Lines of Markdown: a row for each load, numbers as steady / at once."""
    heads = [first, "scores/s", "tokens/s", "service cores"]
    heads += [f"GPUs of {part.each:,.0f} tokens/s" for part in graders]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for load in loads:
        cells = [load.name, f"{load.rate:,.0f}", f"{load.rate * graders[0].cost:,.0f}"]
        cells += [f"{part.steady(load):,} / {part.at_once(load):,}" for part in (cores, *graders)]
        yield f"| {' | '.join(cells)} |"


def steps(samples: int, seconds: Sequence[float]) -> list[Load]:
    """A step's samples, arriving within each of `seconds`."""
    return [Load(f"{one:,g}", samples / one, samples) for one in seconds]


def jobs(samples: int, seconds: float, gpus: Sequence[int]) -> list[Load]:
    """Jobs of so many GPUs: the first takes `seconds` for a step of `samples`.

    The others take as long for a step that is as much larger as they are: an extrapolation.
    """
    sizes = [(one, round(samples * one / gpus[0])) for one in gpus]
    return [Load(f"{one:,}", size / seconds, size) for one, size in sizes]


@click.command(help=__doc__)
@click.option(
    "--tokens", type=POSITIVE, required=True, help="Prompt tokens that are computed per completion."
)
@click.option("--cpu-ms", type=POSITIVE, required=True, help="The service's CPU per score, in ms.")
@click.option(
    "--gpu-tokens-per-second", "rates", type=POSITIVE, multiple=True, required=True,
    help="Prompt tokens that one grader GPU computes per second; repeatable, a column each.",
)  # fmt: skip
@click.option(
    "--use", type=click.FloatRange(0, 1, min_open=True), default=0.7, show_default=True,
    help="The share of what was measured that is planned with.",
)  # fmt: skip
@click.option("--prompts", type=click.IntRange(1), default=1024, show_default=True, help="Of a rollout step.")
@click.option("--samples", type=click.IntRange(1), default=8, show_default=True, help="To a prompt.")
@click.option(
    "--seconds", type=POSITIVE, multiple=True, required=True,
    help="In which the samples of a step arrive; repeatable, a row each.",
)  # fmt: skip
@click.option(
    "--job-gpus", type=click.IntRange(1), multiple=True,
    help="Rows for jobs of so many GPUs: the first takes --seconds (one) for a step, the others as long for "
    "a step that is as much larger as they are.",
)  # fmt: skip
def main(
    tokens: float, cpu_ms: float, rates: tuple[float, ...], use: float, prompts: int, samples: int,
    seconds: tuple[float, ...], job_gpus: tuple[int, ...],
) -> None:  # fmt: skip
    """Print the table."""
    if job_gpus and len(seconds) != 1:
        raise click.UsageError("--job-gpus: give one --seconds, of a step of the first job")
    asked = jobs(prompts * samples, seconds[0], job_gpus) if job_gpus else steps(prompts * samples, seconds)
    cores, graders = Part(cpu_ms, 1000, use), [Part(tokens, rate, use) for rate in rates]
    first = "GPUs of the job" if job_gpus else "seconds"
    click.echo("\n".join(table(first, asked, cores, graders)))


if __name__ == "__main__":
    main()
