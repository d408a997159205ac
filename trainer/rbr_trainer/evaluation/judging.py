"""The class of every answer, as the service sees it.

    [Completion] -> /v1/score, a few at a time -> the most probable class of each -> [Outcome]

A failure is no class: the first answer that the service refuses ends all, and is named.
"""

import asyncio
from collections.abc import Sequence
from math import isfinite
from typing import Any

from rbr_trainer.client import Client
from rbr_trainer.data.policy import Policy
from rbr_trainer.data.prompts import Key
from rbr_trainer.errors import Refused, Unsound
from rbr_trainer.evaluation.completions import Completion
from rbr_trainer.evaluation.outcomes import Outcome
from rbr_trainer.progress import Progress
from rbr_trainer.together import together

AT_ONCE = 16  # answers in one request
REQUESTS = 8  # in flight


class Judge:
    """Asks one service, by one reward version."""

    def __init__(self, client: Client, policy: Policy) -> None:
        """`policy` must be the one that is served."""
        self._client, self._policy = client, policy
        self._room = asyncio.Semaphore(REQUESTS)

    async def classes(self, completions: Sequence[Completion]) -> list[tuple[str, str] | None]:
        """(response type, class) of each answer, in order. Raises ServiceError."""
        parts = [completions[i : i + AT_ONCE] for i in range(0, len(completions), AT_ONCE)]
        with Progress("judging", len(completions), "answers") as progress:
            found = await together(self._part(part, progress) for part in parts)
        return [known for part in found for known in part]

    async def _part(self, part: Sequence[Completion], progress: Progress) -> list[tuple[str, str] | None]:
        async with self._room:
            try:
                found = await self._asked(part)
            except Refused:
                for one in part:  # which of them?
                    await self._alone(one)
                raise
            progress.step(len(part))
            return found

    async def _alone(self, one: Completion) -> None:
        try:
            await self._asked([one])
        except Refused as error:
            raise Refused(f"the answer to {one.prompt.place}: {error}", error.status, error.code) from error

    async def _asked(self, part: Sequence[Completion]) -> list[tuple[str, str] | None]:
        answer = await self._client.score([one.sample for one in part])
        return [self._class(result) for result in answer["results"]]

    def _class(self, result: dict[str, Any]) -> tuple[str, str] | None:
        kind = result.get("response_type")
        if kind is None:
            return None
        p = result.get("class_probabilities")
        classes = self._policy.response_types.get(kind, ())
        if not isinstance(p, dict) or set(p) != set(classes) or not all(map(_number, p.values())):
            raise Unsound(f"the service answered with no probability of each class of {kind!r}: {p!r}")
        return kind, max(classes, key=lambda name: float(p[name]))


def numbered(completions: Sequence[Completion], found: Sequence[tuple[str, str] | None]) -> list[Outcome]:
    """The outcomes of the answers that are in scope."""
    numbers: dict[Key, int] = {}
    return [
        Outcome(numbers.setdefault(one.prompt.key, len(numbers)), *known)
        for one, known in zip(completions, found, strict=True)
        if known
    ]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and isfinite(value)
