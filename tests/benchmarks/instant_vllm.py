"""`python -m tests.benchmarks.instant_vllm FOLDER PORT`: vLLM's HTTP without a model behind it.

Every answer is ready at once, so that what `rbr bench` tells of a service over it is the service's own:
cutting, writing prompts, tokenizing them, sending them, reading the answers. FOLDER gets the tests'
tokenizer, to be named with --grader-tokenizer.
"""

import json
import math
import sys
from pathlib import Path

from aiohttp import web

from tests.tokenizer import CONTEXT, save_tokenizer, tokenizer

MODEL = "instant"
MASS = 0.9  # of yes and no together


async def models(request: web.Request) -> web.Response:
    """The one model."""
    return web.json_response({"data": [{"id": MODEL, "max_model_len": CONTEXT}]})


async def tokenize(request: web.Request) -> web.Response:
    """As vLLM does with the same tokenizer."""
    text = (await request.json())["prompt"]
    return web.json_response({"tokens": tokenizer().encode(text, add_special_tokens=False).ids})


async def complete(request: web.Request) -> web.Response:
    """The same log probability for every label of every prompt."""
    body = await request.json()
    labels = body["logprob_token_ids"]
    top = {f"token_id:{label}": math.log(MASS / len(labels)) for label in labels}
    choices = [{"index": i, "logprobs": {"top_logprobs": [top]}} for i in range(len(body["prompt"]))]
    return web.Response(text=json.dumps({"choices": choices}), content_type="application/json")


async def health(request: web.Request) -> web.Response:
    """It is well."""
    return web.Response()


def main(folder: str, port: str) -> None:
    """Serve until told to stop."""
    save_tokenizer(Path(folder))
    app = web.Application(client_max_size=64 << 20)
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/v1/models", models),
            web.post("/tokenize", tokenize),
            web.post("/v1/completions", complete),
        ]
    )
    web.run_app(app, host="127.0.0.1", port=int(port), print=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
