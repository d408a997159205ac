"""The service under load: its state, its counters, and single samples, a connection for each.

body -> POST /score -> Answer     whatever happens to a request, it has a code, and is never a number
"""

import asyncio
import errno
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from rbr_service.bench.outcome import DEADLINE_MISSED, SCORED, Answer
from rbr_service.errors import RBRError, SettingsError

LOOK = 30.0  # seconds for the service to tell its state
PATHS = ("/score", "/get_reward")  # may end the URL that a trainer is given
UNSOUND = "unsound_answer"


@dataclass(frozen=True)
class Service:
    """What a ready service says of itself."""

    policy: str
    response_types: frozenset[str]
    grader: str
    reward_version: str


class _Rewarded(BaseModel):
    rewards: Annotated[
        list[Annotated[float, Field(allow_inf_nan=False, strict=True)]], Field(min_length=1, max_length=1)
    ]
    reward_version: str


class _Error(BaseModel):
    code: Annotated[str, Field(min_length=1)]


class _Failed(BaseModel):
    error: _Error


class Target:
    """`async with Target(url, key) as target: ...`."""

    def __init__(self, url: str, key: str | None) -> None:
        """Raises SettingsError for what is no address, or a key that no header can hold."""
        self.url = address(url)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise SettingsError("RBR_API_KEY holds characters that no HTTP header can: look for a newline")
        self._key = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session
        await self._session.close()

    async def service(self) -> Service:
        """What it is. Raises RBRError where it is none, is not ready, or refuses the key."""
        ready = await self._told("/readyz")
        if ready.get("status") != "ready":
            raise RBRError(f"{self.url} is not ready: {ready.get('reason')}")
        policy = await self._told("/v1/policy")
        try:
            types = frozenset(policy["response_type_hashes"])
            return Service(ready["policy"], types, ready["grader"], ready["reward_version"])
        except (KeyError, TypeError) as error:
            raise RBRError(self._no_service("/v1/policy", 200)) from error

    async def page(self, url: str) -> str:
        """The metrics page at a URL, which need not be the service's. Raises RBRError."""
        status, content = await self._get(url, {})
        if status != 200:
            raise RBRError(f"{url} answered {status}: it tells no metrics")
        return content.decode(errors="replace")

    async def score(self, body: bytes, seconds: float) -> Answer:
        """One sample's answer, waited for `seconds`; the connection closes then, as a trainer's does."""
        try:
            async with asyncio.timeout(seconds), self._open().post(
                f"{self.url}/score",
                data=body,
                headers={"Content-Type": "application/json", **self._key},
                allow_redirects=False,  # a POST would come out as a GET, the key somewhere else
            ) as answer:  # fmt: skip
                return _read(answer.status, await answer.read())
        except TimeoutError:
            return Answer(DEADLINE_MISSED)
        except (aiohttp.ClientError, OSError) as error:
            return Answer(_fault(error))

    async def _told(self, path: str) -> dict[str, Any]:
        status, content = await self._get(self.url + path, self._key)
        if status == 401:
            raise RBRError(f"{self.url} demands an API key: set RBR_API_KEY to the service's")
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or status not in (200, 503):
            raise RBRError(self._no_service(path, status))
        return answer

    async def _get(self, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            async with (
                asyncio.timeout(LOOK),
                self._open().get(url, headers=headers, allow_redirects=False) as answer,
            ):
                return answer.status, await answer.read()
        except TimeoutError as error:
            raise RBRError(f"{url}: no answer within {LOOK:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RBRError(f"nothing answers at {url}: {error}") from error

    def _open(self) -> aiohttp.ClientSession:
        assert self._session, "enter the target first"
        return self._session

    def _no_service(self, path: str, status: int) -> str:
        return (
            f"{self.url}{path} does not answer as a reward service (status {status}): is the URL that of "
            "`rbr serve`?"
        )


def address(url: str) -> str:
    """The root of a service's URL. Raises SettingsError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise SettingsError("URL: must be a service's address, such as http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise SettingsError("URL: secrets come from the environment: set RBR_API_KEY")
    root = url.rstrip("/")
    for path in PATHS:
        root = root.removesuffix(path)
    return root


def _read(status: int, content: bytes) -> Answer:
    """A sound reward's version, or the service's own code of a failure."""
    try:
        if status == 200:
            return Answer(SCORED, _Rewarded.model_validate_json(content).reward_version)
        return Answer(_Failed.model_validate_json(content).error.code)
    except ValidationError:
        return Answer(UNSOUND if status == 200 else f"http_{status}")


def _fault(error: aiohttp.ClientError | OSError) -> str:
    """Of a connection: refused, broken, or as the system calls it (EMFILE: this machine has no more)."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return "connection_refused"
    if isinstance(cause, OSError) and not isinstance(cause, ConnectionError):
        return errno.errorcode.get(cause.errno or 0, "no_connection")
    return "connection_broken"
