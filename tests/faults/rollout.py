"""A rollout's requests, by OpenRLHF's own client: five tries a second apart, a connection for each.

numbers -> for each a request of one sample -> rewards by number, the lost numbers, the failed tries
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.contract.openrlhf import OpenRLHF
from tests.tokenizer import text

PROMPT = "Hello, who are you? "


def reply(number: int) -> str:
    """The completion of that number: nobody asks for the same twice."""
    return f"Reply {number}: {text(12, number)}"


def body(numbers: Iterable[int]) -> dict[str, list[str]]:
    """The request for the samples of these numbers."""
    queries = [PROMPT + reply(number) for number in numbers]
    return {"query": queries, "prompts": [PROMPT] * len(queries), "labels": ["chat"] * len(queries)}


class Rollout:
    """Runs in a thread of its own, while a test does harm to what it asks.

    `faults` counts the tries that failed: refused (nobody listened), cut (no answer came back), or the
    status of the answer.
    """

    def __init__(
        self, client: OpenRLHF, url: str, numbers: Iterable[int], at_once: int, pace: float = 1.0
    ) -> None:
        """`at_once`: requests in flight. `pace`: how long the client's seconds last, in seconds."""
        self.rewards: dict[int, float] = {}
        self.lost: set[int] = set()
        self.faults: Counter[str] = Counter()
        self._client, self._url = client, url
        self._numbers, self._at_once = iter(numbers), at_once
        pool = ThreadPoolExecutor(1, "rollout")
        self._run = pool.submit(self._asked, pace)
        pool.shutdown(wait=False)

    def join(self) -> None:
        """Wait for its end. Raises what went wrong in it."""
        self._run.result()

    def _asked(self, pace: float) -> None:
        logger, told = self._client.module.logger, _Told(self.faults)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(told)
        try:
            with asyncio.Runner(loop_factory=lambda: _Slowed(pace)) as runner:
                runner.run(self._all())
        finally:
            logger.removeHandler(told)

    async def _all(self) -> None:
        await asyncio.gather(*(self._each(self._numbers) for _ in range(self._at_once)))

    async def _each(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            asked = body([number])
            try:
                (answer,) = await self._client.fetch(
                    self._url, asked["query"], asked["prompts"], asked["labels"]
                )
            except RuntimeError:  # what OpenRLHF's client raises after its fifth try
                self.lost.add(number)
            else:
                (self.rewards[number],) = answer["rewards"]


class _Slowed(asyncio.SelectorEventLoop):
    """A clock for slow machines: the start of a process then takes as many of its seconds as elsewhere."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        super().__init__()

    def time(self) -> float:
        return super().time() / self._pace


class _Told(logging.Handler):
    """Counts the failed tries that the client tells its log."""

    def __init__(self, faults: Counter[str]) -> None:
        super().__init__()
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        status = re.search(r": (\d{3}), message=", message)
        unheard = "refused" if "Cannot connect to host" in message else "cut"
        self._faults[status[1] if status else unheard] += 1


def answers(rollout: Rollout) -> dict[str, Any]:
    """What there is to know of it, for a message."""
    return {"answered": len(rollout.rewards), "lost": len(rollout.lost), "faults": dict(rollout.faults)}
