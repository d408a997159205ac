"""What the reward service says of itself.

    Client -> GET /readyz, GET /v1/policy -> Service, or the ServiceError that says why not

One that cannot score answers too: why not is part of what it says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from rbr_trainer.client import Client
from rbr_trainer.errors import Unsound


class Range(NamedTuple):
    """The least and the greatest of something."""

    low: float
    high: float

    def within(self, other: "Range") -> bool:
        """Whether all of it lies inside the other."""
        return other.low <= self.low and self.high <= other.high

    def outside(self, other: "Range") -> float:
        """How much of its width lies outside the other."""
        below = max(0.0, min(self.high, other.low) - self.low)
        return below + max(0.0, self.high - max(self.low, other.high))


@dataclass(frozen=True)
class Service:
    """A service that answers; `fault` says why it cannot score now, "" where it can.

    `ranges`: by response type, the RBR rewards that completions can earn, base reward left out.
    """

    fault: str
    policy: str
    reward_version: str
    base_reward: str
    mismatches: tuple[str, ...]
    ranges: Mapping[str, Range]


async def ask(client: Client) -> Service:
    """The service that a client reaches, ready or not. Raises ServiceError."""
    (_, ready), (_, policy) = await client.get("/readyz"), await client.get("/v1/policy")
    try:
        return _service(ready, policy)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Unsound(
            f"{client.addresses[0].root} answers, but not as this rbr-train expects ({error!r}): install one "
            "version of rule-based-rewards on both sides"
        ) from error


def _service(ready: Any, policy: Any) -> Service:
    return Service(
        fault="" if ready["status"] == "ready" else str(ready["reason"] or ready["status"]),
        policy=str(policy["policy"]),
        reward_version=str(policy["reward_version"]),
        base_reward=str(ready["versions"]["base_reward"]),
        mismatches=tuple(map(str, policy["accepted_mismatches"])),
        ranges={str(name): _range(found) for name, found in policy["reward_range"].items()},
    )


def _range(found: Mapping[str, Any]) -> Range:
    made = Range(float(found["low"]), float(found["high"]))
    if not all(map(isfinite, made)):
        raise ValueError("a range is not finite")
    return made
