"""The LLM grader over an engine that computes: probabilities, reuse, joining, deadlines, start-up checks."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbr_service.conversation import Conversation, Message
from rbr_service.encoder import Encoder
from rbr_service.errors import CompletionTooLongError, GraderError, GraderTimeoutError, SettingsError, whole
from rbr_service.graders import layout
from rbr_service.graders.base import Grade, GradeRequest, Verdict
from rbr_service.graders.cache import MemoryCache
from rbr_service.graders.engine import ModelIdentity
from rbr_service.graders.llm import LLMGrader, verdict
from rbr_service.metrics import Metrics
from rbr_service.rbr.policy import Policy, parse
from tests import tokenizer
from tests.engine import HashEngine

POLICY = """\
policy: tiny
description: Be brief.
classes: [good, bad]
unlabelled: chat
content_policy:
  talk: {description: Small talk., response_type: chat}
auto: {threshold: 0.5, strictest_first: [chat]}
response_types:
  chat:
    description: A brief reply.
    good: [brief]
    features: {propositions: [brief, rude]}
propositions:
  brief: {question: "Is the reply brief?", definition: Two sentences at most.}
  rude: {question: "Is the reply rude?", definition: Insults count.}
rules:
  chat:
    good: {brief: true, rude: false}
    bad: [{brief: false}, {brief: true, rude: true}]
"""
BOTH = ("brief", "rude")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save_tokenizer(folder)
    return Encoder.load(str(folder))


Make = Callable[..., LLMGrader]


@pytest.fixture
def engine() -> HashEngine:
    return HashEngine()


@pytest.fixture
def make(encoder: Encoder, engine: HashEngine) -> Make:
    """`make(policy=..., layout=..., ...)`: a grader over `engine`."""

    def made(**given: Any) -> LLMGrader:
        options: dict[str, Any] = {"concurrency": 8, "deadline": 5.0, "min_label_mass": 0.5}
        policy: Policy = given.pop("policy", None) or parse(POLICY, "tiny.yaml")
        name, cache = given.pop("layout", "book"), given.pop("cache", None) or MemoryCache(1000)
        metrics = given.pop("metrics", None) or Metrics()
        return LLMGrader(
            policy, encoder, layout.load(name), given.pop("engine", engine), cache, metrics,
            **(options | given),
        )  # fmt: skip

    return made


def about(reply: str, questions: tuple[str, ...] = BOTH) -> GradeRequest:
    return GradeRequest(Conversation((Message("user", "Hi"),), reply), questions)


def graded(grader: LLMGrader, *requests: GradeRequest) -> list[Grade]:
    return whole(asyncio.run(grader.grade(requests)))


logs = st.lists(st.floats(-60, 0), min_size=1, max_size=6)


@given(yes=logs, no=logs)
def test_p_is_the_share_of_yes_among_both(yes: list[float], no: list[float]) -> None:
    found = verdict(yes, no)
    for_yes, for_no = math.fsum(map(math.exp, yes)), math.fsum(map(math.exp, no))
    assert found.p == pytest.approx(for_yes / (for_yes + for_no), abs=1e-12)
    assert found.label_mass == pytest.approx(min(for_yes + for_no, 1.0), abs=1e-12)


@pytest.mark.parametrize("never", [-math.inf, -9999.0])
def test_a_label_that_cannot_come_counts_nothing(never: float) -> None:
    assert verdict([never, -1.0], [never]) == Verdict(1.0, math.exp(-1.0))
    assert verdict([never], [-1.0]).p == pytest.approx(0.0, abs=1e-300)


def test_neither_yes_nor_no_possible_is_no_number() -> None:
    with pytest.raises(GraderError, match="no probability at all"):
        verdict([-9999.0], [-math.inf])


def test_answers_come_in_the_order_of_the_questions(make: Make) -> None:
    grader = make()
    ((first,), (second,)) = (
        [g.verdicts for g in graded(grader, about("Hello", questions))] for questions in (BOTH, BOTH[::-1])
    )
    assert first == second[::-1]
    assert first[0] != first[1]


def test_only_what_is_asked_is_computed(make: Make, engine: HashEngine) -> None:
    graded(make(), about("Hello", ("rude",)))
    assert len(engine.asked) == 1


def test_what_was_graded_is_not_graded_again(make: Make, engine: HashEngine) -> None:
    metrics = Metrics()
    grader = make(metrics=metrics)
    first = graded(grader, about("Hello"), about("Bye"))
    assert graded(grader, about("Bye"), about("Hello")) == first[::-1]
    assert len(engine.asked) == 4
    assert metrics.registry.get_sample_value("rbr_cached_verdicts_total") == 4
    assert metrics.registry.get_sample_value("rbr_graded_verdicts_total") == 4


EDITED = POLICY.replace("Insults count.", "Insults and sneers count.")


@pytest.mark.parametrize(("name", "again"), [("conversation-first", 1), ("book", 2)])
def test_an_edited_question_is_graded_again_alone_or_with_its_book(
    make: Make, engine: HashEngine, name: str, again: int
) -> None:
    cache = MemoryCache(1000)
    graded(make(layout=name, cache=cache), about("Hello"))
    before = len(engine.asked)
    graded(make(layout=name, cache=cache, policy=parse(EDITED, "tiny.yaml")), about("Hello"))
    assert len(engine.asked) - before == again


def test_another_model_shares_no_verdicts(make: Make, engine: HashEngine) -> None:
    cache = MemoryCache(1000)
    other = HashEngine(revision="r2")
    graded(make(cache=cache), about("Hello"))
    graded(make(cache=cache, engine=other), about("Hello"))
    assert len(engine.asked) == len(other.asked) == 2


def test_the_fingerprint_covers_model_layout_and_book(make: Make) -> None:
    policies = {name: parse(text, "tiny.yaml") for name, text in (("old", POLICY), ("new", EDITED))}
    made = [
        make(), make(layout="conversation-first"), make(layout="released"),
        make(engine=HashEngine(revision="r2")), make(policy=policies["new"]),
    ]  # fmt: skip
    assert len({grader.fingerprint for grader in made}) == len(made)
    first = [make(layout="conversation-first", policy=policy).fingerprint for policy in policies.values()]
    assert first[0] == first[1]  # there a question is bound by its response type's hash alone


def test_a_category_is_asked_about_the_request(make: Make, engine: HashEngine) -> None:
    talk = Conversation((Message("user", "Hi"),), "")
    requests = [
        GradeRequest(talk, ("talk",), "request"),
        GradeRequest(Conversation(talk.prompt, "x"), ("talk",), "request"),
    ]
    first, second = graded(make(), *requests)
    assert first == second
    assert len(engine.asked) == 1


def test_a_text_that_cannot_be_graded_fails_alone(make: Make) -> None:
    grader = make(engine=HashEngine(context=800))
    alone = graded(grader, about("Hello"))
    long, good = asyncio.run(grader.grade([about("word " * 900), about("Hello")]))
    assert isinstance(long, CompletionTooLongError)
    assert [good] == alone


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def test_equal_texts_in_flight_are_graded_once(make: Make, engine: HashEngine) -> None:
    async def scenario() -> None:
        grader = make()
        calls = [grader.grade([about("Hello")]), grader.grade([about("Hello"), about("Bye")])]
        first, second = await asyncio.gather(*calls)
        assert first[0] == second[0]
        assert len(engine.asked) == 4

    run(scenario)


def test_no_more_completions_are_in_the_engine_than_allowed(make: Make, engine: HashEngine) -> None:
    engine.delay = 0.001
    graded(make(concurrency=3), *(about(f"Hello {i}") for i in range(40)))
    assert engine.most_running == 3


def test_a_stalled_engine_runs_into_the_deadline_and_the_retry_finds_what_was_done(
    make: Make, engine: HashEngine
) -> None:
    async def scenario() -> None:
        grader = make(deadline=0.1)
        engine.gate.clear()
        for _ in range(2):  # the second finds the first's work in flight
            with pytest.raises(GraderTimeoutError, match=r"deadline of 0\.1 s"):
                await grader.grade([about("Hello")])
        engine.gate.set()
        await grader.grade([about("Hello")])
        assert (engine.calls, len(engine.asked), engine.ended) == (1, 2, 0)

    run(scenario)


def test_what_waits_for_room_too_long_runs_into_the_deadline(make: Make, engine: HashEngine) -> None:
    async def scenario() -> None:
        grader = make(deadline=0.1, concurrency=1)
        engine.gate.clear()
        calls = [grader.grade([about(text)]) for text in ("one", "two")]
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(failure, GraderTimeoutError) for failure in failures)
        assert engine.calls == 1
        engine.gate.set()
        assert len(await grader.grade([about("two")])) == 1  # the room was given back
        await grader.close()

    run(scenario)


def test_what_an_engine_did_before_it_failed_is_kept(make: Make, engine: HashEngine) -> None:
    async def scenario() -> None:
        grader = make()
        engine.fault_after = 1
        with pytest.raises(GraderError, match="the engine failed"):
            await grader.grade([about("Hello")])
        engine.fault_after = None
        await grader.grade([about("Hello")])
        assert len(engine.asked) == 2

    run(scenario)


def test_a_caller_that_leaves_ends_its_work(make: Make, engine: HashEngine) -> None:
    async def scenario() -> None:
        grader = make()
        engine.gate.clear()
        call = asyncio.create_task(grader.grade([about("Hello")]))
        await engine.called.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await grader.close()
        assert engine.ended == 1

    run(scenario)


def test_it_starts_warm(make: Make, engine: HashEngine) -> None:
    async def scenario() -> None:
        grader = make()
        await grader.start()
        assert engine.started
        assert len(engine.asked) == 3  # two propositions and a category
        await grader.close()
        assert not engine.started

    run(scenario)


@pytest.mark.parametrize(
    ("engine_of", "message"),
    [
        ({"mass": 0.01}, "puts only 0.01 of probability on yes and no"),
        ({"context": 300}, "leaves less than 256 for a conversation"),
        ({"context": 450}, "leaves less than 256 for a conversation"),
    ],
)
def test_an_engine_that_cannot_serve_the_policy_is_refused(
    make: Make, engine_of: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraderError, match=message):
        asyncio.run(make(engine=HashEngine(**engine_of)).start())


def test_an_unstated_revision_is_told(make: Make) -> None:
    assert "not stated" in make(engine=HashEngine(revision="")).note
    assert make().note == ""


def test_a_tokenizer_that_splits_yes_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "next_token", lambda *_: None)
    with pytest.raises(SettingsError, match="splits yes or no"):
        make()


def test_a_revision_that_is_a_name_does_not_stand_for_the_model() -> None:
    small, large = (ModelIdentity(name, "main", "bfloat16") for name in ("Qwen3-8B", "Qwen3-32B"))
    assert small.key != large.key
    commit = "a" * 40
    here, there = (ModelIdentity(name, commit, "bfloat16") for name in ("/models/8b", "Qwen3-8B"))
    assert here.key == there.key
    assert here.key != ModelIdentity("/models/8b", commit, "float16").key
