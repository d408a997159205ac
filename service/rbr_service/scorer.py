"""Samples to rewards: the six steps of a score call after the route has cut out the completion.

[Sample] -> response types -> one grade call for all -> features -> linear model -> [Result]
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rbr_service.conversation import Conversation
from rbr_service.errors import GraderError, NoBaseRewardError, entry
from rbr_service.graders.base import Grader, GradeRequest, Verdict
from rbr_service.metrics import Metrics
from rbr_service.rbr.model import LinearModel, TypeModel
from rbr_service.rbr.policy import Policy, digest

# A completion outside the policy's scope says nothing about its class; strictly inside (0, 1), so
# that a trainer's dynamic filtering on `score` neither drops nor prefers it.
NEUTRAL_SCORE = 0.5
MASS_ROUNDING = 1e-3  # a sum of bf16 probabilities may pass 1 by so much


@dataclass(frozen=True, slots=True)
class Sample:
    """What is asked: a conversation, what its label names, and the base reward if one was given."""

    conversation: Conversation
    label: str | None = None
    base_reward: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A sample's reward and every term of it. `response_type` None: out of the policy's scope."""

    base_reward: float
    rbr_reward: float
    score: float
    response_type: str | None = None
    class_probabilities: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    contributions: dict[str, float] = field(default_factory=dict)

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


class Scorer:
    """A policy, its weights and a grader, ready to score."""

    def __init__(
        self, policy: Policy, model: LinearModel, grader: Grader, base_reward: str, metrics: Metrics
    ) -> None:
        """`base_reward` is the source's name: none or given."""
        self.policy, self.model, self.grader = policy, model, grader
        self._metrics = metrics
        self.versions = Versions(
            policy.version,
            model.weights.version,
            model.weights.calibration,
            grader.fingerprint,
            base_reward,
        )
        self.reward_version = self.versions.reward_version

    async def score(self, samples: Sequence[Sample]) -> list[Result]:
        """One result per sample, in order.

        Raises UnknownResponseTypeError, NoResponseTypeError, NoBaseRewardError, GraderError.
        """
        plan = []
        for i, sample in enumerate(samples):
            with entry(i):
                plan.append(self.check(sample))
        asked = [
            GradeRequest(sample.conversation, kind.propositions)
            for sample, (kind, _) in zip(samples, plan, strict=True)
            if kind
        ]
        answers = iter(await self._grade(asked))
        results = []
        for kind, base in plan:
            result = self._result(kind, base, next(answers)) if kind else Result(base, 0.0, NEUTRAL_SCORE)
            self._metrics.scored(result.reward, result.response_type, result.class_probabilities)
            results.append(result)
        return results

    def check(self, sample: Sample) -> tuple[TypeModel | None, float]:
        """The model and base reward of a sample, before anything is graded. Raises RequestError."""
        return self._type(sample), self._base(sample)

    def _type(self, sample: Sample) -> TypeModel | None:
        kind = self.policy.resolve(sample.label)
        return self.model.types[kind.name] if kind else None

    def _base(self, sample: Sample) -> float:
        if self.versions.base_reward == "none":
            return 0.0
        if sample.base_reward is None:
            raise NoBaseRewardError(
                "the base reward is configured as 'given' and this sample brings none: put base_reward "
                "into the sample or its label, or start with --base-reward none"
            )
        return sample.base_reward

    async def _grade(self, asked: Sequence[GradeRequest]) -> list[tuple[Verdict, ...]]:
        if not asked:
            return []
        begin = time.perf_counter()
        self._metrics.grader_calls.inc()
        answers = await self.grader.grade(asked)
        self._metrics.grader_seconds.observe(time.perf_counter() - begin)
        if len(answers) != len(asked):
            raise GraderError(f"the grader answered {len(answers)} of {len(asked)} completions")
        for request, verdicts in zip(asked, answers, strict=True):
            if len(verdicts) != len(request.propositions):
                raise GraderError(
                    f"the grader answered {len(verdicts)} of {len(request.propositions)} propositions"
                )
            for name, verdict in zip(request.propositions, verdicts, strict=True):
                if not (0.0 <= verdict.p <= 1.0 and 0.0 <= verdict.label_mass <= 1.0 + MASS_ROUNDING):
                    raise GraderError(f"the grader's answer about {name!r} is not a probability")
        return answers

    def _result(self, kind: TypeModel, base: float, verdicts: tuple[Verdict, ...]) -> Result:
        p = [verdict.p for verdict in verdicts]
        self._metrics.judged(zip(kind.propositions, p, strict=True))
        scored = kind.score(p)
        return Result(
            base, scored.rbr_reward, scored.p_best, kind.response_type.name, scored.class_probabilities,
            dict(zip(kind.propositions, verdicts, strict=True)), scored.contributions,
        )  # fmt: skip
