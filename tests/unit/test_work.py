"""Work in flight: joined, outliving its waiters for a while, then ended."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from rbr_service.errors import GraderError
from rbr_service.work import ClientGoneError, Work

LINGER, LOOK = 0.15, 0.01


class Job:
    """Work that ends when told to; counts how often it was begun and whether it was ended."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun = self.ended = 0
        self.go = asyncio.Event()
        self.failure = failure

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended += 1
            raise
        if self.failure:
            raise self.failure
        return self.begun


async def here() -> bool:
    return False


async def gone() -> bool:
    return True


def run(scenario: Callable[[Work[int]], Coroutine[Any, Any, None]]) -> list[dict[str, Any]]:
    """Run a scenario and return what the loop's exception handler was told, which must be nothing."""
    told: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        await scenario(Work(LINGER, LOOK))
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(watched())
    gc.collect()
    return told


def asked(
    work: Work[int], job: Job, key: str = "k", listening: Callable[[], Awaitable[bool]] = here
) -> asyncio.Task[int]:
    return asyncio.create_task(work.result(key, job, listening))


def test_equal_work_is_joined_and_other_work_is_not() -> None:
    async def scenario(work: Work[int]) -> None:
        job, other = Job(), Job()
        waiters = [asked(work, job) for _ in range(5)]
        stranger = asked(work, other, "other")
        await asyncio.sleep(2 * LOOK)
        job.go.set()
        other.go.set()
        assert await asyncio.gather(*waiters, stranger) == [1] * 6
        assert (job.begun, other.begun) == (1, 1)

    assert run(scenario) == []


def test_finished_work_is_forgotten() -> None:
    async def scenario(work: Work[int]) -> None:
        job = Job()
        job.go.set()
        assert await asked(work, job) == 1
        assert await asked(work, job) == 2

    assert run(scenario) == []


def test_work_lingers_after_its_last_waiter_and_is_joined_again() -> None:
    async def scenario(work: Work[int]) -> None:
        job = Job()
        with pytest.raises(ClientGoneError):
            await asked(work, job, listening=gone)
        again = asked(work, job)
        await asyncio.sleep(2 * LINGER)
        assert job.ended == 0
        job.go.set()
        assert await again == 1
        assert job.begun == 1

    assert run(scenario) == []


def test_work_that_everybody_left_ends_after_lingering() -> None:
    async def scenario(work: Work[int]) -> None:
        job = Job()
        with pytest.raises(ClientGoneError):
            await asked(work, job, listening=gone)
        await asyncio.sleep(LINGER / 3)
        assert job.ended == 0
        await asyncio.sleep(LINGER)
        assert job.ended == 1
        job.go.set()
        assert await asked(work, job) == 2

    assert run(scenario) == []


def test_one_waiter_who_leaves_takes_nothing_from_the_others() -> None:
    async def scenario(work: Work[int]) -> None:
        job = Job()
        stays, leaves = asked(work, job), asked(work, job, listening=gone)
        with pytest.raises(ClientGoneError):
            await leaves
        await asyncio.sleep(2 * LINGER)
        job.go.set()
        assert await stays == 1
        assert (job.begun, job.ended) == (1, 0)

    assert run(scenario) == []


def test_a_cancelled_waiter_counts_as_gone() -> None:
    async def scenario(work: Work[int]) -> None:
        job = Job()
        waiter = asked(work, job)
        await asyncio.sleep(LOOK)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert job.ended == 0
        await asyncio.sleep(1.5 * LINGER)
        assert job.ended == 1

    assert run(scenario) == []


def test_a_waiter_is_answered_though_the_client_left_meanwhile() -> None:
    async def scenario(work: Work[int]) -> None:
        job = Job()
        job.go.set()
        assert await asked(work, job, listening=gone) == 1

    assert run(scenario) == []


def test_a_failure_reaches_every_waiter() -> None:
    async def scenario(work: Work[int]) -> None:
        job = Job(GraderError("down"))
        waiters = [asked(work, job) for _ in range(3)]
        await asyncio.sleep(LOOK)
        job.go.set()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        assert all(isinstance(result, GraderError) for result in results)
        job.failure = None
        assert await asked(work, job) == 2

    assert run(scenario) == []


def test_a_failure_that_nobody_waits_for_is_not_reported_as_unhandled() -> None:
    async def scenario(work: Work[int]) -> None:
        job = Job(GraderError("down"))
        with pytest.raises(ClientGoneError):
            await asked(work, job, listening=gone)
        job.go.set()
        await asyncio.sleep(2 * LINGER)
        assert (job.begun, job.ended) == (1, 0)

    assert run(scenario) == []
