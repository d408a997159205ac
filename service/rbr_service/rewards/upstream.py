"""Base rewards from any server that speaks OpenRLHF's /get_reward, such as its serve_rm.

    Conversation -> (query, prompt) as the declared tokenizer's chat template writes them -> /get_reward

The text is made anew from the messages, so that a sample earns the same whichever way it came in.
It is text: this server's own tokenizer reads control tokens in it, also those that a completion
made up, and may cut what is too long. /classify (classify.py) has neither weakness.
"""

import json
from collections.abc import Sequence
from os.path import commonprefix
from typing import Any
from urllib.parse import urlsplit

from rbr_service.calls import TRANSIENT, CallError
from rbr_service.conversation import Conversation, Message
from rbr_service.errors import BaseRewardError, UnsupportedConversationError
from rbr_service.rewards.remote import PROBES, Remote

Texts = tuple[str, str]  # query, prompt


class UpstreamReward(Remote[Texts]):
    """Asks a /get_reward."""

    kind = "upstream"

    @property
    def alive(self) -> str:
        """The endpoint, which a GET reaches in vain and at once; a URL with a path is the endpoint's own."""
        return "" if urlsplit(self.calls.url).path else "/get_reward"

    def content(self, conversation: Conversation) -> Texts:
        """Query and prompt. Raises UnsupportedConversationError."""
        answer = Message("assistant", conversation.completion)
        query = self.encoder.chat_text((*conversation.prompt, answer), answer=False).rstrip("\n")
        # Servers cut the query where the prompt ends; some templates write more there than before an answer.
        return query, commonprefix([query, self._opened(conversation.prompt)])  # noqa: RUF071 - no paths

    async def ask(self, contents: Sequence[Texts]) -> list[float]:
        """One POST. Raises CallError, BaseRewardError."""
        query, prompts = zip(*contents, strict=True)
        body = {"query": query, "prompts": prompts, "labels": [""] * len(query)}
        answer = await self.calls.post(self.alive, json.dumps(body).encode())
        return self.numbers(self._flat(answer), len(query))

    async def prove(self) -> None:
        """Ask about known conversations. Raises CallError, BaseRewardError."""
        try:
            await self.reached(self.alive)
        except CallError as error:
            if error.status in TRANSIENT:
                raise  # it wants no GET, and any other answer shows that it is there
        await self.ask([self.content(probe) for probe in PROBES])

    def _opened(self, prompt: tuple[Message, ...]) -> str:
        try:
            return self.encoder.chat_text(prompt, answer=True)
        except UnsupportedConversationError:
            if prompt:
                raise
            return ""  # some templates want a message

    def _flat(self, answer: Any) -> list[Any]:
        """The list of rewards; some servers put each into a list of its own."""
        rewards = answer.get("rewards") if isinstance(answer, dict) else None
        if not isinstance(rewards, list):
            raise BaseRewardError(f'{self.source}: the answer is not {{"rewards": [...]}}')
        return [r[0] if isinstance(r, list) and len(r) == 1 else r for r in rewards]
