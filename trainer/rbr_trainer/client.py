"""The one HTTP client of all that asks the reward service.

    path, body -> one of several equal services, tried until one answers -> JSON
    (query, prompt, label) -> POST /get_reward -> Reward
    samples -> POST /v1/score -> its answer, checked

A fault is transient when the same call may succeed later: the connection broke, no answer came in time, or
the service said 408, 429 or 5xx (500 a few times). Then the next address has its turn; when each has had one,
the client waits, longer and longer, with full jitter, so that a thousand callers do not come back together.
Any other answer is final. Proxies are passed by, as OpenRLHF's client passes them by.
"""

import asyncio
import io
import json
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp

from rbr_trainer.address import Address
from rbr_trainer.answers import Reward, rewarded, scored
from rbr_trainer.errors import InputError, Refused, Unavailable, Unsound

CONNECT = 10.0  # seconds for a connection to open
SERVER_ERRORS = 3  # a 500 may be a service on its way out, or a fault of this very request
SHOWN = 500  # characters of what a service says, in a message

_log = logging.getLogger("rbr.client")


@dataclass(frozen=True)
class Patience:
    """How long a call goes on, in seconds.

    `total`: after it no further round of tries begins; each address gets one try at least.
    `answer`: for one answer. `first`, `longest`: the bounds of the waits between rounds, which double.
    """

    total: float = 900.0  # outlives the restart of a service that loads a model
    answer: float = 180.0  # the service itself gives up after 170
    first: float = 0.5
    longest: float = 30.0


TRAINING = Patience()
ASKING = Patience(total=0.0, answer=30.0)  # a person waits: one try at each address


class _Answer(NamedTuple):
    """What came over HTTP; `after` is the seconds that its Retry-After asks for."""

    status: int
    content: bytes
    after: float


class _Transient(Exception):  # noqa: N818 - never leaves this file
    """The same call may succeed later."""

    def __init__(self, fault: str, status: int = 0, after: float = 0.0) -> None:
        super().__init__(fault)
        self.status, self.after = status, after


class Client:
    """Calls one of several equal services: `async with Client(addresses) as client: ...`."""

    def __init__(
        self,
        addresses: Sequence[Address],
        patience: Patience = TRAINING,
        *,
        version: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`version`: the only reward version that is accepted. Raises InputError without an address."""
        if not addresses:
            raise InputError("no reward service is named: give its URL, such as http://127.0.0.1:8000")
        self.addresses = tuple(addresses)
        self.version = version
        self._patience = patience
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self._next = int(draw(0, len(self.addresses))) % len(self.addresses)
        self._down: set[str] = set()
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The client that a training run's environment describes. Raises InputError.

        RBR_REWARD_URL: one URL or several, comma-separated; RBR_API_KEY: wins over a key in a URL;
        RBR_REWARD_PATIENCE: seconds in total; RBR_REWARD_VERSION: see `version`.
        """
        key, addresses = environ.get("RBR_API_KEY"), []
        urls = [url.strip() for url in environ.get("RBR_REWARD_URL", "").split(",") if url.strip()]
        if not urls:
            raise InputError(
                "RBR_REWARD_URL is not set in this process: give the service's URL, or several with commas "
                "(on a Ray cluster that runs already, in the job's runtime environment)"
            )
        for number, url in enumerate(urls, 1):
            try:
                addresses.append(Address.parse(url, key))
            except ValueError as error:  # the URL itself may hold a key
                raise InputError(f"RBR_REWARD_URL: number {number} of {len(urls)} {error}") from error
        patience = Patience(total=_seconds(environ.get("RBR_REWARD_PATIENCE") or str(TRAINING.total)))
        return cls(addresses, patience, version=environ.get("RBR_REWARD_VERSION") or None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the running event loop's connections; calls in flight fail."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session:
            await session.close()

    async def rewards(self, query: str, prompt: str, label: Any) -> Reward:
        """One sample's reward; `query` is prompt and completion as text. Raises ServiceError."""
        body = {"query": [query], "prompts": [prompt], "labels": [label]}
        return rewarded(await self.post("/get_reward", body), self.version)

    async def score(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The answer of /v1/score to its `samples`: one result each, in order. Raises ServiceError."""
        return scored(await self.post("/v1/score", {"samples": list(samples)}), samples, self.version)

    async def post(self, path: str, body: Any) -> Any:
        """The JSON that a POST is answered. Raises Refused, Unavailable, Unsound, InputError."""
        try:
            sent = json.dumps(body).encode()
        except (TypeError, ValueError) as error:
            raise InputError(f"what is to be sent to {path} is not JSON: {error}") from error
        return (await self._call("POST", path, sent))[1]

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET; that of a service that is not ready (503) is an answer too.

        Raises Refused, Unavailable, Unsound.
        """
        return await self._call("GET", path, None)

    async def _call(self, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
        """Rounds of tries, until one is answered or the patience is over."""
        begin, wait = self._clock(), self._patience.first
        order, seen, tries, errors = self._turns(), dict[str, str](), 0, 0
        while True:
            after = inf
            for address in order:
                tries += 1
                try:
                    answer = self._read(address, method, path, await self._send(address, method, path, body))
                except _Transient as fault:
                    seen[address.root] = str(fault)
                    after = min(after, fault.after)
                    errors += fault.status == 500
                    if errors > SERVER_ERRORS:
                        raise Refused(str(fault), 500, "internal_error") from fault
                else:
                    self._note(seen, address.root)
                    return answer
            left = begin + self._patience.total - self._clock()
            if left <= 0:
                raise Unavailable(_given_up(seen, tries, self._clock() - begin), seen)
            self._note(seen)
            await self._sleep(min(left, max(after, self._draw(0, wait))))
            wait = min(2 * wait, self._patience.longest)

    def _turns(self) -> tuple[Address, ...]:
        """All addresses, each call beginning with the next."""
        first, self._next = self._next, (self._next + 1) % len(self.addresses)
        return self.addresses[first:] + self.addresses[:first]

    def _note(self, faults: Mapping[str, str], answered: str = "") -> None:
        """One line in the log when an address begins to fail, one when it answers again."""
        for root, fault in faults.items():
            if root not in self._down:
                _log.warning("%s; trying on", fault)
        self._down.update(faults)
        if answered in self._down:
            self._down.discard(answered)
            _log.warning("%s answers again", answered)

    async def _send(self, address: Address, method: str, path: str, body: bytes | None) -> _Answer:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if address.key:
            headers["Authorization"] = f"Bearer {address.key}"
        try:
            async with self._session().request(
                method,
                address.root + path,
                headers=headers,
                data=None if body is None else io.BytesIO(body),  # in blocks: it may be megabytes
                allow_redirects=False,  # a POST would come out as a GET, the key somewhere else
            ) as answer:
                after = answer.headers.get("Retry-After", "")
                seconds = float(after) if after.isascii() and after.isdecimal() else 0.0
                return _Answer(answer.status, await answer.read(), seconds)
        except aiohttp.InvalidURL as error:
            raise InputError(f"{address.root} is no URL: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _Transient(f"nothing answers at {address.root}: {self._reason(error)}") from error

    def _session(self) -> aiohttp.ClientSession:
        """The running event loop's own: a session cannot serve two."""
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            self._sessions[loop] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=self._patience.answer, sock_connect=CONNECT),
            )
        return self._sessions[loop]

    def _reason(self, error: Exception) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"no connection within {CONNECT:g} s"
        if isinstance(error, TimeoutError):
            return f"no answer within {self._patience.answer:g} s"
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        return str(cause) or type(cause).__name__

    def _read(self, address: Address, method: str, path: str, came: _Answer) -> tuple[int, Any]:
        """Status and JSON, where it is an answer. Raises _Transient, Refused, Unsound."""
        status, answer = came.status, _parsed(came.content)
        error = answer.get("error") if isinstance(answer, dict) else None
        if answer is not None and (status == 200 or (status == 503 and method == "GET" and error is None)):
            return status, answer
        place = address.root + path
        no_service = (
            f"{place} does not answer as a reward service (status {status}): is the URL that of `rbr serve`?"
        )
        if status == 200:
            raise Unsound(no_service)
        if status == 401:
            raise Refused(_locked(address), status, "unauthorized")
        known = error if isinstance(error, dict) else {}
        code, said = (str(known.get(name, "")) for name in ("code", "message"))
        message = f"{place} answered {status} {code}: {said[:SHOWN]}" if code else no_service
        if status in (408, 429) or status >= 500:
            raise _Transient(message, status, came.after)
        raise Refused(message, status, code)


def _parsed(content: bytes) -> Any:
    """The value of JSON text; None for what is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _locked(address: Address) -> str:
    given = "refuses the one" if address.key else "none was"
    return (
        f"{address.root} demands an API key and {given} given: set RBR_API_KEY to the service's "
        "(OpenRLHF sends it from --reward.remote_url http://user:KEY@host:port/get_reward)"
    )


def _given_up(seen: Mapping[str, str], tries: int, seconds: float) -> str:
    faults = "; ".join(seen.values())
    if tries > len(seen):
        return f"{faults} (given up after {seconds:.0f} s and {tries} tries)"
    return f"{faults}; start it with `rbr serve`, or mend the URL"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if seconds < 0 or not isfinite(seconds):
        raise InputError(f"RBR_REWARD_PATIENCE: {text!r} is no number of seconds, such as 900")
    return seconds
