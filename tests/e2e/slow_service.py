"""The real service over a grader that answers from a table, late.

python slow_service.py --port 0 [--delay SECONDS] [--held] [--linger SECONDS]

GET /test/grader tells the grader's calls, how many were ended, and how many requests wait for one;
GET /test/release lets --held calls go on.
"""

import argparse
import asyncio
from collections.abc import Sequence

from fastapi import FastAPI

from rbr_service.app import create_app
from rbr_service.build import make_scorer
from rbr_service.errors import RequestError
from rbr_service.graders.base import Grade, GradeRequest
from rbr_service.graders.fixed import FixedGrader
from rbr_service.metrics import Metrics
from rbr_service.scorer import Result
from rbr_service.server import serve
from rbr_service.settings import Settings
from rbr_service.state import State
from rbr_service.work import LINGER, Work


class HeldGrader(FixedGrader):
    """Answers nobody before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        verdicts = await super().grade(requests)
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return verdicts


def add_controls(app: FastAPI, grader: FixedGrader, work: Work[list[Result]]) -> None:
    """The routes under /test."""

    @app.get("/test/grader")
    async def counts() -> dict[str, int]:
        waiting = sum(job.waiters for job in work._jobs.values())
        return {"calls": grader.calls, "cancelled": grader.cancelled, "waiting": waiting}

    @app.get("/test/release")
    async def release() -> None:
        assert isinstance(grader, HeldGrader)
        grader.released.set()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--held", action="store_true")
    parser.add_argument("--linger", type=float, default=LINGER)
    given = parser.parse_args()
    grader = HeldGrader() if given.held else FixedGrader(delay=given.delay)
    settings = Settings(port=given.port, accept_mismatch=True)
    metrics = Metrics()
    work: Work[list[Result]] = Work(linger=given.linger, look=0.05)
    state = State(settings, metrics, make_scorer(settings, metrics, grader), work)
    app = create_app(state)
    add_controls(app, grader, work)
    serve(app, settings, state)


if __name__ == "__main__":
    main()
