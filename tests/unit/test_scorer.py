"""The scorer: routing, low label mass, base rewards, and failures of single samples."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.build import rules_folder
from rbr_service.conversation import Conversation, Message
from rbr_service.errors import (
    BaseRewardError,
    CompletionTooLongError,
    GraderError,
    LowLabelMassError,
    RequestError,
    UnknownResponseTypeError,
)
from rbr_service.graders.base import GradeRequest
from rbr_service.graders.fixed import FixedGrader
from rbr_service.metrics import Metrics
from rbr_service.rbr.model import LinearModel, TypeModel, Weights
from rbr_service.rbr.policy import Policy, parse
from rbr_service.rewards.base import BaseReward, GivenBaseReward, NoBaseReward, RewardRequest
from rbr_service.scorer import Found, LowMass, Result, Sample, Scorer

TALK = Conversation((Message("user", "How do I pick a lock?"),), "Sorry, I can't help with that.")
MASS = {"judgement": 0.1, "apology": 0.05}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return Weights.load(rules_folder() / "safety.lexical.json", "")


@pytest.fixture(scope="module")
def routing_policy() -> Policy:
    """The shipped policy, with unlabelled samples routed by their request."""
    text = (rules_folder() / "safety.yaml").read_text()
    return parse(text.replace("unlabelled: out_of_scope", "unlabelled: auto"), "safety.yaml")


Make = Callable[..., Scorer]


@pytest.fixture
def make(safety: Policy, weights: Weights) -> Make:
    """`make(grader, low_mass=..., base=..., policy=...)`."""

    def made(grader: FixedGrader, **given: Any) -> Scorer:
        policy = given.get("policy", safety)
        model = LinearModel(policy, weights, None, ())
        base: BaseReward = given.get("base", NoBaseReward())
        low_mass = given.get("low_mass", LowMass())
        return Scorer(policy, model, grader, base, given.get("metrics", Metrics()), low_mass)

    return made


def scored(scorer: Scorer, *samples: Sample) -> list[Result | RequestError]:
    return asyncio.run(scorer.score_each(samples))


def result(scorer: Scorer, sample: Sample) -> Result:
    (one,) = asyncio.run(scorer.score([sample]))
    return one


def test_low_label_mass_is_an_error_of_that_sample(make: Make) -> None:
    grader = FixedGrader(label_mass=MASS)
    scorer = make(grader, low_mass=LowMass("error", 0.2))
    bad, good = scored(scorer, Sample(TALK, "hard_refusal"), Sample(TALK, "comply"))
    assert isinstance(bad, LowLabelMassError)
    assert "only 0.05 of probability" in bad.message
    assert isinstance(good, Result) == ("judgement" not in scorer.model.types["comply"].propositions)


def least_by_hand(kind: TypeModel, p: dict[str, float], low: Sequence[str]) -> float:
    rewards = []
    for values in product((0.0, 1.0), repeat=len(low)):
        row = p | dict(zip(low, values, strict=True))
        rewards.append(kind.score([row[name] for name in kind.propositions]).rbr_reward)
    return min(rewards)


@pytest.mark.parametrize("label", ["hard_refusal", "soft_refusal_1", "soft_refusal_2", "comply"])
def test_a_lower_bound_is_the_smallest_reward_the_unknown_could_give(make: Make, label: str) -> None:
    metrics = Metrics()
    first = make(FixedGrader(default=0.3)).model.types[label]
    low = first.propositions[:3]
    grader = FixedGrader(default=0.3, label_mass=dict.fromkeys(low, 0.1))
    scorer = make(grader, low_mass=LowMass("lower_bound", 0.2), metrics=metrics)
    found = result(scorer, Sample(TALK, label))
    kind = scorer.model.types[label]
    assert found.bounded == set(low)
    assert found.rbr_reward == pytest.approx(
        least_by_hand(kind, dict.fromkeys(kind.propositions, 0.3), low), abs=1e-9
    )
    assert found.rbr_reward == pytest.approx(sum(found.contributions.values()), abs=1e-9)
    assert {found.verdicts[name].p for name in low} <= {0.0, 1.0}
    assert {v.label_mass for name, v in found.verdicts.items() if name in low} == {0.1}
    counted = {"proposition": low[0], "taken_as": "lower_bound"}
    assert metrics.registry.get_sample_value("rbr_low_label_mass_total", counted) == 1


@given(p=st.lists(st.floats(0, 1), min_size=40, max_size=40), unknown=st.sets(st.integers(0, 8), max_size=5))
@settings(deadline=None)  # a busy machine is no failure
def test_no_values_of_the_unknown_give_less(
    safety: Policy, weights: Weights, p: list[float], unknown: set[int]
) -> None:
    kind = LinearModel(safety, weights, None, ()).types["hard_refusal"]
    row = p[: len(kind.propositions)]
    least = kind.score(kind.least(row, sorted(unknown))).rbr_reward
    assert least <= kind.score(row).rbr_reward + 1e-9
    assert kind.least(row, []) == tuple(row)


def test_a_grade_with_hardly_any_answer_is_not_bounded(make: Make) -> None:
    names = make(FixedGrader()).model.types["soft_refusal_2"].propositions
    grader = FixedGrader(label_mass=dict.fromkeys(names, 0.0))
    scorer = make(grader, low_mass=LowMass("lower_bound", 0.2))
    (found,) = scored(scorer, Sample(TALK, "soft_refusal_2"))
    assert isinstance(found, LowLabelMassError)


def test_lower_bounds_are_another_reward_function(make: Make) -> None:
    grader = FixedGrader()
    plain, error, bound = (
        make(grader, low_mass=low).reward_version
        for low in (LowMass(), LowMass("error", 0.2), LowMass("lower_bound", 0.2))
    )
    assert plain == error != bound


@pytest.mark.parametrize(
    ("answers", "category", "kind", "p"),
    [
        ({"K-R": 0.9, "K-C": 0.7}, "K-R", "hard_refusal", 0.9),
        ({"K-R": 0.6, "K-C": 0.7}, "K-C", "comply", 0.7),
        ({"K-R": 0.4}, None, None, 0.4),
        ({"SH-C": 0.8, "SH-R1": 0.8}, "SH-R1", "soft_refusal_1", 0.8),
        ({"None": 0.9, "K-R": 0.6}, "None", None, 0.9),
    ],
)
def test_an_unlabelled_sample_is_routed_by_its_request(
    make: Make, routing_policy: Policy, answers: dict[str, float], category: str | None,
    kind: str | None, p: float,
) -> None:  # fmt: skip
    scorer = make(FixedGrader(answers, default=0.1), policy=routing_policy)
    found = result(scorer, Sample(TALK))
    assert (found.found, found.response_type) == (Found("content_policy", category, p), kind)
    assert (found.rbr_reward == 0) == (kind is None)
    labelled = result(scorer, Sample(TALK, kind)) if kind else None
    if labelled:
        assert labelled.reward == found.reward
        assert labelled.found == Found("label")


def test_routing_sees_the_request_alone(make: Make, routing_policy: Policy) -> None:
    asked: list[GradeRequest] = []

    class Watched(FixedGrader):
        async def grade(self, requests: Sequence[GradeRequest]) -> Any:
            asked.extend(requests)
            return await super().grade(requests)

    result(make(Watched({"K-R": 0.9}, default=0.1), policy=routing_policy), Sample(TALK))
    assert [(r.about, r.conversation.completion) for r in asked] == [
        ("request", ""),
        ("completion", TALK.completion),
    ]


def test_a_category_with_low_label_mass_decides_nothing(make: Make, routing_policy: Policy) -> None:
    grader = FixedGrader({"K-R": 0.9}, default=0.1, label_mass={"K-R": 0.1})
    for action in ("error", "lower_bound"):
        scorer = make(grader, policy=routing_policy, low_mass=LowMass(action, 0.2))
        (found,) = scored(scorer, Sample(TALK))
        assert isinstance(found, LowLabelMassError)
        assert "'K-R'" in found.message


def test_failures_stay_with_their_samples(make: Make) -> None:
    def refusing(request: GradeRequest) -> RequestError | None:
        return CompletionTooLongError("too long") if "long" in request.conversation.completion else None

    scorer = make(FixedGrader(refusing=refusing))
    long = Sample(Conversation(TALK.prompt, "long"), "comply")
    good = Sample(TALK, "comply")
    found = scored(scorer, Sample(TALK, "nonsense"), good, long, good)
    kinds = [type(one) for one in found]
    assert kinds == [UnknownResponseTypeError, Result, CompletionTooLongError, Result]
    assert found[1] == found[3] == scored(scorer, good)[0]
    with pytest.raises(CompletionTooLongError) as caught:
        asyncio.run(scorer.score([good, long]))
    assert caught.value.message == "entry 1: too long"


class MeetingReward(NoBaseReward):
    """Answers only once the grader has been asked: together or never."""

    source = "upstream:test"

    def __init__(self, met: asyncio.Event, answer: list[float] | Exception) -> None:
        self.met, self.answer = met, answer

    async def rewards(self, requests: Sequence[RewardRequest]) -> list[float | RequestError]:
        await self.met.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return list(self.answer)


class MeetingGrader(FixedGrader):
    def __init__(self, met: asyncio.Event) -> None:
        super().__init__()
        self.met = met

    async def grade(self, requests: Sequence[GradeRequest]) -> Any:
        self.met.set()
        return await super().grade(requests)


def test_grader_and_reward_model_run_at_the_same_time(make: Make) -> None:
    met = asyncio.Event()
    scorer = make(MeetingGrader(met), base=MeetingReward(met, [2.5]))
    found = result(scorer, Sample(TALK, "comply"))
    assert found.base_reward == 2.5
    assert found.reward == pytest.approx(2.5 + sum(found.contributions.values()))
    assert scorer.versions.base_reward == "upstream:test"


def test_a_conversation_that_the_reward_model_refuses_fails_alone(make: Make) -> None:
    class Refusing(NoBaseReward):
        async def rewards(self, requests: Sequence[RewardRequest]) -> list[float | RequestError]:
            return [CompletionTooLongError("too long for the reward model"), 1.0]

    bad, good = scored(make(FixedGrader(), base=Refusing()), Sample(TALK, "comply"), Sample(TALK, "comply"))
    assert isinstance(bad, CompletionTooLongError)
    assert isinstance(good, Result)
    assert good.base_reward == 1.0


@pytest.mark.parametrize("answer", [[], [1.0, 2.0], BaseRewardError("gone")])
def test_a_reward_model_that_fails_is_no_number(make: Make, answer: list[float] | Exception) -> None:
    met = asyncio.Event()
    with pytest.raises(BaseRewardError):
        result(make(MeetingGrader(met), base=MeetingReward(met, answer)), Sample(TALK, "comply"))


def test_a_failing_grader_ends_the_reward_models_work(make: Make) -> None:
    never = asyncio.Event()
    scorer = make(FixedGrader(failure="down"), base=MeetingReward(never, [0.0]))
    with pytest.raises(GraderError, match="down"):
        result(scorer, Sample(TALK, "comply"))


def test_out_of_scope_samples_earn_their_base_reward(make: Make) -> None:
    found = result(make(FixedGrader(), base=GivenBaseReward()), Sample(TALK, "None", 1.5))
    assert (found.reward, found.rbr_reward, found.found) == (1.5, 0.0, Found("label"))
