"""What every grader promises: for each text asked about, P(yes) for each question.

    [GradeRequest(conversation, questions)] -> [Grade, or the RequestError that says why not]

One awaited call carries all samples of a request; the engine behind it batches. A text that cannot
be graded fails alone; a grader that cannot grade raises `GraderError`. A failed grade is never a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rbr_service.conversation import Conversation
from rbr_service.errors import RequestError

# A proposition is about the completion; a category of the content policy is about the request alone.
Subject = Literal["completion", "request"]


@dataclass(frozen=True, slots=True)
class GradeRequest:
    """The questions (names of the policy's propositions or categories) to be judged about one text."""

    conversation: Conversation
    questions: tuple[str, ...]
    about: Subject = "completion"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`p` = P(yes) in [0, 1]; `label_mass` = probability the grader put on yes and no together."""

    p: float
    label_mass: float = 1.0


@dataclass(frozen=True, slots=True)
class Cuts:
    """What of a conversation the grader's context had no room for; never of its completion."""

    messages: int = 0
    tokens: int = 0


NO_CUTS = Cuts()


@dataclass(frozen=True, slots=True)
class Grade:
    """One verdict per question, in order, and what was left out of the conversation."""

    verdicts: tuple[Verdict, ...]
    cuts: Cuts = NO_CUTS


class Grader(Protocol):
    """A fixed judge of completions."""

    @property
    def name(self) -> str:
        """Short name: it is part of the weights' file name, POLICY.GRADER.json."""

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides an answer; weights are bound to it."""

    @property
    def routing(self) -> str:
        """Hash of what decides answers about requests and no answer about a completion; "" where nothing."""

    @property
    def note(self) -> str:
        """What a user must know of its limits, one sentence; "" where nothing."""

    async def start(self) -> None:
        """Load and check the engine. Raises GraderError when it cannot grade."""

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        """Judge every request, in order. Raises GraderError."""

    async def check(self) -> None:
        """Return at once when able to grade. Raises GraderError, GraderDeadError."""

    async def close(self) -> None:
        """Give back what `start` took."""
