"""Several things at once, all of which are needed."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order. The first failure ends the rest and is raised as it is.

    (asyncio.gather leaves the rest running; TaskGroup wraps the failure into a group.)
    """
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        unfinished = [task for task in tasks if not task.done()]
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)


async def as_done(work: Iterable[Coroutine[Any, Any, T]], most: int) -> AsyncGenerator[T, None]:
    """Each result as it is there, with `most` of the work begun and not done.

    The first failure is raised, behind the results that are there by then; that ends the rest.
    """
    pending: set[asyncio.Task[T]] = set()
    left = iter(work)
    try:
        while True:
            for one in left:
                pending.add(asyncio.create_task(one))
                if len(pending) >= most:
                    break
            if not pending:
                return
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda task: task.exception() is not None):
                yield task.result()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
