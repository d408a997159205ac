"""A grader that remembers: verdicts that stand in a score log, and another grader for the rest.

log row -> Recalled (conversation, verdicts that still hold) -> GradeRequest
        -> what is recalled + what the grader says of the questions that are left -> Grade
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rbr_service.conversation import Conversation, Message
from rbr_service.errors import GraderError, RequestError
from rbr_service.graders.base import Grade, Grader, GradeRequest, Subject, Verdict
from rbr_service.rewards.base import GivenBaseReward

# In place of a request whose text was not kept, so that the policy finds one; no grader gets it.
WITHOUT_TEXT = (Message("user", "not kept"),)

Known = Mapping[Subject, Mapping[str, Verdict]]


class MissingTextError(RequestError):
    """A question that nobody has answered, about a text that was not kept."""

    code = "missing_text"


@dataclass(frozen=True, slots=True)
class Recalled(Conversation):
    """A logged conversation and the verdicts on it. Without `texts` it holds a stand-in for them."""

    known: Known = field(compare=False)
    texts: bool = True


class RecallingGrader:
    """Judges Recalled conversations; `grader` is started when it is first needed.

    `recalled` and `graded` count verdicts.
    """

    def __init__(self, grader: Grader) -> None:
        self._grader = grader
        self.name, self.note = grader.name, grader.note
        self.fingerprint, self.routing = grader.fingerprint, grader.routing
        self.recalled = self.graded = 0
        self._started = False

    async def start(self) -> None:
        """Nothing, before it is known that there is something to grade."""

    async def check(self) -> None:
        """Ask the grader, where it was needed. Raises GraderError."""
        if self._started:
            await self._grader.check()

    async def close(self) -> None:
        """Close the grader, where it was needed."""
        if self._started:
            await self._grader.close()

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        """Judge every request, in order. Raises GraderError."""
        found: list[Grade | RequestError | None] = [_recall(request) for request in requests]
        asked = [_rest(request) for request, one in zip(requests, found, strict=True) if one is None]
        answers = iter(await self._ask(asked))
        grades = []
        for request, one in zip(requests, found, strict=True):
            grade = one or _joined(request, next(answers))
            if isinstance(grade, Grade):
                fresh = 0 if one else len(_unknown(request))
                self.graded += fresh
                self.recalled += len(request.questions) - fresh
            grades.append(grade)
        return grades

    async def _ask(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        if not requests:
            return []
        if not self._started:
            self._started = True
            await self._grader.start()
        grades = await self._grader.grade(requests)
        if len(grades) != len(requests):
            raise GraderError(f"the grader answered {len(grades)} of {len(requests)} completions")
        return grades


class LoggedReward(GivenBaseReward):
    """The base reward that stands in the log; `source` is what the weights are bound to."""

    def __init__(self, source: str) -> None:
        self.source = source


def _verdicts(request: GradeRequest) -> Mapping[str, Verdict]:
    conversation = request.conversation
    return conversation.known[request.about] if isinstance(conversation, Recalled) else {}


def _unknown(request: GradeRequest) -> tuple[str, ...]:
    known = _verdicts(request)
    return tuple(name for name in request.questions if name not in known)


def _recall(request: GradeRequest) -> Grade | RequestError | None:
    """The grade where all is known, the error where what is not cannot be graded; else None."""
    unknown, conversation = _unknown(request), request.conversation
    if not unknown:
        known = _verdicts(request)
        return Grade(tuple(known[name] for name in request.questions))
    if isinstance(conversation, Recalled) and not conversation.texts:
        return MissingTextError(
            f"the log holds no verdict of this grader on {', '.join(map(repr, unknown))}, and no text to ask "
            "about: rows with texts come from rbr serve --score-log-texts"
        )
    return None


def _rest(request: GradeRequest) -> GradeRequest:
    return GradeRequest(request.conversation, _unknown(request), request.about)


def _joined(request: GradeRequest, answer: Grade | RequestError) -> Grade | RequestError:
    if isinstance(answer, RequestError):
        return answer
    unknown = _unknown(request)
    if len(answer.verdicts) != len(unknown):
        raise GraderError(f"the grader answered {len(answer.verdicts)} of {len(unknown)} questions")
    both = {**_verdicts(request), **dict(zip(unknown, answer.verdicts, strict=True))}
    return Grade(tuple(both[name] for name in request.questions), answer.cuts)
