"""Verdicts in flight: equal ones joined, finished for whoever asks again, and nothing left behind."""

import asyncio
import gc
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from rbr_service.errors import GraderDeadError, GraderError
from rbr_service.flight import Flight, Make
from rbr_service.graders.base import Verdict
from rbr_service.graders.cache import Key

LONG, SHORT = 3600.0, 0.05  # seconds: never within a test, soon
PATIENCE = 60  # seconds for a test
Scenario = Callable[[Flight[Verdict]], Coroutine[Any, Any, None]]


class Job:
    """Makes verdicts when told to; counts what was asked for and whether it was ended."""

    def __init__(self, failure: Exception | None = None, leaves_out: frozenset[Key] = frozenset()) -> None:
        self.asked: list[tuple[Key, ...]] = []
        self.begun, self.go, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.failure, self.leaves_out = failure, leaves_out

    async def __call__(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        self.asked.append(tuple(keys))
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.set()
            raise
        if self.failure:
            raise self.failure
        return {key: of(key) for key in keys if key not in self.leaves_out}


def of(key: Key) -> Verdict:
    return Verdict(key[0] / 255)


def some(text: bytes) -> list[Key]:
    return [bytes([letter]) for letter in text]


def right(text: bytes) -> dict[Key, Verdict]:
    return {key: of(key) for key in some(text)}


def run(scenario: Scenario, linger: float = LONG, *, idle: bool = True) -> None:
    """Run a scenario; afterwards nothing may be in flight, and nobody may have been told of a failure."""
    told: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        flight: Flight[Verdict] = Flight(GraderError, linger)
        async with asyncio.timeout(PATIENCE):
            await scenario(flight)
            if idle:
                while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - those being ended
                    await asyncio.sleep(0.001)
            else:
                await flight.close()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1
        assert not flight._jobs
        assert not flight._tasks
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(watched())
    gc.collect()
    assert told == []


def asked(
    flight: Flight[Verdict], keys: bytes, job: Make[Verdict], deadline: float | None = None
) -> asyncio.Task[dict[Key, Verdict]]:
    return asyncio.create_task(flight.results(some(keys), job, deadline))


def soon() -> float:
    return time.monotonic() + SHORT


async def ended(*waiters: asyncio.Task[Any]) -> None:
    """Cancel them and see that they end by it."""
    for waiter in waiters:
        waiter.cancel()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)


def test_equal_verdicts_are_made_once() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        waiters = [asked(flight, b"abc", job) for _ in range(5)]
        await job.begun.wait()
        job.go.set()
        assert await asyncio.gather(*waiters) == [right(b"abc")] * 5
        assert job.asked == [tuple(some(b"abc"))]

    run(scenario)


def test_only_what_nobody_makes_is_begun() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        first, second, third = Job(), Job(), Job()
        waiters = [
            asked(flight, b"abc", first),
            asked(flight, b"bcde", second),
            asked(flight, b"ad", third),
        ]
        await second.begun.wait()
        second.go.set()
        await asyncio.sleep(0.01)
        assert not any(waiter.done() for waiter in waiters)
        first.go.set()
        assert await asyncio.gather(*waiters) == [right(b"abc"), right(b"bcde"), right(b"ad")]
        assert (first.asked, second.asked, third.asked) == ([tuple(some(b"abc"))], [tuple(some(b"de"))], [])

    run(scenario)


def test_a_key_asked_twice_is_made_once() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        job.go.set()
        assert await asked(flight, b"aba", job) == right(b"ab")
        assert job.asked == [tuple(some(b"ab"))]

    run(scenario)


def test_nothing_asked_makes_nothing() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        assert await asked(flight, b"", job) == {}
        assert job.asked == []

    run(scenario)


def test_finished_work_is_forgotten() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        job.go.set()
        for _ in range(2):
            assert await asked(flight, b"ab", job) == right(b"ab")
        assert len(job.asked) == 2

    run(scenario)


def test_work_goes_on_after_the_deadline_and_a_retry_joins_it() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asked(flight, b"abc", job, soon())
        assert not job.ended.is_set()
        again = asked(flight, b"abc", job, time.monotonic() + LONG)
        await asyncio.sleep(0)
        job.go.set()
        assert await again == right(b"abc")
        assert len(job.asked) == 1

    run(scenario)


def test_work_is_finished_after_the_deadline_though_nobody_asks_again() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        with pytest.raises(TimeoutError):
            await asked(flight, b"abc", job, soon())
        job.go.set()

    run(scenario)


def test_a_deadline_that_has_passed_still_begins_the_work() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        with pytest.raises(TimeoutError):
            await asked(flight, b"abc", job, time.monotonic() - 1)
        await job.begun.wait()
        job.go.set()

    run(scenario)


def test_work_that_all_left_at_their_deadline_ends_after_lingering() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        waiters = [asked(flight, b"abc", job, soon()) for _ in range(3)]
        results = await asyncio.gather(*waiters, return_exceptions=True)
        assert [type(result) for result in results] == [TimeoutError] * 3
        await job.ended.wait()

    run(scenario, SHORT)


def test_work_that_was_joined_again_does_not_end() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        with pytest.raises(TimeoutError):
            await asked(flight, b"abc", job, soon())
        again = asked(flight, b"a", job)
        await asyncio.sleep(4 * SHORT)
        assert not job.ended.is_set()
        job.go.set()
        assert await again == right(b"a")

    run(scenario, SHORT)


def test_a_waiter_at_the_deadline_takes_nothing_from_the_others() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        stays = asked(flight, b"abc", job)
        with pytest.raises(TimeoutError):
            await asked(flight, b"abc", job, soon())
        await asyncio.sleep(4 * SHORT)
        job.go.set()
        assert await stays == right(b"abc")

    run(scenario, SHORT)


def test_a_cancelled_waiters_work_goes_on_for_a_while() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job()
        waiters = [asked(flight, b"abc", job), asked(flight, b"cd", job)]
        await job.begun.wait()
        await ended(*waiters)
        assert not job.ended.is_set()
        await job.ended.wait()

    run(scenario, linger=0.05)


def test_a_cancelled_waiter_takes_nothing_from_the_others() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        shared, own = Job(), Job()
        stays, leaves = asked(flight, b"ab", shared), asked(flight, b"bc", own)
        await own.begun.wait()
        await ended(leaves)
        await own.ended.wait()
        shared.go.set()
        assert await stays == right(b"ab")
        assert not shared.ended.is_set()

    run(scenario, linger=0.05)


def test_work_that_is_being_ended_is_not_joined() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        async def stubborn(keys: Sequence[Key]) -> dict[Key, Verdict]:
            begun.set()
            try:
                await asyncio.sleep(LONG)
            finally:
                await released.wait()
            return {}

        begun, released, job = asyncio.Event(), asyncio.Event(), Job()
        waiter = asked(flight, b"ab", stubborn)
        await begun.wait()
        await ended(waiter)
        while flight._jobs:  # noqa: ASYNC110 - until it has lingered
            await asyncio.sleep(0.001)
        job.go.set()
        assert await asked(flight, b"ab", job) == right(b"ab")
        released.set()

    run(scenario, linger=0.05)


def test_a_waiter_cancelled_at_any_step_leaves_nothing() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        for steps in range(5):
            job = Job()
            waiter = asked(flight, b"ab", job)
            for _ in range(steps):
                await asyncio.sleep(0)
            await ended(waiter)

    run(scenario, linger=0.05)


@pytest.mark.parametrize("failure", [GraderError("down"), GraderDeadError("gone"), ValueError("bug")])
def test_a_failure_reaches_every_waiter(failure: Exception) -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job, other = Job(failure), Job()
        waiters = [asked(flight, b"abc", job), asked(flight, b"a", job), asked(flight, b"cd", other)]
        await other.begun.wait()
        job.go.set()
        assert await asyncio.gather(*waiters, return_exceptions=True) == [failure] * 3
        # What the third waited for besides is not lost: it asks again and finds it.
        again = asked(flight, b"d", job)
        await asyncio.sleep(0)
        other.go.set()
        assert await again == right(b"d")
        job.failure = None
        assert await asked(flight, b"abc", job) == right(b"abc")

    run(scenario)


def test_a_failure_that_nobody_waits_for_is_not_reported_as_unhandled() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job(GraderError("down"))
        with pytest.raises(TimeoutError):
            await asked(flight, b"abc", job, soon())
        job.go.set()

    run(scenario)


def test_verdicts_left_out_are_an_error() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        job = Job(leaves_out=frozenset([b"b"]))
        job.go.set()
        with pytest.raises(GraderError, match="are missing"):
            await asked(flight, b"abc", job)

    run(scenario)


def test_a_job_that_was_ended_from_outside_is_an_error_and_no_cancellation() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        async def aborted(keys: Sequence[Key]) -> dict[Key, Verdict]:
            raise asyncio.CancelledError

        with pytest.raises(GraderError, match="ended before it was done"):
            await asked(flight, b"abc", aborted)

    run(scenario)


def test_close_ends_what_lingers_and_what_is_waited_for() -> None:
    async def scenario(flight: Flight[Verdict]) -> None:
        lingering, waited = Job(), Job()
        with pytest.raises(TimeoutError):
            await asked(flight, b"ab", lingering, soon())
        waiter = asked(flight, b"cd", waited)
        await waited.begun.wait()
        await flight.close()
        assert lingering.ended.is_set()
        assert waited.ended.is_set()
        with pytest.raises(GraderError, match="ended before it was done"):
            await waiter

    run(scenario, idle=False)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_no_verdict_is_wrong_made_twice_or_left_behind(seed: int) -> None:
    source = random.Random(seed)
    making: set[Key] = set()

    async def make(keys: Sequence[Key]) -> dict[Key, Verdict]:
        assert not making & set(keys)
        making.update(keys)
        try:
            await asyncio.sleep(source.random() / 100)
            if source.random() < 0.1:
                raise GraderError("down")
        finally:
            making.difference_update(keys)
        return {key: of(key) for key in keys}

    async def scenario(flight: Flight[Verdict]) -> None:
        waiters = []
        for _ in range(300):
            keys = bytes(source.choices(b"abcdefghijklmnop", k=source.randrange(1, 6)))
            deadline = source.choice([None, time.monotonic() + source.random() / 100])
            waiters.append((keys, asked(flight, keys, make, deadline)))
            if source.random() < 0.3:
                source.choice(waiters)[1].cancel()
            await asyncio.sleep(source.choice([0, 0, 0.001]))
        for keys, waiter in waiters:
            try:
                assert await waiter == right(keys)
            except asyncio.CancelledError:
                assert waiter.cancelled()
            except (TimeoutError, GraderError) as error:
                assert str(error) in ("", "down")  # noqa: PT017

    run(scenario, linger=0.002)
