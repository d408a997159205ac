"""Samples to rewards: the six steps of a score call after the route has cut out the completion.

[Sample] -> response types -> one grade call for all, base rewards meanwhile -> features
         -> linear model -> [Result, or the RequestError that says why not]
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from rbr_service.conversation import Conversation
from rbr_service.errors import (
    BaseRewardError,
    GraderError,
    GraderTimeoutError,
    LowLabelMassError,
    NoResponseTypeError,
    RequestError,
    whole,
)
from rbr_service.graders.base import NO_CUTS, Cuts, Grade, Grader, GradeRequest, Verdict
from rbr_service.metrics import Metrics
from rbr_service.rbr.model import LinearModel, TypeModel
from rbr_service.rbr.policy import Policy, Route, digest
from rbr_service.rewards.base import BaseReward, RewardRequest
from rbr_service.together import together

# A completion outside the policy's scope says nothing about its class; strictly inside (0, 1), so
# that a trainer's dynamic filtering on `score` neither drops nor prefers it.
NEUTRAL_SCORE = 0.5
MASS_ROUNDING = 1e-3  # a sum of bf16 probabilities may pass 1 by so much
MOST_UNKNOWN = 12  # propositions without an answer, beyond which a grade says too little to bound


@dataclass(frozen=True, slots=True)
class Sample:
    """What is asked: a conversation, what its label names, and the base reward if one was given."""

    conversation: Conversation
    label: str | None = None
    base_reward: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """How a sample's response type was found, and with what probability where the grader chose it."""

    by: Literal["label", "unlabelled", "content_policy"]
    category: str | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A sample's reward and every term of it. `response_type` None: out of the policy's scope."""

    base_reward: float
    rbr_reward: float
    score: float
    found: Found
    response_type: str | None = None
    class_probabilities: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    contributions: dict[str, float] = field(default_factory=dict)
    bounded: frozenset[str] = frozenset()
    cuts: Cuts = NO_CUTS

    @property
    def reward(self) -> float:
        """R_tot = R_rm + R_rbr."""
        return self.base_reward + self.rbr_reward

    @property
    def label_mass_min(self) -> float:
        """The least label mass of its verdicts; 1 where nothing was asked."""
        return min((v.label_mass for v in self.verdicts.values()), default=1.0)


@dataclass(frozen=True)
class Versions:
    """What a reward depends on; `reward_version` is their hash."""

    policy: str
    weights: str
    calibration: str
    grader: str
    base_reward: str

    @property
    def reward_version(self) -> str:
        """One name for the whole reward function."""
        return digest([self.policy, self.weights, self.calibration, self.grader, self.base_reward])


@dataclass(frozen=True, slots=True)
class LowMass:
    """What becomes of a verdict whose label mass is below `limit`."""

    action: Literal["error", "lower_bound"] = "error"
    limit: float = 0.0


class _Plan:
    """One sample on its way: its model once the type is known, or its failure."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.kind: TypeModel | None = None
        self.found = Found("label")
        self.base = 0.0
        self.grade: Grade | None = None
        self.routing_cuts = NO_CUTS
        self.failure: RequestError | None = None


class Scorer:
    """A policy, its weights, a grader and a source of base rewards, ready to score."""

    def __init__(
        self, policy: Policy, model: LinearModel, grader: Grader, base: BaseReward, metrics: Metrics,
        low_mass: LowMass = LowMass(), deadline: float | None = None,
    ) -> None:  # fmt: skip
        """All parts are bound to each other by `build`; `deadline` in seconds for one call, all steps."""
        self.policy, self.model, self.grader, self.base = policy, model, grader, base
        self._metrics, self._low_mass, self._deadline = metrics, low_mass, deadline
        # These change rewards, and no P of a proposition, which is what weights are fitted to.
        bounds = f"+lower_bound:{low_mass.limit:g}" if low_mass.action == "lower_bound" else ""
        routing = f"+routing:{grader.routing}" if grader.routing and policy.undecided(None) else ""
        self.versions = Versions(
            policy.version,
            model.weights.version,
            model.calibration,
            grader.fingerprint + bounds + routing,
            base.source,
        )
        self.reward_version = self.versions.reward_version

    async def score(self, samples: Sequence[Sample]) -> list[Result]:
        """One result per sample, in order. Raises RequestError, GraderError, BaseRewardError."""
        return whole(await self.score_each(samples))

    async def score_each(self, samples: Sequence[Sample]) -> list[Result | RequestError]:
        """One result per sample, or why that sample has none. Raises GraderError, BaseRewardError."""
        plans = [self._plan(sample) for sample in samples]
        sound = [plan for plan in plans if not plan.failure]
        try:
            async with asyncio.timeout(self._deadline):
                await together([self._judge(sound), self._add_base(sound)])
        except TimeoutError as error:
            raise GraderTimeoutError(f"not scored within the deadline of {self._deadline:g} s") from error
        return [self._finish(plan) for plan in plans]

    def check(self, sample: Sample) -> None:
        """Refuse a sample before anything is graded. Raises RequestError."""
        failure = self._plan(sample).failure
        if failure:
            raise failure

    def _plan(self, sample: Sample) -> _Plan:
        plan = _Plan(sample)
        try:
            if self.policy.undecided(sample.label):
                if not sample.conversation.prompt:
                    raise NoResponseTypeError(
                        "the sample names no response type, and has no request to find one by"
                    )
                plan.found = Found("content_policy")
            else:
                kind = self.policy.resolve(sample.label)
                plan.kind = self.model.types[kind.name] if kind else None
                plan.found = Found("label" if sample.label and sample.label.strip() else "unlabelled")
            self.base.require(sample.base_reward)
        except RequestError as error:
            plan.failure = error
        return plan

    async def _judge(self, plans: Sequence[_Plan]) -> None:
        """Fill in response types that are still open, then grades."""
        undecided = [plan for plan in plans if plan.found.by == "content_policy"]
        asked = [
            GradeRequest(Conversation(plan.sample.conversation.prompt, ""), self.policy.categories, "request")
            for plan in undecided
        ]
        for plan, grade in zip(undecided, await self._grade(asked), strict=True):
            if isinstance(grade, RequestError):
                plan.failure = grade
            else:
                self._route(plan, grade)
        graded = [plan for plan in plans if plan.kind and not plan.failure]
        requests = [
            GradeRequest(plan.sample.conversation, plan.kind.propositions) for plan in graded if plan.kind
        ]
        for plan, grade in zip(graded, await self._grade(requests), strict=True):
            if isinstance(grade, RequestError):
                plan.failure = grade
            else:
                plan.grade = grade

    def _route(self, plan: _Plan, grade: Grade) -> None:
        plan.routing_cuts = grade.cuts
        for name, verdict in zip(self.policy.categories, grade.verdicts, strict=True):
            if verdict.label_mass < self._low_mass.limit:
                self._metrics.low_mass.labels(name, "error").inc()
                plan.failure = self._unusable(f"the category {name!r}", verdict)
                return
        route: Route = self.policy.route([verdict.p for verdict in grade.verdicts])
        plan.kind = self.model.types[route.response_type.name] if route.response_type else None
        plan.found = Found("content_policy", route.category, route.p)

    async def _add_base(self, plans: Sequence[_Plan]) -> None:
        asked = [RewardRequest(plan.sample.conversation, plan.sample.base_reward) for plan in plans]
        rewards = await self.base.rewards(asked) if asked else []
        if len(rewards) != len(asked):
            raise BaseRewardError(f"the reward model answered {len(rewards)} of {len(asked)} conversations")
        for plan, reward in zip(plans, rewards, strict=True):
            if isinstance(reward, RequestError):
                plan.failure = plan.failure or reward
            else:
                plan.base = reward

    async def _grade(self, asked: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        if not asked:
            return []
        begin = time.perf_counter()
        self._metrics.grader_calls.inc()
        grades = await self.grader.grade(asked)
        self._metrics.grader_seconds.observe(time.perf_counter() - begin)
        if len(grades) != len(asked):
            raise GraderError(f"the grader answered {len(grades)} of {len(asked)} completions")
        for request, grade in zip(asked, grades, strict=True):
            if isinstance(grade, Grade):
                _check(request, grade)
        return grades

    def _finish(self, plan: _Plan) -> Result | RequestError:
        if plan.failure:
            return plan.failure
        result = Result(plan.base, 0.0, NEUTRAL_SCORE, plan.found, cuts=self._cut(plan))
        if plan.kind and plan.grade:
            scored = self._result(result, plan.kind, plan.grade)
            if isinstance(scored, RequestError):
                return scored
            result = scored
        self._metrics.scored(
            result.reward, result.response_type, result.class_probabilities,
            reached=plan.kind.reached(result.rbr_reward) if plan.kind else None,
            characters=len(plan.sample.conversation.completion),
        )  # fmt: skip
        return result

    def _cut(self, plan: _Plan) -> Cuts:
        """What the prompts about a sample, those that found its type included, had no room for."""
        both = [plan.routing_cuts, plan.grade.cuts if plan.grade else NO_CUTS]
        cuts = max(both, key=lambda one: one.tokens)
        if cuts.tokens:
            self._metrics.cuts.inc()
            self._metrics.cut_tokens.inc(cuts.tokens)
        return cuts

    def _result(self, empty: Result, kind: TypeModel, grade: Grade) -> Result | RequestError:
        names, verdicts = kind.propositions, grade.verdicts
        p: Sequence[float] = kind.calibrated([verdict.p for verdict in verdicts])
        self._metrics.judged(
            kind.response_type.name,
            ((n, q, v.label_mass) for n, q, v in zip(names, p, verdicts, strict=True)),
        )
        low = [i for i, verdict in enumerate(verdicts) if verdict.label_mass < self._low_mass.limit]
        if low:
            bounded = self._low_mass.action == "lower_bound" and len(low) <= MOST_UNKNOWN
            for i in low:
                self._metrics.low_mass.labels(names[i], "lower_bound" if bounded else "error").inc()
            if not bounded:
                return self._unusable(f"{names[low[0]]!r} (and {len(low) - 1} more)", verdicts[low[0]])
            p = kind.least(p, low)
        scored = kind.score(p)
        return replace(
            empty, rbr_reward=scored.rbr_reward, score=scored.p_best, response_type=kind.response_type.name,
            class_probabilities=scored.class_probabilities, contributions=scored.contributions,
            verdicts={n: replace(v, p=used) for n, v, used in zip(names, verdicts, p, strict=True)},
            bounded=frozenset(names[i] for i in low),
        )  # fmt: skip

    def _unusable(self, what: str, verdict: Verdict) -> LowLabelMassError:
        return LowLabelMassError(
            f"asked about {what}, the grader put only {verdict.label_mass:.2g} of probability on yes and no "
            f"(limit {self._low_mass.limit:g}): trying again gives the same; --on-low-mass lower_bound "
            f"scores up to {MOST_UNKNOWN} such propositions at their worst"
        )


def _check(request: GradeRequest, grade: Grade) -> None:
    if len(grade.verdicts) != len(request.questions):
        raise GraderError(
            f"the grader answered {len(grade.verdicts)} of {len(request.questions)} propositions"
        )
    for name, verdict in zip(request.questions, grade.verdicts, strict=True):
        if not (0.0 <= verdict.p <= 1.0 and 0.0 <= verdict.label_mass <= 1.0 + MASS_ROUNDING):
            raise GraderError(f"the grader's answer about {name!r} is not a probability")
