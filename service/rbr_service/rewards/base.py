"""What every source of base rewards promises: R_rm for each conversation, or an error.

    [RewardRequest(conversation, given)] -> [float, or the RequestError that says why not]

R_tot = R_rm + R_rbr, the RM on every prompt (paper, section on the combined reward).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rbr_service.conversation import Conversation
from rbr_service.errors import NoBaseRewardError, RequestError


@dataclass(frozen=True, slots=True)
class RewardRequest:
    """A conversation, and the base reward that its label or sample brought, if any."""

    conversation: Conversation
    given: float | None = None


class BaseReward(Protocol):
    """A source of base rewards."""

    @property
    def source(self) -> str:
        """What weights are bound to: none, given, or kind:model@encoder."""

    def require(self, given: float | None) -> None:
        """Refuse a sample before anything is graded. Raises NoBaseRewardError."""

    async def start(self) -> None:
        """Reach and check the model. Raises BaseRewardError."""

    async def rewards(self, requests: Sequence[RewardRequest]) -> list[float | RequestError]:
        """One finite reward per request, in order, or why that one has none. Raises BaseRewardError."""

    async def check(self) -> None:
        """Return when able to answer. Raises BaseRewardError."""

    async def close(self) -> None:
        """Give back what `start` took."""


class _Local:
    """A source that asks nobody."""

    async def start(self) -> None:
        """Nothing to reach."""

    async def check(self) -> None:
        """Always able."""

    async def close(self) -> None:
        """Nothing to give back."""


class NoBaseReward(_Local):
    """R_rm = 0: the RBR alone."""

    source = "none"

    def require(self, given: float | None) -> None:
        """Nothing is needed; a base reward that a sample brings is not used."""

    async def rewards(self, requests: Sequence[RewardRequest]) -> list[float | RequestError]:
        """Zeros."""
        return [0.0] * len(requests)


class GivenBaseReward(_Local):
    """R_rm comes with each sample or its label."""

    source = "given"

    def require(self, given: float | None) -> None:
        """Refuse a sample without one. Raises NoBaseRewardError."""
        if given is None:
            raise _missing()

    async def rewards(self, requests: Sequence[RewardRequest]) -> list[float | RequestError]:
        """What was given."""
        return [_missing() if request.given is None else request.given for request in requests]


def _missing() -> NoBaseRewardError:
    return NoBaseRewardError(
        "the base reward is configured as 'given' and this sample brings none: put base_reward "
        "into the sample or its label, or start with --base-reward none"
    )
