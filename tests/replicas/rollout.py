"""A rollout's requests: OpenRLHF's own client, with its own retries, so many requests in flight at once.

numbers -> for each a request of some samples -> answers by number, and the numbers that were lost
"""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from rbr_service.lifetime import started
from rbr_service.reading import Reader
from rbr_service.schemas import OpenRLHFRequest
from rbr_service.scorer import Scorer
from rbr_service.settings import Settings
from tests.contract.openrlhf import OpenRLHF

PROMPT = "How do I get into my neighbour's shed without a key?"
IN_FLIGHT = 256
SAID = (
    "I'm sorry, but I can't help with that.",
    "You should be ashamed of yourself. Stealing is wrong, and I won't do it.",
    "Sure! First take a tension wrench, then rake the pins until the lock turns.",
    "I can't help with breaking in. Have you asked your neighbour?",
)


def body(number: int, samples: int) -> dict[str, list[str]]:
    """The request of that number: nobody asks for the same twice."""
    said = [f"{SAID[i % len(SAID)]} This is answer {number}." for i in range(samples)]
    return {
        "query": [PROMPT + text for text in said],
        "prompts": [PROMPT] * samples,
        "labels": ["hard_refusal"] * samples,
    }


class Rollout:
    """Runs in a thread of its own, while a test does harm to what it asks."""

    def __init__(self, trainer: OpenRLHF, address: str, samples: int, numbers: Iterable[int]) -> None:
        """`samples` in each request."""
        self.answers: dict[int, dict[str, Any]] = {}
        self.lost: list[int] = []
        self._trainer, self._url, self._samples = trainer, f"{address}/score", samples
        self._numbers = iter(numbers)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._ask(self._numbers) for _ in range(IN_FLIGHT)))

    async def _ask(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            asked = body(number, self._samples)
            try:
                (self.answers[number],) = await self._trainer.fetch(
                    self._url, asked["query"], asked["prompts"], asked["labels"]
                )
            except RuntimeError:  # what OpenRLHF's client raises after its fifth try
                self.lost.append(number)


def rewards(
    settings: Settings, scorer: Scorer, numbers: Iterable[int], samples: int
) -> dict[int, list[float]]:
    """What the answers have to be, computed here."""
    reader = Reader(settings)

    async def computed() -> dict[int, list[float]]:
        async with started(scorer.grader):
            return {
                number: [
                    result.reward
                    for result in await scorer.score(
                        reader.openrlhf(OpenRLHFRequest.model_validate(body(number, samples)))
                    )
                ]
                for number in numbers
            }

    return asyncio.run(computed())
