"""What every grader promises: for each completion, P(yes) for each proposition asked.

    [GradeRequest(conversation, propositions)] -> [one Verdict per proposition, in order]

One awaited call carries all samples of a request; the engine behind it batches. A grader answers
every question or raises `GraderError`: a failed grade is never a number.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from rbr_service.conversation import Conversation


@dataclass(frozen=True, slots=True)
class GradeRequest:
    """The propositions (names of the policy's) to be judged about one completion."""

    conversation: Conversation
    propositions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`p` = P(yes) in [0, 1]; `label_mass` = probability the grader put on yes and no together."""

    p: float
    label_mass: float = 1.0


class Grader(Protocol):
    """A fixed judge of completions."""

    @property
    def name(self) -> str:
        """Short name: it is part of the weights' file name, POLICY.GRADER.json."""

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides an answer; weights are bound to it."""

    @property
    def note(self) -> str:
        """What a user must know of its limits, one sentence; "" where nothing."""

    async def start(self) -> None:
        """Load and check the engine. Raises GraderError when it cannot grade."""

    async def grade(self, requests: Sequence[GradeRequest]) -> list[tuple[Verdict, ...]]:
        """Judge every request, in order. Raises GraderError."""

    async def close(self) -> None:
        """Give back what `start` took."""


@asynccontextmanager
async def started(grader: Grader) -> AsyncIterator[Grader]:
    """The grader, started, and closed in the end. Raises GraderError."""
    await grader.start()
    try:
        yield grader
    finally:
        await grader.close()
