"""Work that outlives the one who asked for it, for a while.

A trainer that times out closes its connection and asks for the same again. So identical work in
flight is joined, and work that everybody has left goes on for LINGER seconds before it is ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

CLIENT_GONE = 499  # nginx's status for it; nobody reads such an answer, the metrics do
LINGER = 10.0  # seconds
LOOK = 0.5  # seconds between looks whether the client is still there


class ClientGoneError(Exception):
    """Whoever asked has closed the connection; nobody is left to answer."""


class _Job(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiters = 0
        self.end: asyncio.TimerHandle | None = None


class Work(Generic[T]):
    """The computations in flight, by what they compute."""

    def __init__(self, linger: float = LINGER, look: float = LOOK) -> None:
        """Times in seconds."""
        self._linger, self._look = linger, look
        self._jobs: dict[Hashable, _Job[T]] = {}

    async def result(
        self,
        key: Hashable,
        begin: Callable[[], Coroutine[Any, Any, T]],
        gone: Callable[[], Awaitable[bool]],
    ) -> T:
        """What `begin` computes, begun only if no equal work is in flight.

        `gone` tells whether the caller still listens. Raises ClientGoneError, or what the work
        raised.
        """
        job = self._jobs.get(key) or self._start(key, begin)
        job.waiters += 1
        if job.end:
            job.end.cancel()
            job.end = None
        try:
            while not job.task.done():
                await asyncio.wait({job.task}, timeout=self._look)
                if not job.task.done() and await gone():
                    raise ClientGoneError
            return job.task.result()
        finally:
            job.waiters -= 1
            if not job.waiters and not job.task.done():
                job.end = asyncio.get_running_loop().call_later(self._linger, self._stop, key, job)

    def _start(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]]) -> _Job[T]:
        job = self._jobs[key] = _Job(asyncio.create_task(begin()))
        job.task.add_done_callback(lambda _: self._forget(key, job))
        return job

    def _stop(self, key: Hashable, job: _Job[T]) -> None:
        self._forget(key, job)
        job.task.cancel()

    def _forget(self, key: Hashable, job: _Job[T]) -> None:
        if self._jobs.get(key) is job:
            del self._jobs[key]
        if job.task.done() and not job.task.cancelled():
            job.task.exception()  # seen: a failure whose waiters all left is not an unhandled one
