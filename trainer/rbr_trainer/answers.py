"""What the reward service answers, checked before anything is learnt from it.

    JSON of /get_reward for one sample -> Reward
    JSON of /v1/score for some samples -> the same, known to be whole

An answer that is not finite, not of the right length or not of the wanted version is no answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from rbr_trainer.errors import Unsound

Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Share = Annotated[Number, Field(ge=0, le=1)]
One = Annotated[list[Number], Field(min_length=1, max_length=1)]
Version = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Reward:
    """One sample's reward, its score in [0, 1], curves for the trainer's log, and the reward's version."""

    reward: float
    score: float
    extra_logs: Mapping[str, float]
    version: str


class _ForOne(BaseModel):
    rewards: One
    scores: Annotated[list[Share], Field(min_length=1, max_length=1)]
    extra_logs: dict[str, One]
    reward_version: Version


class _Result(BaseModel):
    id: str | int | None = None
    reward: Number
    base_reward: Number
    rbr_reward: Number
    score: Share


class _Scored(BaseModel):
    results: list[_Result]
    reward_version: Version


M = TypeVar("M", bound=BaseModel)


def rewarded(answer: Any, version: str | None) -> Reward:
    """The reward in what /get_reward answered for one sample. Raises Unsound."""
    found = _checked(_ForOne, answer)
    _of_version(found.reward_version, version)
    logs = {name: value for name, (value,) in found.extra_logs.items()}
    return Reward(found.rewards[0], found.scores[0], logs, found.reward_version)


def scored(answer: Any, samples: Sequence[Mapping[str, Any]], version: str | None) -> dict[str, Any]:
    """What /v1/score answered, as it came: one sound result for each sample, in order. Raises Unsound."""
    found = _checked(_Scored, answer)
    _of_version(found.reward_version, version)
    asked = [sample.get("id") for sample in samples]
    if [result.id for result in found.results] != asked:
        raise Unsound(
            f"the service answered {len(found.results)} results for {len(asked)} samples, or in another order"
        )
    whole: dict[str, Any] = answer
    return whole


def _checked(shape: type[M], answer: Any) -> M:
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise Unsound(
            f"the service answered with what is no reward: {place}: {first['msg']}; install one version of "
            "rule-based-rewards on both sides"
        ) from error


def _of_version(found: str, wanted: str | None) -> None:
    if wanted and found != wanted:
        raise Unsound(
            f"the service now rewards by version {found}, and this run by {wanted}: serve the policy, "
            "weights and grader that it began with, or begin anew (RBR_REWARD_VERSION)"
        )
