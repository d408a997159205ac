"""One sample over the wire as the run will send it, on a connection of its own, tried once.

    Sample -> POST /get_reward, the key as the run's client sends it -> Reward, or why there is none

OpenRLHF's client opens a session for each sample, and takes the key from the URL as Basic authentication.
"""

import time
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import aiohttp

from rbr_trainer.address import Address
from rbr_trainer.answers import Reward, rewarded
from rbr_trainer.client import Client, Patience
from rbr_trainer.errors import Refused, ServiceError, Unavailable


@dataclass(frozen=True)
class Sample:
    """What a trainer has of one completion: `query` is prompt and completion as text."""

    query: str
    prompt: str
    label: Any

    @property
    def body(self) -> dict[str, list[Any]]:
        """As OpenRLHF sends it."""
        return {"query": [self.query], "prompts": [self.prompt], "labels": [self.label]}


@dataclass(frozen=True)
class Sent:
    """How a sample fared: its reward, or why there is none, and the seconds that took."""

    seconds: float
    reward: Reward | None
    error: ServiceError | None = None


def patient(address: Address, seconds: float) -> Client:
    """A client that waits so long for an answer, and tries once."""
    return Client((address,), Patience(total=0.0, answer=seconds))


async def send(address: Address, client: Literal["agent", "plain"], sample: Sample, seconds: float) -> Sent:
    """Send a sample and wait `seconds` at most."""
    begin = time.monotonic()
    try:
        if client == "plain":
            reward = await _plain(address, sample, seconds)
        else:
            async with patient(address, seconds) as own:
                reward = await own.rewards(sample.query, sample.prompt, sample.label)
    except ServiceError as error:
        return Sent(time.monotonic() - begin, None, error)
    return Sent(time.monotonic() - begin, reward)


async def _plain(address: Address, sample: Sample, seconds: float) -> Reward:
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{with_key(address)}/get_reward", json=sample.body) as response,
        ):
            answer = await response.json(content_type=None)
            if response.status != 200:
                raise _refusal(address, response.status, answer)
    except TimeoutError as error:
        raise Unavailable(f"{address.root}: no answer within {seconds:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"{address.root}: {error or type(error).__name__}") from error
    except UnicodeEncodeError as error:
        raise Refused(
            f"{address.root}: the key cannot be sent in a URL: choose one of ASCII letters"
        ) from error
    except ValueError as error:
        raise Refused(f"{address.root} does not answer in JSON: is it `rbr serve`?") from error
    return rewarded(answer, None)


def with_key(address: Address) -> str:
    """The root URL with the key in it, as OpenRLHF's client needs it."""
    if not address.key:
        return address.root
    scheme, _, rest = address.root.partition("://")
    return f"{scheme}://rbr:{quote(address.key, safe='')}@{rest}"


def _refusal(address: Address, status: int, answer: Any) -> Refused:
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return Refused(f"{address.root}/get_reward answered {status}", status)
    code = str(error.get("code", ""))
    return Refused(
        f"{address.root}/get_reward answered {status} {code}: {error.get('message', '')}", status, code
    )
