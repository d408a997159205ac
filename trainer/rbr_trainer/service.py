"""What the reward service says of itself.

    URL, key -> GET /readyz, GET /v1/policy -> Service, or the ServiceError that says why not

The standard library does: this runs in the trainer's environment. Proxies are passed by, as OpenRLHF's
client passes them by, so that what is reached here is what the run will reach.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from math import isfinite
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

PATIENCE = 30.0  # seconds for one answer
REWARD_PATH = re.compile(r"/(get_reward|score|slime|v1/score)?/*$")


class ServiceError(Exception):
    """The service cannot be used; the message is one sentence a person can act on."""


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


@dataclass(frozen=True)
class Address:
    """Where a service is, and the key it demands, if any."""

    root: str
    key: str | None

    @classmethod
    def parse(cls, url: str, key: str | None = None) -> "Address":
        """From the URL that the trainer is given: a reward path and `user:KEY@` may be in it.

        `key` wins over the URL's. Raises ValueError.
        """
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
        if parts.scheme not in ("http", "https") or not parts.hostname or "," in url:
            raise ValueError("is not the URL of one service, such as http://127.0.0.1:8000")
        in_url = unquote(parts.password or parts.username or "")
        path = REWARD_PATH.sub("", parts.path)
        return cls(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}", key or in_url or None)

    def get(self, path: str) -> Any:
        """The JSON of a GET; a 503 is an answer too. Raises ServiceError."""
        request = Request(self.root + path, headers={"X-API-Key": self.key} if self.key else {})
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
                status, body = 200, answer.read()
        except HTTPError as error:
            with error:
                status, body = error.code, error.read()
        except (OSError, HTTPException) as error:
            why = getattr(error, "reason", error)
            raise ServiceError(
                f"nothing answers at {self.root}: {why}; start it with `rbr serve`, or mend the URL"
            ) from error
        return self._read(path, status, body)

    def _read(self, path: str, status: int, body: bytes) -> Any:
        if status == 401:
            given = "refuses the one" if self.key else "none was"
            raise ServiceError(
                f"{self.root} demands an API key and {given} given: set RBR_API_KEY to the service's "
                "(OpenRLHF sends it from --reward.remote_url http://user:KEY@host:port/get_reward)"
            )
        try:
            answer = json.loads(body) if status in (200, 503) else None
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ServiceError(
                f"{self.root}{path} does not answer as a reward service (status {status}): "
                "is the URL that of `rbr serve`?"
            )
        return answer


def ask(address: Address) -> Service:
    """The service at an address, ready or not. Raises ServiceError."""
    ready, policy = address.get("/readyz"), address.get("/v1/policy")
    try:
        return Service(
            fault="" if ready["status"] == "ready" else str(ready["reason"] or ready["status"]),
            policy=str(policy["policy"]),
            reward_version=str(policy["reward_version"]),
            base_reward=str(ready["versions"]["base_reward"]),
            mismatches=tuple(map(str, policy["accepted_mismatches"])),
            ranges={str(name): _range(found) for name, found in policy["reward_range"].items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ServiceError(
            f"{address.root} answers, but not as this rbr-train expects ({error!r}): install one version of "
            "rule-based-rewards on both sides"
        ) from error


def _range(found: Mapping[str, Any]) -> Range:
    made = Range(float(found["low"]), float(found["high"]))
    if not all(map(isfinite, made)):
        raise ValueError("a range is not finite")
    return made
