"""Verdicts kept by what was asked: key -> raw log probabilities' P(yes) and label mass, never text.

    sha256(model revision, precision, label ids, exact prompt token ids) -> Verdict

A cache may forget and may fail; both cost time and never a number. Memory here, a file in
cache_sqlite.py, Redis for several replicas in cache_redis.py.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

from rbr_service.graders.base import Verdict

Key = bytes  # 32 of them


class VerdictCache(Protocol):
    """Where verdicts are kept."""

    async def start(self) -> None:
        """Open it. Raises GraderError when it cannot be used."""

    async def get(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        """Those of `keys` that are known."""

    async def put(self, verdicts: Mapping[Key, Verdict]) -> None:
        """Keep these."""

    async def close(self) -> None:
        """Give back what `start` took."""


class MemoryCache:
    """The verdicts used last, up to `entries` (about 200 bytes each)."""

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
        for key, verdict in verdicts.items():
            self._verdicts[key] = verdict
            self._verdicts.move_to_end(key)
        while len(self._verdicts) > self._entries:
            self._verdicts.popitem(last=False)

    async def close(self) -> None:
        """Nothing to give back."""
