"""Verdicts in flight: whoever asks for one that is being made waits for the same work.

    keys -> those nobody makes: one job, make(keys); the others: the jobs that make them -> verdicts

A trainer that times out asks for the same again, and equal completions come at the same time. So a job
that its waiters left at their deadline goes on for LINGER seconds, in which a retry joins it. `make` puts
each verdict into the cache as soon as it has it: a job that is ended half way has not worked in vain.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from rbr_service.errors import GraderError, GraderTimeoutError
from rbr_service.graders.base import Verdict
from rbr_service.graders.cache import Key
from rbr_service.work import LINGER

Make = Callable[[Sequence[Key]], Coroutine[Any, Any, dict[Key, Verdict]]]


class _Job:
    def __init__(self, keys: Sequence[Key], task: asyncio.Task[dict[Key, Verdict]]) -> None:
        self.keys, self.task = keys, task
        self.waiters = 0
        self.end: asyncio.TimerHandle | None = None


class Flight:
    """Verdicts being made: equal ones asked for meanwhile wait for the same work."""

    def __init__(self, linger: float = LINGER) -> None:
        """`linger`: seconds that a job goes on after the deadline of its last waiter."""
        self._linger = linger
        self._jobs: dict[Key, _Job] = {}  # those that can be joined
        self._tasks: set[asyncio.Task[dict[Key, Verdict]]] = set()  # these, and those being ended

    async def verdicts(self, keys: Sequence[Key], make: Make, deadline: float | None) -> dict[Key, Verdict]:
        """The verdicts of all `keys`; `make` is called at most once, for those that nobody makes.

        `deadline` is an instant of time.monotonic(), or None. Raises GraderTimeoutError at the deadline,
        GraderError where a job was ended or left verdicts out, and whatever a job raised.
        """
        if not keys:
            return {}
        jobs = self._joined(keys, make)
        linger = self._linger
        try:
            await _finished({job.task for job in jobs.values()}, deadline)
            return {key: job.task.result()[key] for key, job in jobs.items()}
        except asyncio.CancelledError:
            linger = 0.0  # whoever cancels a request has lingered before it does
            raise
        finally:
            for job in set(jobs.values()):
                self._leave(job, linger)

    async def close(self) -> None:
        """End all jobs and wait until they have ended."""
        for job in set(self._jobs.values()):
            self._stop(job)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _joined(self, keys: Sequence[Key], make: Make) -> dict[Key, _Job]:
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

    def _begin(self, keys: Sequence[Key], make: Make) -> _Job:
        job = _Job(keys, asyncio.create_task(_made(keys, make)))
        self._tasks.add(job.task)
        self._jobs.update(dict.fromkeys(keys, job))
        job.task.add_done_callback(lambda _: self._ended(job))
        return job

    def _leave(self, job: _Job, linger: float) -> None:
        job.waiters -= 1
        if job.waiters or job.task.done():
            return
        if linger:
            job.end = asyncio.get_running_loop().call_later(linger, self._stop, job)
        else:
            self._stop(job)

    def _stop(self, job: _Job) -> None:
        self._forget(job)
        job.task.cancel()

    def _ended(self, job: _Job) -> None:
        self._forget(job)
        self._tasks.discard(job.task)
        if job.end:
            job.end.cancel()
        if not job.task.cancelled():
            job.task.exception()  # seen: a failure whose waiters all left is not an unhandled one

    def _forget(self, job: _Job) -> None:
        for key in job.keys:
            if self._jobs.get(key) is job:
                del self._jobs[key]


async def _made(keys: Sequence[Key], make: Make) -> dict[Key, Verdict]:
    verdicts = await make(keys)
    if not all(key in verdicts for key in keys):
        raise GraderError("the grader left out verdicts that it was asked for")
    return verdicts


async def _finished(tasks: Iterable[asyncio.Task[Any]], deadline: float | None) -> None:
    timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
    done, pending = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        if task.cancelled():
            raise GraderError("the grading was ended before it was done")
        error = task.exception()
        if error:
            raise error
    if pending:
        raise GraderTimeoutError(
            "not graded within the deadline; what was begun goes on for a while: ask for the same again"
        )
