"""A grader that remembers: what is known is not asked again, what is not known is never made up."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rbr_service.conversation import Conversation, Message
from rbr_service.errors import CompletionTooLongError, GraderError, RequestError
from rbr_service.graders.base import Cuts, Grade, GradeRequest, Verdict
from rbr_service.graders.fixed import FixedGrader
from rbr_service.lifetime import started
from rbr_service.rescore.recall import MissingTextError, Recalled, RecallingGrader

KNOWN = {"a": Verdict(0.1, 0.9), "b": Verdict(0.2, 0.8)}
TALK = (Message("user", "How?"),)


class Watched(FixedGrader):
    """Keeps what it was asked, and how often it was started and closed."""

    def __init__(self, **given: Any) -> None:
        super().__init__({"c": 0.3}, **given)
        self.asked: list[GradeRequest] = []
        self.life: list[str] = []

    async def start(self) -> None:
        self.life.append("started")

    async def close(self) -> None:
        self.life.append("closed")

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        self.asked += requests
        return await super().grade(requests)


def recalled(completion: str = "Thus.", *, texts: bool = True) -> Recalled:
    return Recalled(TALK, completion, {"completion": KNOWN, "request": {}}, texts)


def graded(grader: RecallingGrader, *requests: GradeRequest) -> list[Grade | RequestError]:
    async def run() -> list[Grade | RequestError]:
        async with started(grader):
            return await grader.grade(requests)

    return asyncio.run(run())


def test_only_what_is_not_known_is_asked_and_order_stays() -> None:
    watched = Watched()
    grader = RecallingGrader(watched)
    plain = Conversation(TALK, "new")
    found = graded(
        grader, GradeRequest(recalled(), ("b", "a")), GradeRequest(recalled(), ("a", "c", "b")),
        GradeRequest(plain, ("a",)), GradeRequest(recalled(), ("a",), "request"),
    )  # fmt: skip
    assert found == [
        Grade((KNOWN["b"], KNOWN["a"])), Grade((KNOWN["a"], Verdict(0.3), KNOWN["b"])),
        Grade((Verdict(0.5),)), Grade((Verdict(0.5),)),
    ]  # fmt: skip
    assert [(r.questions, r.about) for r in watched.asked] == [
        (("c",), "completion"), (("a",), "completion"), (("a",), "request"),
    ]  # fmt: skip
    assert (grader.recalled, grader.graded) == (4, 3)
    assert watched.life == ["started", "closed"]


def test_a_grader_that_is_not_needed_is_not_started() -> None:
    watched = Watched(failure="its server is down")
    grader = RecallingGrader(watched)
    assert graded(grader, GradeRequest(recalled(texts=False), ("a",))) == [Grade((KNOWN["a"],))]
    assert watched.life == []
    with pytest.raises(GraderError, match="its server is down"):
        graded(grader, GradeRequest(recalled(), ("c",)))


def test_without_a_text_nothing_is_asked() -> None:
    watched = Watched()
    grader = RecallingGrader(watched)
    (found,) = graded(grader, GradeRequest(recalled(texts=False), ("a", "c", "d")))
    assert isinstance(found, MissingTextError)
    assert "no verdict of this grader on 'c', 'd', and no text" in found.message
    assert (watched.asked, watched.life, grader.recalled, grader.graded) == ([], [], 0, 0)


def test_a_text_that_cannot_be_graded_fails_alone() -> None:
    def refusing(request: GradeRequest) -> RequestError | None:
        return CompletionTooLongError("long") if request.conversation.completion == "long" else None

    grader = RecallingGrader(Watched(refusing=refusing))
    requests = [GradeRequest(recalled(text), ("c",)) for text in ("long", "short")]
    assert [type(one) for one in graded(grader, *requests)] == [CompletionTooLongError, Grade]


class Short(Watched):
    def __init__(self, grades: list[Grade | RequestError]) -> None:
        super().__init__()
        self.grades = grades

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        return self.grades


@pytest.mark.parametrize("grades", [[], [Grade(())], [Grade((Verdict(0.1), Verdict(0.2)))]])
def test_an_answer_of_another_length_is_a_failure(grades: list[Grade | RequestError]) -> None:
    with pytest.raises(GraderError, match="the grader answered"):
        graded(RecallingGrader(Short(grades)), GradeRequest(recalled(), ("a", "c")))


def test_cuts_are_those_of_what_was_graded_now() -> None:
    cut = Grade((Verdict(0.4),), Cuts(1, 9))
    (found,) = graded(RecallingGrader(Short([cut])), GradeRequest(recalled(), ("a", "c")))
    assert found == Grade((KNOWN["a"], Verdict(0.4)), Cuts(1, 9))
