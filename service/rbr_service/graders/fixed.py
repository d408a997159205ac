"""A grader that answers from a table: the test double that is a real backend."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from rbr_service.errors import GraderError, RequestError
from rbr_service.graders.base import Grade, GradeRequest, Verdict

Refusing = Callable[[GradeRequest], RequestError | None]


class FixedGrader:
    """Gives each question, about a completion or a request, the P(yes) of `answers`, or `default`.

    `label_mass` by question, 1 where it says nothing. `refusing` gives the error of a request that
    cannot be graded, or None. `delay` (seconds) stands for a slow engine; with `failure` every call
    raises GraderError. `calls` counts grade calls.
    """

    name = "lexical"
    note = "answers from a table"

    def __init__(
        self,
        answers: Mapping[str, float] | None = None,
        *,
        default: float = 0.5,
        label_mass: Mapping[str, float] | None = None,
        refusing: Refusing | None = None,
        delay: float = 0.0,
        failure: str = "",
        fingerprint: str = "fixed",
        routing: str = "",
    ) -> None:
        """See the class."""
        self._answers, self._default = dict(answers or {}), default
        self._masses = dict(label_mass or {})
        self._refusing = refusing
        self._delay, self._failure = delay, failure
        self.fingerprint, self.routing = fingerprint, routing
        self.calls = 0
        self.cancelled = 0

    async def start(self) -> None:
        """Nothing to load."""

    async def check(self) -> None:
        """Able unless told to fail. Raises GraderError."""
        if self._failure:
            raise GraderError(self._failure)

    async def close(self) -> None:
        """Nothing to give back."""

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        """Look every answer up. Raises GraderError when told to."""
        self.calls += 1
        try:
            if self._delay:
                await asyncio.sleep(self._delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await self.check()
        return [self._grade(request) for request in requests]

    def _grade(self, request: GradeRequest) -> Grade | RequestError:
        error = self._refusing(request) if self._refusing else None
        return error or Grade(tuple(map(self._verdict, request.questions)))

    def _verdict(self, question: str) -> Verdict:
        return Verdict(self._answers.get(question, self._default), self._masses.get(question, 1.0))
