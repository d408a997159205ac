"""Where the faults happen: a judge, a small policy that it is asked about, services over both.

judge's address, policy -> options of `rbr serve` -> services; the same as settings -> true rewards
"""

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rbr_service.build import make_scorer
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.reading import Reader
from rbr_service.schemas import OpenRLHFRequest
from rbr_service.settings import Settings
from tests.contract.openrlhf import OpenRLHF
from tests.e2e.processes import SERVE, Service, service
from tests.vllm import policies

from .judge import MODEL, START, Judge
from .rollout import Rollout, body

QUESTIONS = policies.QUESTIONS  # verdicts that a sample takes


class Scene:
    """What every test here begins with."""

    def __init__(self, folder: Path, judge: Judge, client: OpenRLHF) -> None:
        policy, weights = policies.write(folder / "policy")
        self.judge = judge
        self._client = client
        self._pace = 1.0
        self._settings = {
            "policy": str(policy), "weights": str(weights), "grader": "openai", "grader_url": judge.url,
            "grader_model": MODEL, "grader_tokenizer": str(judge.folder), "grader_revision": "1",
        }  # fmt: skip

    @property
    def options(self) -> list[str]:
        """What every service here is started with."""
        given = [[f"--{key.replace('_', '-')}", value] for key, value in self._settings.items()]
        return [word for words in given for word in words] + ["--accept-mismatch"]

    @contextmanager
    def service(self, *options: str) -> Iterator[Service]:
        """A service over the judge."""
        begun = time.monotonic()
        with service(SERVE, *self.options, *options, patience=START) as running:
            self._pace = max(1.0, time.monotonic() - begun)
            yield running

    def rollout(self, running: Service, numbers: Iterable[int], at_once: int) -> Rollout:
        """Begin to ask. Where a service takes longer than a second to start, so do the trainer's seconds."""
        url = f"http://127.0.0.1:{running.port}/score"
        return Rollout(self._client, url, numbers, at_once, self._pace)

    def rewards(self, numbers: Iterable[int]) -> dict[int, float]:
        """What the answers have to be, computed here with the judge's help."""
        settings = Settings.model_validate({**self._settings, "accept_mismatch": True})
        wanted = list(numbers)
        samples = Reader(settings).openrlhf(OpenRLHFRequest.model_validate(body(wanted)))

        async def computed() -> dict[int, float]:
            scorer = make_scorer(settings, Metrics())
            async with started(scorer.grader):
                results = await scorer.score(samples)
            return {number: result.reward for number, result in zip(wanted, results, strict=True)}

        return asyncio.run(computed())


def post(running: Service, path: str, asked: Any) -> tuple[int, Any]:
    """Status and JSON of one POST."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}{path}",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=START) as answer:
            return int(answer.status), json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def figure(running: Service, name: str) -> float:
    """A metric without labels."""
    found = re.search(rf"^{name} (\S+)$", running.text("/metrics"), re.MULTILINE)
    return float(found[1]) if found else 0.0


def in_flight(running: Service) -> float:
    """Requests being answered, besides the one that asks this."""
    return figure(running, "rbr_in_flight") - 1


def graded(running: Service) -> float:
    """Verdicts that the judge was asked for since the start, the warm-up's included."""
    return figure(running, "rbr_graded_verdicts_total")


def fault(running: Service) -> str:
    """Why /readyz says no; "" where it says yes."""
    try:
        return str(running.get("/readyz")["reason"])
    except urllib.error.HTTPError as error:
        return str(json.loads(error.read())["reason"])
