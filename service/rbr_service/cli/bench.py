"""`rbr bench`: a service under load as a trainer makes it."""

import asyncio
import json
import os
import secrets
from pathlib import Path
from random import Random
from typing import Any

import click

from rbr_service import files
from rbr_service.bench import arrivals, counters, figures, texts, traffic
from rbr_service.bench.counters import Counters
from rbr_service.bench.figures import Asked
from rbr_service.bench.target import Target
from rbr_service.cli.options import outputs
from rbr_service.cli.progress import Progress, say
from rbr_service.errors import RBRError, SettingsError
from rbr_service.server import raise_file_limit

RATE, DURATION, GROUP, WORDS = 50.0, 30.0, 8, 200
UNTIL_COUNTED = 1.0  # seconds: vLLM counts after it has answered

POSITIVE = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("url")
@click.option("--rate", type=POSITIVE, help=f"Samples per second, on average.  [default: {RATE:g}]")
@click.option(
    "--rollout", type=click.IntRange(1), metavar="N", help="N samples, all at once, in place of a rate."
)
@click.option("--count", type=click.IntRange(1), help="With a rate: at most so many samples.")
@click.option("--duration", type=POSITIVE, help=f"With a rate: seconds of arrivals.  [default: {DURATION:g}]")
@click.option(
    "--group", type=click.IntRange(1), default=GROUP, show_default=True, help="Samples to a prompt."
)
@click.option(
    "--deadline", type=POSITIVE, default=180.0, show_default=True,
    help="Seconds from when a sample is due until it is given up; OpenRLHF waits 180.",
)  # fmt: skip
@click.option(
    "--samples", "source", type=click.Path(path_type=Path),
    help="Rows as `rbr score` takes them, in turn.  [default: texts put together from the shipped templates]",
)  # fmt: skip
@click.option(
    "--words", type=click.IntRange(1), default=WORDS, show_default=True,
    help="About how long the templates' completions are.",
)  # fmt: skip
@click.option(
    "--repeats", type=click.FloatRange(0, 1), default=0.0, show_default=True,
    help="The share of samples that were sent before, byte for byte.",
)  # fmt: skip
@click.option(
    "--engine", "engines", metavar="URL", multiple=True,
    help="A vLLM server behind the service, whose /metrics count its tokens; repeatable.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of arrivals and texts.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all figures there.")
def bench(
    url: str, rate: float | None, rollout: int | None, count: int | None, duration: float | None, group: int,
    deadline: float, source: Path | None, words: int, repeats: float, engines: tuple[str, ...], seed: int,
    out: Path | None,
) -> None:  # fmt: skip
    """Put the service at URL under load, as OpenRLHF does, and tell how it bears it.

    Every sample is a request of its own over a connection of its own; those of a prompt arrive together.
    When each is due is drawn beforehand, and none waits for the answer to another: a service that stalls is
    asked on, and what it adds is in the latency, which counts from when the sample was due.

    \b
    A steady trainer:        rbr bench http://127.0.0.1:8000 --rate 200 --duration 60
    A rollout's worst case:  rbr bench http://127.0.0.1:8000 --rollout 8192
    Your own completions:    rbr bench http://127.0.0.1:8000 --samples completions.jsonl

    No two texts are alike, nor like those of another run, so that no cache can answer: a mark is put before
    each prompt and completion. --repeats says how many may be found in one.

    A sample is scored, or has failed (by the service's code, http_STATUS, or what befell the connection), or
    has missed the deadline; nothing is tried again. The last two have no latency and count as slower than
    any other. Tokens per completion and cache hits are differences of /metrics, and none is told where
    others use the service at the time. The service's CPU, of all its threads, says what a core can bear.
    `client late by` is this client's own share of the latency: give it a machine, or cores, of its own.

    RBR_API_KEY holds the service's key. Exit code 1 if any sample was not scored: a run dies of one.
    """  # noqa: D301 - click's mark: keep these lines as they are
    outputs((source,), out)
    rng = Random(seed)
    due = _due(rate, rollout, count, duration, group, rng)
    target = Target(url, os.environ.get("RBR_API_KEY") or None)
    raise_file_limit()

    async def run() -> dict[str, Any]:
        async with target:
            service = await target.service()
            samples = (
                texts.of_file(source)
                if source
                else texts.of_shipped(service.policy, service.response_types, group, words, rng)
            )
            bodies = texts.bodies(samples, len(due), group, repeats, secrets.token_hex(4), rng)
            before = await _counters(target, engines)
            with Progress("asking", "samples") as progress:
                outcomes = await traffic.run(target, due, bodies, deadline, progress.show)
            counted = await _counted(target, engines, before)
            asked = Asked(target.url, service, group, deadline, engines=bool(engines))
            return figures.figures(asked, outcomes, counted)

    found = asyncio.run(run())
    if out:
        files.write(out, json.dumps(found, indent=1) + "\n")
    click.echo(figures.table(found))
    if lost := figures.lost(found):
        raise RBRError(f"{lost} of {found['asked']} samples were not scored")


def _due(
    rate: float | None, rollout: int | None, count: int | None, duration: float | None, group: int,
    rng: Random,
) -> list[float]:  # fmt: skip
    if rollout is None:
        return arrivals.poisson(rate or RATE, group, duration or DURATION, count, rng)
    for name, given in (("--rate", rate), ("--count", count), ("--duration", duration)):
        if given is not None:
            raise SettingsError(f"{name}: a --rollout arrives at once and is its own count: leave one out")
    return arrivals.at_once(rollout)


async def _counted(target: Target, engines: tuple[str, ...], before: Counters) -> Counters | None:
    """What was counted since `before`; None, and a line that says why, where the service is gone."""
    if engines:
        await asyncio.sleep(UNTIL_COUNTED)
    try:
        return await _counters(target, engines) - before
    except RBRError as error:
        say(error.message)
        return None


async def _counters(target: Target, engines: tuple[str, ...]) -> Counters:
    pages = [
        await target.page(f"{url.rstrip('/').removesuffix('/v1')}/metrics") for url in (target.url, *engines)
    ]
    return counters.read(pages[0], pages[1:])
