"""Closed-loop load, to count what a server spends: `in_flight` equal requests at a time, each on its own."""

import asyncio
from itertools import repeat

from rbr_service.bench.target import Target

PATIENCE = 60.0  # seconds for an answer


async def send(url: str, body: bytes, requests: int, in_flight: int) -> None:
    """Make `requests` equal requests. Raises RuntimeError where one is not answered with a reward."""
    turns = repeat(None, requests)

    async with Target(url, None) as target:

        async def worker() -> None:
            for _ in turns:
                answer = await target.score(body, PATIENCE)
                if answer.fault:
                    raise RuntimeError(f"{url}: {answer.fault}")

        await asyncio.gather(*(worker() for _ in range(in_flight)))
