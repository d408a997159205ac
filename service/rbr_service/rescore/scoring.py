"""Logged samples through a scorer: the same steps as when they were served, with verdicts from the log.

log row -> Recalled conversation, label, base reward -> Sample -> Scorer -> Change
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rbr_service.conversation import Message
from rbr_service.errors import RequestError
from rbr_service.graders.base import Subject, Verdict
from rbr_service.metrics import Metrics
from rbr_service.rescore.changes import Change, Outcome
from rbr_service.rescore.recall import WITHOUT_TEXT, LoggedReward, Recalled, RecallingGrader
from rbr_service.scorelog.columns import category_hashes
from rbr_service.scorelog.reader import Row
from rbr_service.scorer import LowMass, Result, Sample, Scorer


class OtherSourceError(RequestError):
    """A base reward from another source than the weights are bound to."""

    code = "other_base_reward"


class Rescorer:
    """A policy, weights and grader, as they would have scored what a log holds."""

    def __init__(self, scorer: Scorer, low_mass: LowMass, *, accept_mismatch: bool) -> None:
        """`scorer` need not be started. With `accept_mismatch` another grader's verdicts count, and base
        rewards of another source.
        """
        policy = scorer.policy
        self.grader = RecallingGrader(scorer.grader)
        self.foreign = 0  # rows whose verdicts another grader made
        self._accept = accept_mismatch
        self._asked: dict[Subject, Mapping[str, str]] = {
            "completion": policy.question_hashes,
            "request": category_hashes(policy),
        }
        base = LoggedReward(scorer.base.source)
        self.scorer = Scorer(policy, scorer.model, self.grader, base, Metrics(), low_mass)

    async def changes(self, rows: Sequence[Row]) -> list[Change]:
        """What becomes of each row, in order. Raises GraderError."""
        samples = [self._sample(row) for row in rows]
        sound = [sample for sample in samples if isinstance(sample, Sample)]
        results = iter(await self.scorer.score_each(sound))
        made = (next(results) if isinstance(sample, Sample) else sample for sample in samples)
        return [self._change(row, one) for row, one in zip(rows, made, strict=True)]

    def _sample(self, row: Row) -> Sample | RequestError:
        source = row["versions"]["base_reward"]
        if source != self.scorer.base.source and not self._accept:
            return OtherSourceError(
                f"its base reward is of the source {source!r}, the weights are bound to "
                f"{self.scorer.base.source!r}: repeat the service's --base-reward options, or accept it "
                "with --accept-mismatch"
            )
        known: dict[Subject, Mapping[str, Verdict]] = {
            "completion": self._known("completion", row["propositions"], row["fingerprint"]),
            "request": self._known("request", row["categories"], row["routing"]),
        }
        self.foreign += row["fingerprint"] != self.grader.fingerprint
        prompt: tuple[Message, ...] = WITHOUT_TEXT
        completion = ""
        if row["messages"] is not None:
            *turns, last = row["messages"]
            prompt = tuple(Message(turn["role"], turn["content"]) for turn in turns)
            completion = last["content"]
        conversation = Recalled(prompt, completion, known, row["messages"] is not None)
        return Sample(conversation, row["label"], row["base_reward"])

    def _known(self, about: Subject, logged: Mapping[str, Any], made_by: str) -> dict[str, Verdict]:
        """The logged verdicts that hold: of the same question, by the same grader."""
        own = self.grader.fingerprint if about == "completion" else self.grader.routing
        if made_by != own and not self._accept:
            return {}
        asked = self._asked[about]
        return {
            name: Verdict(verdict["raw"], verdict["label_mass"])
            for name, verdict in logged.items()
            if verdict["question"] == asked.get(name)
        }

    def _change(self, row: Row, made: Result | RequestError) -> Change:
        before = Outcome(
            row["response_type"], _best(row["class_probabilities"]), row["rbr_reward"], row["reward"],
            row["reward_version"],
        )  # fmt: skip
        place = (row["content"], row["id"], row["time"], before)
        if isinstance(made, RequestError):
            return Change(*place, None, made.code, made.message)
        best = _best(made.class_probabilities)
        version = self.scorer.reward_version
        return Change(*place, Outcome(made.response_type, best, made.rbr_reward, made.reward, version))


def _best(probabilities: Mapping[str, float]) -> str | None:
    return max(probabilities, key=probabilities.__getitem__) if probabilities else None
