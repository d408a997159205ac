"""A language model on any server that speaks OpenAI's chat completions.

    Brief, prompt -> POST /v1/chat/completions -> the reply, or CannotWrite where the model gave none

A reply that was cut off, filtered, refused or empty is this brief's fault, as is a request that the server
does not take, a conversation too long for its model. A server that fails or whose answer is none is the
writer's fault, and so is one that takes no request: what it refuses may be the model or an option.
Neither says what was written.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from rbr_service.calls import CallError, Calls
from rbr_service.conversation import Message
from rbr_service.errors import WriterError
from rbr_service.rbr.briefs import Brief
from rbr_service.rbr.policy import Policy, digest
from rbr_service.writers.base import CannotWrite, Written
from rbr_service.writers.instructions import VERSION, instructions

FILTERED = "content_filter"  # how servers name their own filter, as a reason or as an error's code
_REASONS = {
    "length": "the reply was cut off: raise --writer-max-tokens",
    FILTERED: "the server's content filter took the reply away",
}
_NOT_TAKEN = (400, 413, 422)  # statuses of a server that finds fault with a request
_SEVERAL = 5  # prompts that are not taken until it is the writer's fault, if no other was before

_log = logging.getLogger("rbr.writers.chat")


class ChatWriter:
    """A model on a server."""

    name = "openai"

    def __init__(
        self, policy: Policy, url: str, model: str, *, key: str | None = None, temperature: float = 1.0,
        max_tokens: int = 1024, concurrency: int = 16, patience: float = 300.0,
    ) -> None:  # fmt: skip
        """`model` as the server calls it; `patience`: seconds for one reply, and with a faulty server.

        Raises SettingsError for a key that no header can hold.
        """
        self._policy, self._url = policy, url
        self._asked = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self.fingerprint = digest([VERSION, self._asked])
        self._taken = False  # whether the server has taken any request
        self._not_taken: set[tuple[Message, ...]] = set()  # the prompts of those that it did not take
        self._calls = Calls(url, key=key, concurrency=concurrency, patience=patience)

    async def start(self) -> None:
        """Open the session. The first call finds out whether the server is there."""
        await self._calls.open()

    async def write(self, brief: Brief, prompt: Sequence[Message], seed: int) -> Written | CannotWrite:
        """What the model replies. Raises WriterError."""
        message = instructions(self._policy, brief, prompt)
        turn = {"role": message.role, "content": message.content}
        body = json.dumps({**self._asked, "seed": seed, "messages": [turn]})
        try:
            answer = await self._calls.post("/v1/chat/completions", body.encode())
        except CallError as error:
            return self._refusal(error, tuple(prompt))
        self._taken = True
        text = self._text(answer)
        return text if isinstance(text, CannotWrite) else Written(text, brief.must)

    async def close(self) -> None:
        """Close the connections."""
        await self._calls.close()

    def _text(self, answer: Any) -> str | CannotWrite:
        choices = answer.get("choices") if isinstance(answer, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            raise WriterError(f"{self._url}: answered without choices[0].message: is it a chat server?")
        reason, content = choice.get("finish_reason"), message.get("content")
        if reason in _REASONS:
            return CannotWrite(_REASONS[reason])
        if message.get("refusal"):
            return CannotWrite("the model refused")
        if content is not None and not isinstance(content, str):
            raise WriterError(f"{self._url}: answered with a message whose content is no text")
        return content.strip() if content and content.strip() else CannotWrite("the reply was empty")

    def _refusal(self, error: CallError, prompt: tuple[Message, ...]) -> CannotWrite:
        """What a fault is to a brief. Raises the WriterError of one that is no fault of this prompt."""
        if error.status == 400 and FILTERED in error.message:
            return CannotWrite(_REASONS[FILTERED])
        if error.status in _NOT_TAKEN:
            if not self._not_taken:
                _log.warning("%s: its prompt is passed over, as are all that get such an answer", error.brief)
            self._not_taken.add(prompt)
            if self._taken or len(self._not_taken) < _SEVERAL:
                return CannotWrite("the server does not take this prompt")
        remedy = "; set RBR_WRITER_KEY to the server's key" if error.status in (401, 403) else ""
        raise WriterError(f"the writer's server failed: {error.message}{remedy}") from error
