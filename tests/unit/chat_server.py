"""A server that speaks OpenAI's chat completions, over a policy whose propositions are marks in the text.

    request -> the marks that its brief asks for -> a reply that has them, or one of the ways to go wrong

What becomes of a request depends on its body alone, so that a second run is answered like the first.
`outcomes` counts the replies by what a synthesis makes of them: kept, rejected, refused.
"""

import asyncio
import hashlib
import re
from collections import Counter
from typing import Any

from aiohttp import web

from .reward_servers import RewardServer

YES, NO, BETTER = "answered with YES", "answered with NO", "leaves it open"
CUT = {"message": {"content": "It goes on and"}, "finish_reason": "length"}
FILTERED = {"message": {"content": None}, "finish_reason": "content_filter"}
REFUSED = {"message": {"content": None, "refusal": "I would rather not."}, "finish_reason": "stop"}
EMPTY = {"message": {"content": " \n"}, "finish_reason": "stop"}
REFUSALS: list[dict[str, Any]] = [CUT, FILTERED, REFUSED, EMPTY]


class ChatServer(RewardServer):
    """Of 16 bodies 9 get plausible replies, 3 implausible ones, 4 none; one in `busy` meets a fault first."""

    def __init__(self, busy: int = 0) -> None:
        """`busy` 0: none does."""
        super().__init__()
        self.outcomes: Counter[str] = Counter()
        self.answered: list[str] = []  # the requests' prompts, by the time of their reply
        self.busy_answers = 0
        self.holds_after: int | None = None  # replies after which it holds back all others
        self.at_once_held = 0
        self.breaks_after: int | None = None  # replies after which it knows the model no more
        self.reply: Any = None  # in place of what it would answer, as JSON or as bytes
        self.refusal: Any = None  # the body of a 400
        self.context: int | None = None  # characters of a request's prompt beyond which it gets a 400
        self._busy = busy
        self._seen: set[bytes] = set()

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/chat/completions", self._complete)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = await self.inferred(request)
        if isinstance(body, web.Response):
            return body
        if self.refusal is not None:
            return web.json_response(self.refusal, status=400)
        if self.context is not None and len(prompt(body)) > self.context:
            return web.json_response({"error": {"message": f"too long: {prompt(body)}"}}, status=400)
        if isinstance(self.reply, bytes):
            return web.Response(body=self.reply)
        if self.reply is not None:
            return web.json_response(self.reply)
        hashed = hashlib.sha256(raw).digest()
        if self._busy and hashed[1] % self._busy == 0 and hashed not in self._seen:
            self._seen.add(hashed)
            self.busy_answers += 1
            return web.Response(status=(503, 429)[hashed[2] % 2])
        if self.breaks_after is not None and len(self.answered) >= self.breaks_after:
            return web.Response(status=404)
        if self.holds_after is not None and len(self.answered) >= self.holds_after:
            self.at_once_held += 1
            await asyncio.Event().wait()  # for ever: until the caller is gone
        self.answered.append(prompt(body))
        return web.json_response({"choices": [self._choice(body, hashed[0] % 16)]})

    def _choice(self, body: dict[str, Any], lot: int) -> dict[str, Any]:
        if lot < 4:
            self.outcomes["refused"] += 1
            return REFUSALS[lot]
        self.outcomes["rejected" if lot < 7 else "kept"] += 1
        text = "".join(f"[{mark}]" for mark in wanted(body, plausible=lot >= 7))
        return {"message": {"role": "assistant", "content": f"Well: {text}"}, "finish_reason": "stop"}


def prompt(body: dict[str, Any]) -> str:
    """The conversation that a request is about."""
    found = re.search("--- conversation ---\n(.*?)\n--- end", body["messages"][0]["content"], re.DOTALL)
    assert found
    return found[1]


def wanted(body: dict[str, Any], *, plausible: bool) -> list[str]:
    """The marks of a reply: those that must be there, or, implausibly, of another class than wanted."""
    asked: dict[str, set[str]] = {YES: set(), NO: set(), BETTER: set()}
    part = BETTER
    for line in body["messages"][0]["content"].splitlines():
        part = next((title for title in asked if title in line), part)
        if line.startswith("- ") and not (part == BETTER and not line.startswith("- yes")):
            asked[part] |= set(re.findall(r"\[(\w+)\]", line))
    if plausible:
        return sorted(asked[YES] | asked[BETTER])
    return ["off_topic"] if "answers" in asked[YES] else ["answers", "polite"]
