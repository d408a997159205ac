"""Results in flight: whoever asks for one that is being made waits for the same work.

    keys -> those nobody makes: one job, make(keys); the others: the jobs that make them -> results

A trainer that times out asks for the same again, and equal completions come at the same time. So a job
that its waiters have left goes on for LINGER seconds, in which a retry joins it. `make` keeps
what it has made as soon as it has it: a job that is ended half way has not worked in vain.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, TypeVar

from rbr_service.errors import RBRError
from rbr_service.work import LINGER

T = TypeVar("T")
Key = bytes
Make = Callable[[Sequence[Key]], Coroutine[Any, Any, dict[Key, T]]]


class _Job(Generic[T]):
    def __init__(self, keys: Sequence[Key], task: asyncio.Task[dict[Key, T]]) -> None:
        self.keys, self.task = keys, task
        self.waiters = 0
        self.end: asyncio.TimerHandle | None = None


class Flight(Generic[T]):
    """What is being made: equal results asked for meanwhile wait for the same work."""

    def __init__(self, failure: type[RBRError], linger: float = LINGER) -> None:
        """`failure` is raised for a job that was ended; `linger`: seconds that a job goes on after
        its last waiter has left.
        """
        self._failure, self._linger = failure, linger
        self._jobs: dict[Key, _Job[T]] = {}  # those that can be joined
        self._tasks: set[asyncio.Task[dict[Key, T]]] = set()  # these, and those being ended

    @property
    def busy(self) -> bool:
        """Whether anything is being made."""
        return bool(self._tasks)

    async def results(self, keys: Sequence[Key], make: Make[T], deadline: float | None) -> dict[Key, T]:
        """The results of all `keys`; `make` is called at most once, for those that nobody makes.

        `deadline` is an instant of time.monotonic(), or None. Raises TimeoutError at the deadline,
        `failure` where a job was ended or left results out, and whatever a job raised.
        """
        if not keys:
            return {}
        jobs = self._joined(keys, make)
        try:
            await self._finished({job.task for job in jobs.values()}, deadline)
            return {key: job.task.result()[key] for key, job in jobs.items()}
        finally:
            for job in set(jobs.values()):
                self._leave(job)

    async def close(self) -> None:
        """End all jobs and wait until they have ended."""
        for job in set(self._jobs.values()):
            self._stop(job)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _joined(self, keys: Sequence[Key], make: Make[T]) -> dict[Key, _Job[T]]:
        jobs = {key: self._jobs[key] for key in keys if key in self._jobs and not self._jobs[key].task.done()}
        fresh = tuple(dict.fromkeys(key for key in keys if key not in jobs))
        if fresh:
            jobs |= dict.fromkeys(fresh, self._begin(fresh, make))
        for job in set(jobs.values()):
            job.waiters += 1
            if job.end:
                job.end.cancel()
                job.end = None
        return jobs

    def _begin(self, keys: Sequence[Key], make: Make[T]) -> _Job[T]:
        job = _Job(keys, asyncio.create_task(self._made(keys, make)))
        self._tasks.add(job.task)
        self._jobs.update(dict.fromkeys(keys, job))
        job.task.add_done_callback(lambda _: self._ended(job))
        return job

    def _leave(self, job: _Job[T]) -> None:
        job.waiters -= 1
        if not job.waiters and not job.task.done():
            job.end = asyncio.get_running_loop().call_later(self._linger, self._stop, job)

    def _stop(self, job: _Job[T]) -> None:
        self._forget(job)
        job.task.cancel()

    def _ended(self, job: _Job[T]) -> None:
        self._forget(job)
        self._tasks.discard(job.task)
        if job.end:
            job.end.cancel()
        if not job.task.cancelled():
            job.task.exception()  # seen: a failure whose waiters all left is not an unhandled one

    def _forget(self, job: _Job[T]) -> None:
        for key in job.keys:
            if self._jobs.get(key) is job:
                del self._jobs[key]

    async def _made(self, keys: Sequence[Key], make: Make[T]) -> dict[Key, T]:
        results = await make(keys)
        if not all(key in results for key in keys):
            raise self._failure("results that were asked for are missing")
        return results

    async def _finished(self, tasks: Iterable[asyncio.Task[Any]], deadline: float | None) -> None:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        done, pending = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            if task.cancelled():
                raise self._failure("the work was ended before it was done")
            error = task.exception()
            if error:
                raise error.with_traceback(None)  # shared by all waiters, each would add to it
        if pending:
            raise TimeoutError
