"""A grader's server that speaks as vLLM's does, in a thread: answers are a function of the prompt.

token ids of prompts -> log probabilities of the labels; one prompt in RARE gets a low label mass
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from tokenizers import Tokenizer

from tests.engine import HashEngine

MODEL = "hash"
RARE = 400


class ModelServer:
    """What it serves, over a model's folder with a tokenizer."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._sound, self._astray = HashEngine(mass=0.95), HashEngine(mass=0.2)

    def app(self) -> web.Application:
        """The routes that a grader over HTTP asks for."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/v1/completions", self._complete)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": MODEL, "max_model_len": self._sound.context}]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        text = (await request.json())["prompt"]
        return web.json_response({"tokens": self._tokenizer.encode(text, add_special_tokens=False).ids})

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        labels = body["logprob_token_ids"]
        choices = [self._choice(i, prompt, labels) for i, prompt in enumerate(body["prompt"])]
        return web.json_response({"choices": choices})

    def _choice(self, index: int, prompt: list[int], labels: list[int]) -> dict[str, Any]:
        engine = self._sound if sum(prompt) % RARE else self._astray
        logprobs = engine.logprobs(tuple(prompt), labels)
        named = {f"token_id:{label}": value for label, value in zip(labels, logprobs, strict=True)}
        return {"index": index, "logprobs": {"top_logprobs": [named]}}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The server's URL, while it runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = web.AppRunner(ModelServer(folder).app())

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
