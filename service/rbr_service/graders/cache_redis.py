"""Verdicts in Redis, shared by several replicas of the service.

    get -> one MGET, put -> one MSET: rbr:v1:KEY -> p and label mass, two float64 = 16 bytes

A Redis that hangs may not hold up a reward: it has SECONDS to answer, and after a fault it is left alone
for a while (outage.py). How much is kept is Redis's to say: set its `maxmemory`, and `maxmemory-policy
allkeys-lru`.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, ResponseError

from rbr_service.errors import GraderError, SettingsError
from rbr_service.graders.base import Verdict
from rbr_service.graders.cache import Key, checked, sound
from rbr_service.graders.outage import PAUSE, Outage

PREFIX = b"rbr:v1:"  # change the number whenever a value would mean something else
SECONDS = 1.0  # for one call
CONNECTIONS = 16

_PAIR = struct.Struct("<2d")

T = TypeVar("T")


class RedisCache:
    """Verdicts in Redis."""

    def __init__(self, url: str, password: str | None = None, pause: float = PAUSE) -> None:
        """`pause`: seconds to leave Redis alone after a fault. Raises SettingsError for a bad `url`."""
        try:
            self.address = _address(url)
            self._redis: Redis = Redis.from_url(
                url,
                password=password,
                protocol=2,  # what is asked needs no more, and old servers know no other
                max_connections=CONNECTIONS,
                socket_timeout=SECONDS,
                socket_connect_timeout=SECONDS,
                # A connection that broke while idle is no outage; a time limit is not paid twice.
                retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
            )
        except ValueError as error:
            raise SettingsError("cache: must be an address such as redis://HOST:PORT/DB") from error
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._calls: set[asyncio.Task[Any]] = set()
        self._link = Outage(self.address, pause)
        self._reads = Outage(f"{self.address}: reading verdicts", pause)
        self._writes = Outage(f"{self.address}: writing verdicts", pause)

    @property
    def faults(self) -> int:
        """Calls that failed."""
        return self._link.faults + self._reads.faults + self._writes.faults

    async def start(self) -> None:
        """See whether Redis answers. Raises GraderError that names its address."""
        try:
            async with asyncio.timeout(SECONDS):
                await self._redis.ping()
        except AuthenticationError as error:
            raise GraderError(
                f"{self.address}: does not let us in ({error}): set RBR_REDIS_PASSWORD"
            ) from error
        except TimeoutError as error:
            raise GraderError(f"{self.address}: no answer within {SECONDS:g} s") from error
        except (RedisError, OSError) as error:
            raise GraderError(f"{self.address}: cannot be used as a cache of verdicts: {error}") from error

    async def get(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        """Those of `keys` that are known; none of them while Redis does not answer."""
        if not keys:
            return {}
        nothing: list[bytes | str | None] = []
        names = [PREFIX + key for key in keys]
        values = await self._call(lambda: self._redis.mget(names), nothing, self._reads)
        found = {}
        for key, value in zip(keys, values, strict=False):
            verdict = _unpacked(value)
            if verdict:
                found[key] = verdict
        return found

    async def put(self, verdicts: Mapping[Key, Verdict]) -> None:
        """Keep these, unless Redis does not answer or refuses."""
        values = {PREFIX + key: _PAIR.pack(v.p, v.label_mass) for key, v in sound(verdicts).items()}
        if values:
            await self._call(lambda: self._redis.mset(values), None, self._writes)

    async def close(self) -> None:
        """Let calls end and close the connections."""
        await asyncio.gather(*self._calls)
        await self._redis.aclose()

    async def _call(self, command: Callable[[], Awaitable[T]], otherwise: T, refusals: Outage) -> T:
        # In a task of its own: a caller who is cancelled must not leave an answer half read.
        task = asyncio.create_task(self._tried(command, otherwise, refusals))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await asyncio.shield(task)

    async def _tried(self, command: Callable[[], Awaitable[T]], otherwise: T, refusals: Outage) -> T:
        async with self._slots:  # whoever waited here while Redis hung does not try again
            if not (self._link.passes() and refusals.passes()):
                return otherwise
            try:
                async with asyncio.timeout(SECONDS):
                    answer = await command()
            except ResponseError as error:  # it does answer, and says no: out of memory, read-only
                self._link.worked()
                refusals.failed(str(error))
                return otherwise
            except (RedisError, OSError) as error:
                self._link.failed(str(error) or f"no answer within {SECONDS:g} s")
                return otherwise
        self._link.worked()
        refusals.worked()
        return answer


def _unpacked(value: object) -> Verdict | None:
    if not isinstance(value, bytes) or len(value) != _PAIR.size:
        return None
    return checked(*_PAIR.unpack(value))


def _address(url: str) -> str:
    """What of an address may be shown: no user, password or options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
