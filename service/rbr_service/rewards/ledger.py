"""What a reward model was asked and what it answered, so that nothing is asked twice.

    contents -> known ones from memory; those in flight joined; the rest asked in batches -> floats

A trainer that timed out asks for the same again: by then the answer is here, or on its way.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Generic, TypeVar

from rbr_service.work import LINGER, Work

BATCH = 64  # conversations in one call

C = TypeVar("C")


class _Batch(Generic[C]):
    """Contents asked in one call, by key; two of the same contents are not equal."""

    def __init__(self, contents: dict[bytes, C]) -> None:
        self.contents = contents


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

        A call whose last waiter has left goes on for `linger` seconds.
        """
        self._name, self._ask, self._entries = name, ask, entries
        self._work: Work[dict[bytes, float]] = Work(linger)
        self._flying: dict[bytes, _Batch[C]] = {}
        self._known: OrderedDict[bytes, float] = OrderedDict()

    @property
    def busy(self) -> bool:
        """Whether anything is being asked."""
        return bool(self._flying)

    async def values(self, contents: Sequence[C]) -> list[float]:
        """One value per content, in order. Raises what `ask` raises."""
        keys = [self._key(content) for content in contents]
        found = self._remembered(keys)
        missing = {key: content for key, content in zip(keys, contents, strict=True) if key not in found}
        with ExitStack() as waiting:
            tasks = [
                waiting.enter_context(self._work.joined(batch, partial(self._answer, batch)))
                for batch in self._batches(missing)
            ]
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                found |= task.result() if task.done() else {}  # not done: another one's failure is raised
        return [found[key] for key in keys]

    async def close(self) -> None:
        """End what is in flight."""
        await self._work.close()

    def _key(self, content: C) -> bytes:
        return hashlib.sha256(json.dumps([self._name, content]).encode()).digest()

    def _remembered(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        found = {key: self._known[key] for key in keys if key in self._known}
        for key in found:
            self._known.move_to_end(key)
        return found

    def _batches(self, missing: Mapping[bytes, C]) -> list[_Batch[C]]:
        """Those in flight that hold some of `missing`, and new ones with the rest."""
        flying = {id(batch): batch for key in missing if (batch := self._flying.get(key))}
        batches = list(flying.values())
        rest = [(key, content) for key, content in missing.items() if key not in self._flying]
        for start in range(0, len(rest), BATCH):
            batch = _Batch(dict(rest[start : start + BATCH]))
            self._flying |= dict.fromkeys(batch.contents, batch)
            batches.append(batch)
        return batches

    async def _answer(self, batch: _Batch[C]) -> dict[bytes, float]:
        try:
            values = await self._ask(list(batch.contents.values()))
            answers = dict(zip(batch.contents, values, strict=True))
        finally:
            for key in batch.contents:
                if self._flying.get(key) is batch:
                    del self._flying[key]
        self._keep(answers)
        return answers

    def _keep(self, answers: Mapping[bytes, float]) -> None:
        self._known |= answers
        while len(self._known) > self._entries:
            self._known.popitem(last=False)
