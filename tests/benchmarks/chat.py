"""The way to ask without this project: one OpenAI chat call for each question, all in flight at once.

The whole released text is one user message; the answer's first token and its 20 likeliest ones come back.
"""

import asyncio
from collections.abc import Sequence

import aiohttp

from rbr_service.conversation import Conversation
from rbr_service.graders import layout
from rbr_service.graders.layout import Template
from rbr_service.graders.prompt import Question, questions
from rbr_service.rbr.policy import Policy

_CODE = "text"  # stands where the released layout has a text's own code
_SETTINGS = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}


class Chat:
    """A policy's questions, to be asked of a server one by one."""

    def __init__(self, url: str, model: str, policy: Policy) -> None:
        """`model` as the server calls it."""
        self._place, self._model = f"{url}/v1/chat/completions", model
        self._layout = layout.load("released")
        self._questions = questions(policy, self._layout)["completion"]

    async def grade(self, talk: Sequence[Conversation]) -> None:
        """Ask all questions about all conversations at once. Raises aiohttp.ClientError, KeyError."""
        await self._ask([self._text(one, asked) for one in talk for asked in self._questions])

    async def warm(self, one: Conversation) -> None:
        """Ask one question, for what a server does only once."""
        await self._ask([self._text(one, self._questions[0])])

    async def _ask(self, texts: Sequence[str]) -> None:
        # A session for each time: the server closes connections that were idle for some seconds.
        connector, endless = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=endless) as session:
            await asyncio.gather(*(self._one(session, text) for text in texts))

    async def _one(self, session: aiohttp.ClientSession, text: str) -> None:
        body = {"model": self._model, "messages": [{"role": "user", "content": text}], **_SETTINGS}
        async with session.post(self._place, json=body, raise_for_status=True) as response:
            answer = await response.json()
        likeliest = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        assert len(likeliest) == _SETTINGS["top_logprobs"]

    def _text(self, one: Conversation, asked: Question) -> str:
        message, asking = Template(self._layout.message), self._layout.completion
        said = [{"role": m.role, "code": _CODE, "content": m.content} for m in one.prompt]
        values = {
            "conversation": "".join(message.fill(values) for values in said),
            "reply": one.completion, "reply_code": _CODE,
            "question": asked.question, "definition": asked.definition,
        }  # fmt: skip
        return Template(asking.shared).fill(values) + Template(asking.each).fill(values)
