"""Verdicts kept by what was asked: key -> raw log probabilities' P(yes) and label mass, never text.

    sha256(model revision, precision, label ids, exact prompt token ids) -> Verdict
    settings.cache -> make_cache -> memory, or memory in front of a file or of Redis

A cache may forget and may fail; both cost time and never a number. Memory here, a file in
cache_sqlite.py, Redis for several replicas in cache_redis.py.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rbr_service.errors import SettingsError
from rbr_service.graders.base import Verdict

Key = bytes  # 32 of them


class VerdictCache(Protocol):
    """Where verdicts are kept."""

    @property
    def faults(self) -> int:
        """Calls that failed since it was made; each was answered as if nothing were known."""

    async def start(self) -> None:
        """Open it. Raises GraderError when it cannot be used."""

    async def get(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        """Those of `keys` that are known."""

    async def put(self, verdicts: Mapping[Key, Verdict]) -> None:
        """Keep these."""

    async def close(self) -> None:
        """Give back what `start` took."""


def checked(p: object, label_mass: object) -> Verdict | None:
    """The verdict of two stored values; None where they are no probabilities."""
    if not (isinstance(p, float) and isinstance(label_mass, float)):
        return None
    verdict = Verdict(p, label_mass)
    return verdict if _probable(verdict) else None


def sound(verdicts: Mapping[Key, Verdict]) -> dict[Key, Verdict]:
    """Those that are probabilities; no cache keeps any other."""
    return {key: verdict for key, verdict in verdicts.items() if _probable(verdict)}


def _probable(verdict: Verdict) -> bool:
    return 0 <= verdict.p <= 1 and 0 <= verdict.label_mass <= 1  # false for NaN


class MemoryCache:
    """The verdicts used last, up to `entries`.

    An entry takes 240 to 300 bytes (its key, two floats, its places in a hash table that doubles as it
    grows; traced in tests/unit/test_cache.py): 500,000 of them 126 MB.
    """

    faults = 0

    def __init__(self, entries: int) -> None:
        """`entries` >= 0."""
        self._entries = entries
        self._verdicts: OrderedDict[Key, Verdict] = OrderedDict()

    async def start(self) -> None:
        """Nothing to open."""

    async def get(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        """Those of `keys` that are known."""
        found = {key: self._verdicts[key] for key in keys if key in self._verdicts}
        for key in found:
            self._verdicts.move_to_end(key)
        return found

    async def put(self, verdicts: Mapping[Key, Verdict]) -> None:
        """Keep these, forgetting the ones unused for longest."""
        for key, verdict in sound(verdicts).items():
            self._verdicts[key] = verdict
            self._verdicts.move_to_end(key)
            if len(self._verdicts) > self._entries:
                self._verdicts.popitem(last=False)

    async def close(self) -> None:
        """Nothing to give back."""


class Layered:
    """Memory in front of a store: what was used last costs no I/O."""

    def __init__(self, memory: MemoryCache, store: VerdictCache) -> None:
        """Both are this cache's own: it starts and closes them."""
        self._memory, self._store = memory, store

    @property
    def faults(self) -> int:
        """Calls of the store that failed."""
        return self._store.faults

    async def start(self) -> None:
        """Open the store. Raises GraderError."""
        await self._store.start()

    async def get(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        """Those of `keys` that are known; what only the store knew is in memory from now on."""
        found = await self._memory.get(keys)
        missing = [key for key in keys if key not in found]
        if missing:
            stored = await self._store.get(missing)
            await self._memory.put(stored)
            found |= stored
        return found

    async def put(self, verdicts: Mapping[Key, Verdict]) -> None:
        """Keep these in both."""
        await self._memory.put(verdicts)
        await self._store.put(verdicts)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()


def make_cache(spec: str, entries: int, password: str | None) -> VerdictCache:
    """The cache of a setting: memory, sqlite:FILE, redis://HOST:PORT/DB or rediss://HOST:PORT/DB.

    `entries` are kept in memory in every case; `password` is Redis's. Raises SettingsError.
    """
    memory = MemoryCache(entries)
    kind, _, place = spec.partition(":")
    if spec == "memory":
        return memory
    if kind == "sqlite" and place:
        from rbr_service.graders.cache_sqlite import SQLiteCache

        return Layered(memory, SQLiteCache(Path(place).expanduser()))
    if kind in ("redis", "rediss"):
        try:  # an extra: only who asks for it needs it
            from rbr_service.graders.cache_redis import RedisCache
        except ModuleNotFoundError as error:
            raise SettingsError(
                "cache: Redis needs its client: pip install 'rule-based-rewards[redis]'"
            ) from error
        return Layered(memory, RedisCache(spec, password))
    raise SettingsError(f"cache: {spec!r}: must be memory, sqlite:FILE or redis://HOST:PORT/DB")
