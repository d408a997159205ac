"""Calls at the same time: all of their results, or the first failure."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from rbr_trainer.errors import TrainerError

T = TypeVar("T")


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in the order of the calls. After a failure those under way end; a TrainerError goes first."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as failures:
        known = failures.subgroup(TrainerError)
        raise (known or failures).exceptions[0] from None
    return [task.result() for task in tasks]
