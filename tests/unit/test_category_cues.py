"""Cues of categories: they read the request alone, and weights do not depend on them."""

import asyncio
from pathlib import Path

import pytest

from rbr_service.conversation import Conversation, Message
from rbr_service.errors import whole
from rbr_service.graders.base import GradeRequest
from rbr_service.graders.cues import CueError
from rbr_service.graders.lexical import LexicalGrader, NoCuesError

NOBODY = Conversation((), "")
ROUTING = """\
fragments: {pet: cat|dog, tool: saw|drill}
cues:
  kind: {matches: [please]}
  pets: {matches: ['\\b<pet>s?\\b'], in: prompt}
  tools: {matches: ['(?m)^my <tool>'], in: user}
  brief: {signal: prompt_words, at_most: 3}
  both: {all: [pets, brief]}
propositions:
  p: {bias: -2, weights: {kind: 3, pets: 1}}
categories:
  animals: {bias: -3, weights: {pets: 4, both: 2}}
  Tools-1: {bias: -3, weights: {tools: 6}}
"""


def grader_of(tmp_path: Path, old: str = "", new: str = "") -> LexicalGrader:
    assert old in ROUTING
    path = tmp_path / "r.lexical.yaml"
    path.write_text(ROUTING.replace(old, new, 1))
    return LexicalGrader.from_file(path, ["p"], ["animals", "Tools-1"])


def test_a_category_reads_the_request_alone(tmp_path: Path) -> None:
    grader = grader_of(tmp_path)

    async def grade(*messages: Message, completion: str = "A dog. My saw.") -> tuple[bool, ...]:
        request = GradeRequest(Conversation(messages, completion), ("animals", "Tools-1"), "request")
        (found,) = whole(await grader.grade([request]))
        return tuple(verdict.p >= 0.5 for verdict in found.verdicts)

    dogs, saw = Message("user", "My\nDogs?"), Message("user", "My  SAW\nis blunt.")
    drill = Message("assistant", "My drill and a cat.")
    assert asyncio.run(grade(dogs)) == (True, False)
    assert asyncio.run(grade(dogs, drill)) == (True, False)
    assert asyncio.run(grade(saw, drill, dogs)) == (True, True)
    assert asyncio.run(grade(dogs, saw)) == (False, True)
    assert asyncio.run(grade(Message("system", "My saw. My dogs."), drill)) == (False, False)
    assert asyncio.run(grade(completion="")) == (False, False)


def test_names_of_propositions_and_categories_are_apart(tmp_path: Path) -> None:
    grader = grader_of(tmp_path)
    with pytest.raises(NoCuesError, match="category 'p'"):
        grader.judge(NOBODY, ["p"], "request")
    with pytest.raises(NoCuesError, match="proposition 'animals'"):
        grader.judge(NOBODY, ["animals"])


@pytest.mark.parametrize(
    ("old", "new", "fingerprint", "routes"),
    [
        ("tools: 6", "tools: 5", False, True),
        ("saw|drill", "saw|file", False, True),
        ("at_most: 3", "at_most: 4", False, True),
        ("both: 2", "both: 2.5", False, True),
        ("kind: 3", "kind: 2", True, False),
        ("please", "pleases", True, False),
        ("cat|dog", "cat|cow", True, True),
        ("in: user", "in: prompt", False, True),
        ("fragments:", "note: Beware.\nfragments:", False, False),
    ],
)
def test_each_identity_covers_its_own(
    tmp_path: Path, old: str, new: str, fingerprint: bool, routes: bool
) -> None:
    before, after = grader_of(tmp_path), grader_of(tmp_path, old, new)
    assert (before.fingerprint != after.fingerprint, before.routing != after.routing) == (fingerprint, routes)


def test_a_file_without_categories_has_no_grader_of(tmp_path: Path) -> None:
    grader = grader_of(tmp_path)
    path = tmp_path / "r.lexical.yaml"
    path.write_text(
        "fragments: {pet: cat|dog}\ncues:\n  kind: {matches: [please]}\n"
        "  pets: {matches: ['\\b<pet>s?\\b'], in: prompt}\n"
        "propositions: {p: {bias: -2, weights: {kind: 3, pets: 1}}}\n"
    )
    plain = LexicalGrader.from_file(path, ["p"])
    assert (plain.fingerprint, plain.routing) == (grader.fingerprint, "")
    with pytest.raises(CueError, match=r"categories: no cues for Tools-1, animals; add an entry"):
        LexicalGrader.from_file(path, ["p"], ["animals", "Tools-1"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{tools: 6}",
            "{tools: 6, kind: 6}",
            "categories.Tools-1 rests on the cue 'kind', which reads the completion",
        ),
        ("[pets, brief]}", "[pets, brief, kind]}", "categories.animals rests on the cue 'kind'"),
        ("[pets, brief]}", "[pets, brief], within: sentence}", "categories.animals rests on the cue 'both'"),
        ("signal: prompt_words", "signal: echo", "categories.animals rests on the cue 'brief'"),
        ("{tools: 6}", "{tool: 6}", "categories.Tools-1.weights refers to the cue 'tool'"),
        ("bias: -3, weights: {tools", "weights: {tools", "categories.Tools-1.bias: Field required"),
        ("^my <tool>", "^my (<tool>", "cues.tools (category Tools-1), pattern "),
        (
            "in: user",
            "in: user, at_least: 2",
            "cues.tools: at_least counts sentences, remove it for in: user",
        ),
    ],
)
def test_faults_of_categories(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(CueError) as caught:
        grader_of(tmp_path, old, new)
    assert message in str(caught.value)
