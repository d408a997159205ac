"""What a reward model was asked and what it answered, so that nothing is asked twice.

    contents -> known ones from memory; those in flight joined; the rest asked in batches -> floats

A batch is what others join: who needs one value of a large call waits for, and fails with, its batch alone.
A trainer that timed out asks for the same again: by then the answer is here, or on its way.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from rbr_service.errors import BaseRewardError
from rbr_service.flight import Flight
from rbr_service.together import together
from rbr_service.work import LINGER

BATCH = 64  # conversations in one call
FEW = 8  # contents that are hashed at once; more would hold the event loop up

C = TypeVar("C")
T = TypeVar("T")


class Ledger(Generic[C]):
    """The calls in flight and the answers used last; of contents, which JSON must be able to hold, a hash."""

    def __init__(
        self,
        name: str,
        ask: Callable[[Sequence[C]], Awaitable[list[float]]],
        *,
        entries: int,
        linger: float = LINGER,
    ) -> None:
        """`ask` answers a batch, in order. `entries` answers are kept, about 200 bytes each.

        `linger`: seconds that a call goes on after the deadline of its last waiter.
        """
        self._name, self._ask, self._entries = name, ask, entries
        self._flight: Flight[float] = Flight(BaseRewardError, linger)
        self._known: OrderedDict[bytes, float] = OrderedDict()

    @property
    def busy(self) -> bool:
        """Whether anything is being asked."""
        return self._flight.busy

    async def values(self, contents: Sequence[C], deadline: float | None = None) -> list[float]:
        """One value per content, in order; `deadline` is an instant of time.monotonic().

        Raises what `ask` raises, TimeoutError at the deadline.
        """
        keys = await self._keys(contents)
        found = self._remembered(keys)
        missing = {key: content for key, content in zip(keys, contents, strict=True) if key not in found}
        batches = (dict(batch) for batch in _batches(list(missing.items())))
        for values in await together(self._batch(batch, deadline) for batch in batches):
            found |= values
        return [found[key] for key in keys]

    async def close(self) -> None:
        """End what is in flight."""
        await self._flight.close()

    async def _keys(self, contents: Sequence[C]) -> list[bytes]:
        def made() -> list[bytes]:
            return [self._key(content) for content in contents]

        return made() if len(contents) <= FEW else await asyncio.to_thread(made)

    def _key(self, content: C) -> bytes:
        return hashlib.sha256(json.dumps([self._name, content]).encode()).digest()

    def _remembered(self, keys: Iterable[bytes]) -> dict[bytes, float]:
        found = {key: self._known[key] for key in keys if key in self._known}
        for key in found:
            self._known.move_to_end(key)
        return found

    async def _batch(self, contents: Mapping[bytes, C], deadline: float | None) -> dict[bytes, float]:
        def make(new: Sequence[bytes]) -> Coroutine[Any, Any, dict[bytes, float]]:
            return self._answered([(key, contents[key]) for key in new])

        found = self._remembered(contents)  # answered to others since the batch was put together
        missing = [key for key in contents if key not in found]
        return found | await self._flight.results(missing, make, deadline)

    async def _answered(self, asked: Sequence[tuple[bytes, C]]) -> dict[bytes, float]:
        values = await self._ask([content for _, content in asked])
        answers = dict(zip((key for key, _ in asked), values, strict=True))
        self._keep(answers)
        return answers

    def _keep(self, answers: Mapping[bytes, float]) -> None:
        self._known |= answers
        while len(self._known) > self._entries:
            self._known.popitem(last=False)


def _batches(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
