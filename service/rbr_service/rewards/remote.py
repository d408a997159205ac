"""A reward model on a server: what every kind of server has in common.

    [RewardRequest] -> contents (what this server is sent) -> Ledger -> calls
                    -> [float, or the RequestError of a conversation that cannot be sent]

A kind of server says what it is sent for a conversation, how it is asked, and how it is proved at
start-up to be the model that was declared.
"""

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from rbr_service.calls import TRANSIENT, CallError, Calls
from rbr_service.conversation import Conversation, Message
from rbr_service.encoder import Encoder
from rbr_service.errors import BaseRewardError, RequestError
from rbr_service.rewards.base import RewardRequest
from rbr_service.rewards.ledger import Ledger

LARGEST = 1e6  # as for a given base reward: beyond it the sum with the RBR reward loses its digits
DENIED = (401, 403)
ENTRIES = 100_000
RECENT = 30.0  # seconds; a server that computes in its event loop answers nothing else meanwhile

# Asked at start-up: no model is indifferent to all of them.
PROBES = (
    Conversation((Message("user", "What is the capital of France?"),), "The capital of France is Paris."),
    Conversation((Message("user", "What is the capital of France?"),), "no no no no no no no"),
    Conversation((Message("user", "Help me plan a birthday party."),), "Figure it out yourself."),
    Conversation((Message("user", "Say hello."), Message("assistant", "Hello!"), Message("user", "Thanks.")),
                 "You are welcome! Is there anything else that I can do for you today?"),
)  # fmt: skip

C = TypeVar("C")


class Remote(ABC, Generic[C]):
    """A BaseReward on a server. `C` is what it is sent for one conversation.

    Another tokenizer or chat template makes another reward of the same model: `source` names them too.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        url: str,
        model: str,
        encoder: Encoder,
        *,
        key: str | None,
        concurrency: int,
        patience: float,
        start_patience: float,
        deadline: float | None,
        entries: int = ENTRIES,
    ) -> None:
        """`key` is a bearer's. `concurrency` calls at a time. `entries` answers are kept.

        In seconds: `patience` with a call's faults and for one try, `start_patience` until the server is
        there, `deadline` for the answer to `rewards`.
        """
        self.model, self.encoder = model, encoder
        self.source = f"{self.kind}:{model}@{encoder.digest[:12]}"
        self._answered = -math.inf  # an instant of time.monotonic()
        self._start_patience, self._deadline = start_patience, deadline
        self.calls = Calls(url, key=key, concurrency=concurrency, patience=patience)
        self._ledger = Ledger(self.source, self._asked, entries=entries)

    def require(self, given: float | None) -> None:
        """Nothing is needed; a base reward that a sample brings is not used."""

    async def start(self) -> None:
        """Wait for the server and check it. Raises BaseRewardError."""
        await self.calls.open()
        try:
            await self.prove()
        except CallError as error:
            raise self.failed(error) from error
        self._answered = time.monotonic()

    async def rewards(self, requests: Sequence[RewardRequest]) -> list[float | RequestError]:
        """One finite reward per request, in order, or why that one has none. Raises BaseRewardError."""
        end = None if self._deadline is None else time.monotonic() + self._deadline
        contents = await asyncio.to_thread(lambda: [self._content(one) for one in requests])
        sound = [one for one in contents if not isinstance(one, RequestError)]
        try:
            values = iter(await self._ledger.values(sound, end))
            return [one if isinstance(one, RequestError) else next(values) for one in contents]
        except TimeoutError as error:
            fault = f": {self.calls.fault}" if self.calls.fault else ""
            raise BaseRewardError(f"{self.source}: no answer within {self._deadline:g} s{fault}") from error

    async def check(self) -> None:
        """Return when the server is there; one at work is, that has answered of late and had no fault since.

        Raises BaseRewardError.
        """
        recent = time.monotonic() - self._answered < RECENT
        if self._ledger.busy and recent and not self.calls.fault:
            return
        try:
            await self.calls.get(self.alive)
        except CallError as error:
            if error.status in TRANSIENT:
                raise BaseRewardError(f"{self.source}: {error.brief}") from error
        self._answered = time.monotonic()

    async def close(self) -> None:
        """End what is in flight and close the connections."""
        await self._ledger.close()
        await self.calls.close()

    @property
    @abstractmethod
    def alive(self) -> str:
        """A path that a GET reaches without work for the model."""

    @abstractmethod
    def content(self, conversation: Conversation) -> C:
        """What the server is sent for a conversation. Raises RequestError."""

    @abstractmethod
    async def ask(self, contents: Sequence[C]) -> list[float]:
        """One call. Raises CallError, BaseRewardError."""

    @abstractmethod
    async def prove(self) -> None:
        """Check that the server has the model that was declared. Raises CallError, BaseRewardError."""

    async def reached(self, path: str) -> Any:
        """The answer to a GET, waited for while the server is on its way. Raises CallError."""
        return await self.calls.reached(path, self._start_patience)

    def numbers(self, values: Sequence[Any], count: int) -> list[float]:
        """A server's rewards, one for each conversation. Raises BaseRewardError."""
        if len(values) != count:
            raise BaseRewardError(f"{self.source}: {len(values)} rewards for {count} conversations")
        for value in values:
            if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= LARGEST:
                shown = f"{value:.6g}" if isinstance(value, float) else "an answer"
                raise BaseRewardError(f"{self.source}: {shown} is no reward within ±{LARGEST:g}")
        return [float(value) for value in values]

    def failed(self, error: CallError) -> BaseRewardError:
        """The failed call as the caller sees it."""
        remedy = "; set RBR_BASE_REWARD_KEY to its key" if error.status in DENIED else ""
        return BaseRewardError(f"{self.source}: {error.message}{remedy}")

    async def _asked(self, contents: Sequence[C]) -> list[float]:
        try:
            values = await self.ask(contents)
        except CallError as error:
            raise self.failed(error) from error
        self._answered = time.monotonic()
        return values

    def _content(self, request: RewardRequest) -> C | RequestError:
        try:
            return self.content(request.conversation)
        except RequestError as error:
            return error
