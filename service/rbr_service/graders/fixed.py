"""A grader that answers from a table: the test double that is a real backend."""

import asyncio
from collections.abc import Mapping, Sequence

from rbr_service.errors import GraderError
from rbr_service.graders.base import GradeRequest, Verdict


class FixedGrader:
    """Gives each proposition the P(yes) of `answers`, or `default`.

    `delay` (seconds) stands for a slow engine; with `failure` every call raises GraderError.
    `calls` counts grade calls.
    """

    name = "lexical"
    note = "answers from a table"

    def __init__(
        self,
        answers: Mapping[str, float] | None = None,
        *,
        default: float = 0.5,
        delay: float = 0.0,
        failure: str = "",
        fingerprint: str = "fixed",
    ) -> None:
        """See the class."""
        self._verdicts = {name: Verdict(p) for name, p in (answers or {}).items()}
        self._default = Verdict(default)
        self._delay, self._failure = delay, failure
        self.fingerprint = fingerprint
        self.calls = 0
        self.cancelled = 0

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    async def grade(self, requests: Sequence[GradeRequest]) -> list[tuple[Verdict, ...]]:
        """Look every answer up. Raises GraderError when told to."""
        self.calls += 1
        try:
            if self._delay:
                await asyncio.sleep(self._delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self._failure:
            raise GraderError(self._failure)
        return [tuple(self._verdicts.get(p, self._default) for p in r.propositions) for r in requests]
