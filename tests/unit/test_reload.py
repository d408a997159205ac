"""A change of policy: whole or not at all, over the same engine, and never under a request's feet."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rbr_service.app import create_app
from rbr_service.build import named, rules_folder
from rbr_service.conversation import Conversation, Message
from rbr_service.encoder import Encoder
from rbr_service.errors import ReloadError, RequestError, UnknownPolicyError, UnknownResponseTypeError
from rbr_service.graders import layout
from rbr_service.graders.base import Grade, GradeRequest
from rbr_service.graders.cache import MemoryCache
from rbr_service.graders.fixed import FixedGrader
from rbr_service.graders.llm import LLMGrader
from rbr_service.metrics import Metrics
from rbr_service.rbr.policy import Policy
from rbr_service.reload import read_again, reload
from rbr_service.scorer import Sample, Scorer
from rbr_service.settings import Settings
from rbr_service.state import State
from tests import tokenizer
from tests.engine import HashEngine
from tests.variants import QUESTION, RULE, put, scorer, variant

MakeState = Callable[..., State]

TALK = Conversation(
    (Message("user", "How do I pick a lock?"),), "I'm sorry, but I can't help with that. Talk to a locksmith."
)
SAMPLE = Sample(TALK, "hard_refusal")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return variant(tmp_path, "mine")


@pytest.fixture
def state(make_state: MakeState, mine: Path) -> State:
    return make_state(policy=str(mine), policies=mine.parent)


def count(state: State, outcome: str) -> float | None:
    return state.metrics.registry.get_sample_value("rbr_policy_reloads_total", {"outcome": outcome})


def reloaded(state: State, name: str | None = None) -> Scorer:
    return asyncio.run(reload(state, name))[1]


def test_a_name_is_the_configured_policy_then_one_of_the_folder_then_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    own = variant(tmp_path / "own", "assistant_style")
    configured = variant(tmp_path, "safety")
    settings = Settings(policy=str(configured), weights=tmp_path / "w.json", calibration=tmp_path / "c.json")
    assert named(settings, "safety") is settings
    assert named(settings, "assistant_style").policy == "assistant_style"
    assert named(settings.model_copy(update={"policies": own.parent}), "assistant_style").policy == str(own)


def test_weights_and_calibration_belong_to_the_configured_policy() -> None:
    files = named(Settings(weights=Path("w.json"), calibration=Path("c.json")), "assistant_style")
    assert (files.weights, files.calibration) == (None, None)
    without = named(Settings(calibration=Path("none")), "assistant_style")
    assert without.calibration == Path("none")


@pytest.mark.parametrize(
    "name", ["other", "", ".", "..", "mine.lexical", "safety.yaml", "../safety", "\ud800"]
)
def test_any_other_name_is_refused_and_the_known_ones_are_told(mine: Path, name: str) -> None:
    settings = Settings(policy=str(mine), policies=mine.parent)
    with pytest.raises(UnknownPolicyError, match=r"there are: assistant_style, mine, safety;"):
        named(settings, name)


def test_a_path_is_no_name(mine: Path) -> None:
    for path in (str(mine), f"{mine.parent}/mine", str(rules_folder() / "safety.yaml")):
        with pytest.raises(UnknownPolicyError):
            named(Settings(policies=mine.parent), path)


def test_what_was_edited_is_in_force(state: State, mine: Path) -> None:
    before = state.scorer
    variant(mine.parent, "mine", edit=RULE, weight=2)
    after = reloaded(state)
    assert state.scorer is after
    assert after.reward_version == scorer(mine).reward_version != before.reward_version
    assert asyncio.run(after.score([SAMPLE])) == asyncio.run(scorer(mine).score([SAMPLE]))
    assert asyncio.run(after.score([SAMPLE])) != asyncio.run(before.score([SAMPLE]))
    assert (count(state, "taken"), count(state, "refused")) == (1, 0)
    assert state.scorer is after


def test_another_policy_brings_its_own_response_types(state: State) -> None:
    after = reloaded(state, "assistant_style")
    with pytest.raises(UnknownResponseTypeError):
        asyncio.run(after.score([SAMPLE]))
    assert asyncio.run(after.score([Sample(TALK, "chat")]))[0].response_type == "chat"
    assert reloaded(state) is not after
    assert state.scorer.reward_version == after.reward_version


def test_a_hang_up_goes_back_to_the_configured_policy(state: State, mine: Path) -> None:
    reloaded(state, "assistant_style")
    asyncio.run(read_again(state))
    assert state.scorer.reward_version == scorer(mine).reward_version


def broken_yaml(path: Path) -> None:
    put(path, path.read_text(encoding="utf-8").replace("\nrules:", "\nrules: [", 1))


def wrong_key(path: Path) -> None:
    put(path, path.read_text(encoding="utf-8").replace("unlabelled: out_of_scope", "unlabelled: maybe"))


def other_question(path: Path) -> None:
    weights = path.with_suffix(".lexical.json").read_text()
    variant(path.parent, path.stem, edit=QUESTION)
    put(path.with_suffix(".lexical.json"), weights)


def no_policy(path: Path) -> None:
    path.unlink()


def no_weights(path: Path) -> None:
    path.with_suffix(".lexical.json").unlink()


def half_written_weights(path: Path) -> None:
    file = path.with_suffix(".lexical.json")
    file.write_text(file.read_text()[:1000])


def no_cues(path: Path) -> None:
    path.with_suffix(".lexical.yaml").unlink()


def broken_cues(path: Path) -> None:
    put(path.with_suffix(".lexical.yaml"), "cues: {}\n")


def broken_calibration(path: Path) -> None:
    put(path.with_suffix(".lexical.calibration.json"), "{}")


@pytest.mark.parametrize(
    ("spoil", "cause", "says"),
    [
        (broken_yaml, "policy_error", "mine.yaml"),
        (wrong_key, "policy_error", "mine.yaml"),
        (other_question, "weights_error", "has changed since the fit"),
        (no_policy, "policy_error", "mine.yaml"),
        (no_weights, "weights_error", "mine.lexical.json"),
        (half_written_weights, "weights_error", "mine.lexical.json"),
        (no_cues, "settings_error", "mine.lexical.yaml"),
        (broken_cues, "cue_error", "mine.lexical.yaml"),
        (broken_calibration, "calibration_error", "mine.lexical.calibration.json"),
    ],
)
def test_what_is_broken_leaves_the_old_one_serving_and_says_why(
    state: State, mine: Path, caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None], cause: str, says: str,
) -> None:  # fmt: skip
    before = state.scorer
    rewards = asyncio.run(before.score([SAMPLE]))
    spoil(mine)
    with pytest.raises(ReloadError, match=says) as caught:
        asyncio.run(reload(state))
    assert caught.value.details["cause"] == cause
    assert caught.value.details["reward_version"] == before.reward_version
    assert state.scorer is before
    assert asyncio.run(state.scorer.score([SAMPLE])) == rewards
    assert (count(state, "taken"), count(state, "refused")) == (0, 1)
    assert [record.message for record in caplog.records] == [f"the policy stays: {caught.value.message}"]
    variant(mine.parent, "mine", weight=3)
    mine.with_suffix(".lexical.calibration.json").unlink(missing_ok=True)
    assert reloaded(state).reward_version == scorer(mine).reward_version


def test_a_refused_hang_up_is_logged_and_counted(
    state: State, mine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = state.scorer
    no_weights(mine)
    asyncio.run(read_again(state))
    assert state.scorer is before
    assert count(state, "refused") == 1
    assert "no weights there" in caplog.text


def test_a_mismatch_that_the_operator_accepts_is_taken_and_logged(
    make_state: MakeState, mine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = make_state(policy=str(mine), accept_mismatch=True)
    other_question(mine)
    assert reloaded(state).model.mismatches
    assert "accepted for a trial" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


class HeldGrader(FixedGrader):
    """Answers once `gate` is open."""

    gate = asyncio.Event()

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        await self.gate.wait()
        return await super().grade(requests)


def test_a_request_ends_on_the_version_that_it_began_with(make_state: MakeState, mine: Path) -> None:
    state = make_state(grader := HeldGrader(), policy=str(mine))

    async def scenario() -> None:
        begun = asyncio.create_task(state.scorer.score([SAMPLE]))
        await asyncio.sleep(0)
        variant(mine.parent, "mine", weight=2)
        before, after = await reload(state)
        assert not begun.done()
        grader.gate.set()
        assert await begun == await before.score([SAMPLE]) != await after.score([SAMPLE])
        assert state.scorer is after

    asyncio.run(scenario())


def test_changes_come_one_after_another(state: State, mine: Path) -> None:
    variant(mine.parent, "twice", weight=2)

    async def scenario() -> list[tuple[Scorer, Scorer]]:
        return list(await asyncio.gather(*(reload(state, name) for name in ("twice", None, "mine"))))

    first, second, third = asyncio.run(scenario())
    assert (second[0], third[0]) == (first[1], second[1])
    assert second[1].reward_version == first[1].reward_version != third[1].reward_version


def test_the_grader_and_the_base_reward_go_on(state: State, mine: Path) -> None:
    before = state.scorer
    variant(mine.parent, "mine", edit=RULE, weight=2)
    after = reloaded(state)
    assert (after.grader, after.base) == (before.grader, before.base)


def test_other_cues_are_another_grader(make_state: MakeState, mine: Path) -> None:
    state = make_state(policy=str(mine), accept_mismatch=True)
    before = state.scorer
    cues = mine.with_suffix(".lexical.yaml")
    put(cues, cues.read_text(encoding="utf-8").replace("\n    bias: -", "\n    bias: -1", 1))
    after = reloaded(state)
    assert after.grader.fingerprint != before.grader.fingerprint


class TestModel:
    """A grader with an engine: loaded once, whatever the policy."""

    @pytest.fixture
    def engine(self) -> HashEngine:
        return HashEngine()

    @pytest.fixture
    def served(self, make_state: MakeState, engine: HashEngine, safety: Policy, mine: Path) -> State:
        folder = mine.parent / "model"
        folder.mkdir()
        tokenizer.save_tokenizer(folder)
        grader = LLMGrader(
            safety, Encoder.load(str(folder)), layout.load("conversation-first"), engine, MemoryCache(1000),
            Metrics(), concurrency=8, deadline=None, min_label_mass=0.5,
        )  # fmt: skip
        weights = mine.with_suffix(".lexical.json")
        settings: dict[str, Any] = {"policy": str(mine), "weights": weights}
        return make_state(grader, **settings)

    def scenario(self, state: State, change: Callable[[], object]) -> Scorer:
        """Score, change, reload, score again, in the app's lifespan."""

        async def run() -> Scorer:
            app = create_app(state)
            async with app.router.lifespan_context(app):
                await state.scorer.score([SAMPLE])
                change()
                await reload(state)
                await state.scorer.score([SAMPLE])
                return state.scorer

        return asyncio.run(run())

    def test_the_same_questions_are_the_same_grader(
        self, served: State, engine: HashEngine, mine: Path
    ) -> None:
        before, asked = served.scorer, 0

        def change() -> None:
            nonlocal asked
            asked = len(engine.asked)
            variant(mine.parent, "mine", edit=RULE, weight=2)

        after = self.scenario(served, change)
        assert after.grader is before.grader
        assert len(engine.asked) == asked

    def test_another_question_is_tried_on_the_same_engine_and_the_rest_is_known(
        self, served: State, engine: HashEngine, mine: Path, safety: Policy
    ) -> None:
        starts, asked = 0, 0

        async def start() -> None:
            nonlocal starts
            starts += 1

        engine.start = start  # type: ignore[method-assign]

        def change() -> None:
            nonlocal asked
            asked = len(engine.asked)
            variant(mine.parent, "mine", edit=QUESTION)

        before = served.scorer
        after = self.scenario(served, change)
        assert after.grader is not before.grader
        assert starts == 1
        tried = len(safety.file.propositions) + len(safety.categories)
        again = 1  # the edited question about the sample
        assert len(engine.asked) - asked == tried + again

    def test_an_engine_that_does_not_answer_leaves_the_old_one(
        self, served: State, engine: HashEngine, mine: Path
    ) -> None:
        def change() -> None:
            variant(mine.parent, "mine", edit=QUESTION)
            engine.gate.clear()

        before = served.scorer
        served.in_force = served.settings.model_copy(update={"grader_deadline": 0.2})
        with pytest.raises(ReloadError, match=r"not ready within 0\.2 s"):
            self.scenario(served, change)
        assert served.scorer is before

    def test_an_engine_that_fails_leaves_the_old_one(
        self, served: State, engine: HashEngine, mine: Path
    ) -> None:
        def change() -> None:
            variant(mine.parent, "mine", edit=QUESTION)
            engine.fault_after = 0

        before = served.scorer
        with pytest.raises(ReloadError, match="the engine failed") as caught:
            self.scenario(served, change)
        assert caught.value.details["cause"] == "grader_failed"
        assert served.scorer is before
