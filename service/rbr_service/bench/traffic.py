"""Open-loop load: each request is made when it is due, whatever became of those before.

moments, bodies -> a task each -> [Outcome], in the order of the moments
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from rbr_service.bench.outcome import Outcome
from rbr_service.bench.target import Target

Progress = Callable[[int, int], None]


async def run(
    target: Target, due: Sequence[float], bodies: Sequence[bytes], deadline: float, progress: Progress
) -> list[Outcome]:
    """One request for each moment of `due`, in seconds from now, given up `deadline` seconds after it.

    `progress` is told (samples done, samples in all).
    """
    begin, done = time.perf_counter(), 0

    async def one(moment: float, body: bytes) -> Outcome:
        nonlocal done
        sent = time.perf_counter() - begin
        answer = await target.score(body, moment + deadline - sent)
        done += 1
        progress(done, len(due))
        return Outcome(answer, moment, sent, time.perf_counter() - begin)

    progress(0, len(due))
    async with asyncio.TaskGroup() as group:
        tasks = []
        for moment, body in zip(due, bodies, strict=True):
            if (wait := begin + moment - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(group.create_task(one(moment, body)))
    return [task.result() for task in tasks]
