"""What is taken for a reward, and what is not."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rbr_trainer.client import Client
from rbr_trainer.errors import Unsound

from .replica import BODY, GOOD, VERSION, Replica, Said


def other(**parts: Any) -> Said:
    return Said(200, BODY | parts)


UNSOUND = {
    "a page": Said(200, "<h1>Hello</h1>"), "nothing": Said(200, ""), "a number": Said(200, 5.5),
    "no object": Said(200, []), "empty": Said(200, {}), "deep": Said(200, "[" * 100_000),
    "NaN": other(rewards=[float("nan")]), "infinite": other(rewards=[float("-inf")]),
    "text": other(rewards=["5.5"]), "a yes": other(rewards=[True]), "null": other(rewards=[None]),
    "none": other(rewards=[]), "two": other(rewards=[1.0, 2.0]), "bare": other(rewards=5.5),
    "no score": other(scores=[]), "score over 1": other(scores=[1.5]),
    "score NaN": other(scores=[float("nan")]), "no logs": other(extra_logs=None),
    "log NaN": other(extra_logs={"rbr_base": [float("nan")]}),
    "log null": other(extra_logs={"rbr_base": [None]}),
    "log of two": other(extra_logs={"rbr_base": [1.0, 2.0]}),
    "no version": other(reward_version=None), "version empty": other(reward_version=""),
}  # fmt: skip


@pytest.mark.parametrize("said", UNSOUND.values(), ids=UNSOUND)
def test_an_unsound_answer_is_an_error_and_never_a_number(said: Said) -> None:
    async def ask() -> int:
        async with Replica(said) as replica, Client([replica.address]) as calls:
            with pytest.raises(Unsound):
                await calls.rewards("ab", "a", "comply")
            return len(replica.requests)

    assert asyncio.run(ask()) == 1


RESULT = {"id": None, "reward": 1.0, "base_reward": 0.0, "rbr_reward": 1.0, "score": 0.5}


def scored(answer: Any, samples: Sequence[dict[str, Any]], version: str | None = None) -> Any:
    async def ask() -> Any:
        async with Replica(Said(200, answer)) as replica, Client([replica.address], version=version) as calls:
            return await calls.score(samples)

    return asyncio.run(ask())


def test_scores_come_as_the_service_gives_them() -> None:
    answer = {"results": [RESULT | {"id": "a"}, RESULT], "reward_version": VERSION, "more": 1}
    assert scored(answer, [{"id": "a"}, {}]) == answer


@pytest.mark.parametrize(
    "results",
    [
        [], [RESULT], [RESULT] * 3, [RESULT | {"id": "b"}, RESULT], [RESULT, RESULT | {"id": "a"}],
        [RESULT | {"id": "a"}, RESULT | {"reward": float("nan")}], [RESULT | {"id": "a"}, {}], None,
        [RESULT | {"id": "a"}, RESULT | {"score": 2.0}], [RESULT | {"id": "a"}, RESULT | {"rbr_reward": "1"}],
    ],
)  # fmt: skip
def test_scores_that_are_not_those_of_the_samples(results: Any) -> None:
    with pytest.raises(Unsound):
        scored({"results": results, "reward_version": VERSION}, [{"id": "a"}, {}])


def test_only_the_version_that_the_run_began_with_is_taken() -> None:
    async def ask(version: str) -> float:
        async with Replica(GOOD) as replica, Client([replica.address], version=version) as calls:
            return (await calls.rewards("ab", "a", "comply")).reward

    assert asyncio.run(ask(VERSION)) == 5.5
    with pytest.raises(Unsound, match=f"by version {VERSION}, and this run by another"):
        asyncio.run(ask("another"))
    with pytest.raises(Unsound, match="this run by another"):
        scored({"results": [], "reward_version": VERSION}, [], version="another")
