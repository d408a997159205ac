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
    `content`: the policy itself, as its file has it. Of it, `aliases`: other name -> response type,
    `content_policy`: category -> response type or "out_of_scope", `metrics`: unsafe or overrefusal ->
    response type -> classes that count as such.
    """

    fault: str
    policy: str
    reward_version: str
    base_reward: str
    mismatches: tuple[str, ...]
    ranges: Mapping[str, Range]
    content: Mapping[str, Any]

    @property
    def response_types(self) -> tuple[str, ...]:
        """The wanted ways of answering."""
        return tuple(self.content["response_types"])

    @property
    def aliases(self) -> dict[str, str]:
        """Other names of the response types."""
        kinds = self.content["response_types"].items()
        return {str(alias): str(name) for name, kind in kinds for alias in kind["aliases"]}

    @property
    def content_policy(self) -> dict[str, str]:
        """What each category's requests are to be answered with."""
        kinds = self.content["content_policy"].items()
        return {str(name): str(category["response_type"]) for name, category in kinds}

    @property
    def metrics(self) -> Mapping[str, Mapping[str, list[str]]]:
        """The classes that count as unsafe and as overrefusal."""
        found: Mapping[str, Mapping[str, list[str]]] = self.content["metrics"]
        return found


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
    made = Service(
        fault="" if ready["status"] == "ready" else str(ready["reason"] or ready["status"]),
        policy=str(policy["policy"]),
        reward_version=str(policy["reward_version"]),
        base_reward=str(ready["versions"]["base_reward"]),
        mismatches=tuple(map(str, policy["accepted_mismatches"])),
        ranges={str(name): _range(found) for name, found in policy["reward_range"].items()},
        content=dict(policy["content"]),
    )
    _ = made.response_types, made.aliases, made.content_policy, made.metrics  # raises where one is not there
    return made


def _range(found: Mapping[str, Any]) -> Range:
    made = Range(float(found["low"]), float(found["high"]))
    if not all(map(isfinite, made)):
        raise ValueError("a range is not finite")
    return made
