"""The road that all scoring routes share, from samples to results.

pins -> the scorer in force -> work, joined where the same is in flight -> results
     -> the score log, the last scores
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from rbr_service.errors import RewardVersionError, UnknownPolicyError
from rbr_service.reading import Reader
from rbr_service.schemas import ScoreRequest
from rbr_service.scorer import Result, Sample, Scorer
from rbr_service.state import State

VERSION = "X-RBR-Reward-Version"
Ids = Sequence[str | int | None]


@dataclass(frozen=True)
class Scoring:
    """Scores for requests; each reads the scorer in force once and keeps it to its end."""

    state: State
    reader: Reader

    def in_force(self, response: Response, *pins: str | None) -> Scorer:
        """The scorer of one request, from its first step to its answer. Raises RewardVersionError."""
        scorer = self.state.scorer
        for pin in pins:
            if pin is not None and pin != scorer.reward_version:
                raise RewardVersionError(
                    f"the request is pinned to the reward version {pin[:80]!r}; "
                    f"in force is {scorer.reward_version}",
                    {"reward_version": scorer.reward_version},
                )
        response.headers[VERSION] = scorer.reward_version
        return scorer

    async def results(
        self, scorer: Scorer, samples: Sequence[Sample], request: Request, ids: Ids = ()
    ) -> list[Result]:
        """One result per sample, in order. Raises RBRError, ClientGoneError."""
        key = (scorer.reward_version, tuple(samples))
        results = await self.state.work.result(key, lambda: scorer.score(samples), request.is_disconnected)
        if self.state.log:
            self.state.log.put(samples, results, scorer, ids)
        self.state.recent.put(samples, results, scorer)
        return results

    async def v1(
        self, body: ScoreRequest, request: Request, response: Response, pin: str | None
    ) -> tuple[Ids, list[Result], Scorer]:
        """Ids and results of a /v1/score body, and what made them. Raises RBRError, ClientGoneError."""
        scorer = self.in_force(response, pin, body.reward_version)
        if body.policy is not None and body.policy != scorer.policy.name:
            raise UnknownPolicyError(
                f"this service serves the policy {scorer.policy.name!r}, not {body.policy[:80]!r}"
            )
        ids = [sample.id for sample in body.samples]
        return ids, await self.results(scorer, self.reader.v1(body.samples), request, ids), scorer
