"""Servers of reward models that behave like vLLM's and OpenRLHF's, and the tokenizer both sides use.

tokenizer -> folder -> Encoder here, and the server's own reading of what it is sent
"""

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from rbr_service.conversation import Conversation, Message
from rbr_service.rewards.base import RewardRequest
from rbr_service.rewards.remote import Remote

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
THINKING = CHATML.replace("assistant\\n' }}{% endif", "assistant\\n<think>\\n\\n</think>\\n\\n' }}{% endif")
STRICT = (  # Gemma's and Mistral's way
    "{% if messages[0].role != 'user' %}{{ raise_exception('must begin with the user') }}{% endif %}" + CHATML
)
TEXT = "the capital of France is Paris and 1234567 words help me plan a birthday party " * 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def save_tokenizer(
    folder: Path, *, template: str = CHATML, text: str = TEXT, control: Sequence[str] = CONTROL
) -> Path:
    """A byte-level BPE tokenizer with a chat template, as a model's folder holds it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([text], trainer)
    made.add_special_tokens(list(control))
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    (folder / "chat_template.jinja").write_text(template)
    return folder


def logit(content: Any) -> float:
    """What these models answer: some number within ±8 for a content, the same each time."""
    digest = hashlib.sha256(json.dumps(content).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48 * 16 - 8


def conversation(*turns: str) -> Conversation:
    """Turns of user and assistant, the last one the completion."""
    roles = ("user", "assistant") * len(turns)
    prompt = tuple(Message(role, turn) for role, turn in zip(roles, turns[:-1], strict=False))
    return Conversation(prompt, turns[-1])


def asked(*conversations: Conversation) -> list[RewardRequest]:
    """Requests for these."""
    return [RewardRequest(c) for c in conversations]


def run(scenario: Awaitable[None]) -> None:
    """Run it, for 30 s at most."""

    async def limited() -> None:
        async with asyncio.timeout(30):
            await scenario

    asyncio.run(limited())


class RewardServer:
    """What every server here has: `bodies` of the calls, and ways to misbehave."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.faults: list[int] = []  # statuses that the next calls are answered with
        self.hold: asyncio.Event | None = None  # calls wait for it
        self.blocked: asyncio.Event | None = None  # all wait for it, as where the event loop computes
        self.at_once = self.most_at_once = self.dropped = 0
        self.answer: Callable[[list[Any]], Any] | None = None  # in place of the sound one, from the logits
        self.key: str | None = None
        self.strange = ""  # a path at which another kind of server answers
        self.url = ""

    @asynccontextmanager
    async def served(self, port: int = 0) -> AsyncIterator[str]:
        """Its URL, while it runs."""
        app = web.Application(middlewares=[self._guard], client_max_size=1 << 30)
        self.routes(app)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        try:
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self.url
        finally:
            await runner.cleanup()

    def routes(self, app: web.Application) -> None:
        """What it serves."""
        raise NotImplementedError

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.blocked:
            await self.blocked.wait()
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        if request.path == self.strange:
            return web.json_response({"detail": "what?"})
        return await handler(request)

    async def inferred(self, request: web.Request) -> dict[str, Any] | web.Response:
        """The body of a call to the model, once its turn has come; or the fault that it meets."""
        body: dict[str, Any] = await request.json()
        self.bodies.append(body)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.dropped += 1
            raise
        finally:
            self.at_once -= 1
        if self.faults:
            return web.Response(status=self.faults.pop(0), text="Internal Server Error")
        return body

    async def calls(self, count: int) -> None:
        """Return when so many calls have come."""
        while len(self.bodies) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class GetReward(RewardServer):
    """OpenRLHF's serve_rm: reads `query` alone."""

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/get_reward", self._rewards)
        app.router.add_post("/deep/score", self._rewards)

    async def _rewards(self, request: web.Request) -> web.Response:
        body = await self.inferred(request)
        if isinstance(body, web.Response):
            return body
        rewards = [logit(query) for query in body["query"]]
        sound = {"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}}
        return _json(self.answer(rewards) if self.answer else sound)


class Pooling(RewardServer):
    """vLLM with --runner pooling: a model with one class."""

    def __init__(self, folder: Path, model: str = "rm", context: int = 512) -> None:
        super().__init__()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model, self.context = model, context
        self.activation: Callable[[float, bool], float] = lambda raw, use: sigmoid(raw) if use else raw
        self.logit: Callable[[list[int]], float] = logit

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/classify", self._classify)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        card = {"id": self.model, "object": "model", "max_model_len": self.context}
        return web.json_response({"object": "list", "data": [card, {"id": "alias"}]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        ids = self.tokenizer.encode(body["prompt"], add_special_tokens=body["add_special_tokens"]).ids
        return web.json_response({"count": len(ids), "max_model_len": self.context, "tokens": ids})

    async def _classify(self, request: web.Request) -> web.Response:
        body = await self.inferred(request)
        if isinstance(body, web.Response):
            return body
        longest = max(map(len, body["input"]))
        if longest > self.context:
            return web.json_response({"error": {"message": f"{longest} tokens"}}, status=400)
        use = body.get("use_activation") is not False
        values = [self.activation(self.logit(ids), use) for ids in body["input"]]
        return _json(self.answer(values) if self.answer else classified(values))


def classified(values: Sequence[Any]) -> dict[str, Any]:
    """vLLM's answer."""
    rows = [{"index": i, "label": "LABEL_0", "probs": [v], "num_classes": 1} for i, v in enumerate(values)]
    return {"id": "classify-1", "object": "list", "model": "rm", "data": rows, "usage": {}}


def sigmoid(value: float) -> float:
    """Of a logit."""
    return 1 / (1 + math.exp(-value))


def _json(value: Any) -> web.Response:
    text = value if isinstance(value, str) else json.dumps(value)
    return web.Response(text=text, content_type="application/json")


@asynccontextmanager
async def open_calls(reward: Remote[Any]) -> AsyncIterator[None]:
    """A reward model with its connections open, not proved."""
    await reward.calls.open()
    try:
        yield
    finally:
        await reward.close()
