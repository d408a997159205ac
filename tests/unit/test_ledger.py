"""What was asked of a reward model: asked once, joined in flight, kept, bounded, ended when nobody waits."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.errors import BaseRewardError
from rbr_service.rewards.ledger import BATCH, Ledger
from tests.unit.reward_servers import run

LINGER = 0.1  # seconds


class Model:
    """Answers the length of a text; counts."""

    def __init__(self, *, entries: int = 1000) -> None:
        self.batches: list[list[str]] = []
        self.gone = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.failure: BaseRewardError | None = None
        self.held: set[str] = set()  # contents whose batches wait for `go`; all do if empty
        self.ledger = Ledger("m", self._ask, entries=entries, linger=LINGER)

    async def _ask(self, contents: Sequence[str]) -> list[float]:
        self.batches.append(list(contents))
        try:
            if not self.held or self.held & set(contents):
                await self.go.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.gone.set()
            raise
        if self.failure:
            raise self.failure
        return [float(len(content)) for content in contents]

    def values(self, *contents: str, deadline: float | None = None) -> asyncio.Task[list[float]]:
        return asyncio.create_task(self.ledger.values(contents, deadline))


def test_equal_contents_are_asked_once_and_answered_in_order() -> None:
    async def scenario() -> None:
        model = Model()
        assert await model.values("aa", "b", "aa", "ccc") == [2, 1, 2, 3]
        assert model.batches == [["aa", "b", "ccc"]]
        assert await model.values("ccc", "dddd", "b") == [3, 4, 1]
        assert model.batches[1:] == [["dddd"]]
        assert await model.values() == []

    run(scenario())


def test_what_is_in_flight_is_joined_whatever_else_a_caller_asks() -> None:
    async def scenario() -> None:
        model = Model(entries=0)
        model.go.clear()
        first, second = model.values("a", "bb"), model.values("bb", "ccc")
        await asyncio.sleep(0.01)
        third = model.values("a", "ccc", "bb")
        await asyncio.sleep(0.01)
        assert model.ledger.busy
        model.go.set()
        assert list(await asyncio.gather(first, second, third)) == [[1, 2], [2, 3], [1, 3, 2]]
        assert model.batches == [["a", "bb"], ["ccc"]]
        assert not model.ledger.busy

    run(scenario())


def test_batches_are_bounded() -> None:
    async def scenario() -> None:
        model = Model()
        contents = ["x" * n for n in range(10 * BATCH + 1)]
        assert await model.values(*contents) == [float(n) for n in range(10 * BATCH + 1)]
        assert [len(batch) for batch in model.batches] == [BATCH] * 10 + [1]

    run(scenario())


def test_a_caller_that_asks_again_after_its_deadline_finds_the_answer() -> None:
    async def scenario() -> None:
        model = Model()
        model.go.clear()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await model.values("a", deadline=time.monotonic())
        model.go.set()
        assert await model.values("a") == [1]
        assert model.batches == [["a"]]

    run(scenario())


def test_who_needs_one_batch_of_a_large_call_waits_for_that_alone() -> None:
    async def scenario() -> None:
        model = Model(entries=0)
        contents = ["x" * n for n in range(2 * BATCH)]
        model.held = {contents[-1]}
        model.go.clear()
        large = model.values(*contents)
        while len(model.batches) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        small = model.values(contents[-1])
        assert await model.values(contents[0]) == [0]
        assert not large.done()
        assert not small.done()
        model.failure = BaseRewardError("down")
        model.go.set()
        for one in (large, small):
            with pytest.raises(BaseRewardError, match="down"):
                await one

    run(scenario())


def test_a_failing_batch_does_not_reach_who_needs_another() -> None:
    async def scenario() -> None:
        model = Model(entries=0)
        contents = ["x" * n for n in range(2 * BATCH)]
        model.held = {contents[0]}
        model.go.clear()
        large = model.values(*contents)
        model.failure = BaseRewardError("down")
        while not model.batches:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        small = model.values(contents[0])
        with pytest.raises(BaseRewardError, match="down"):
            await large
        model.failure = None
        model.go.set()
        assert await small == [0]

    run(scenario())


def test_all_batches_of_a_call_outlive_its_deadline() -> None:
    async def scenario() -> None:
        model = Model()
        model.go.clear()
        contents = ["x" * n for n in range(5 * BATCH)]
        with pytest.raises(TimeoutError):
            await model.values(*contents, deadline=time.monotonic() + 0.05)
        model.go.set()
        assert await model.values(*contents) == [float(n) for n in range(5 * BATCH)]
        assert len(model.batches) == 5

    run(scenario())


def test_a_call_that_nobody_waits_for_ends_after_lingering() -> None:
    async def scenario() -> None:
        model = Model()
        model.go.clear()
        with pytest.raises(TimeoutError):
            await model.values("a", deadline=time.monotonic())
        await model.gone.wait()
        model.go.set()
        assert await model.values("a") == [1]
        assert not model.ledger.busy

    run(scenario())


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    async def scenario() -> None:
        model = Model()
        model.failure = BaseRewardError("down")
        failed = await asyncio.gather(
            model.values("a"),
            model.values("a"),
            *(model.values(*"xyz") for _ in range(3)),
            return_exceptions=True,
        )
        assert [str(error) for error in failed] == ["down"] * 5
        model.failure = None
        assert await model.values("a", "x") == [1, 1]

    run(scenario())


def test_close_ends_what_is_in_flight() -> None:
    async def scenario() -> None:
        model = Model()
        model.go.clear()
        waiting = model.values("a")
        await asyncio.sleep(0.01)
        await model.ledger.close()
        assert model.gone.is_set()
        with pytest.raises(BaseRewardError, match="ended before it was done"):
            await waiting

    run(scenario())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.text("ab", max_size=3), max_size=6), max_size=8),
    st.integers(min_value=0, max_value=5),
)
def test_any_calls_get_their_own_answers_and_memory_stays_bounded(
    calls: list[list[str]], entries: int
) -> None:
    async def scenario() -> None:
        model = Model(entries=entries)
        answers = await asyncio.gather(*(model.values(*contents) for contents in calls))
        assert answers == [[float(len(c)) for c in contents] for contents in calls]
        assert sum(map(len, model.batches)) == len({c for contents in calls for c in contents})
        for contents in calls:
            await model.values(*contents)
        assert len(model.ledger._known) <= entries

    run(scenario())
