"""The HTTP engine against a server that answers as it is told: nothing is guessed from a wrong answer."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from rbr_service.errors import GraderError
from rbr_service.graders.engine import Answer, ModelIdentity, Prompts
from rbr_service.graders.openai_http import HTTPEngine

PROBE = ("Hello 1", (7, 8, 9))
PROMPTS = Prompts((1, 2, 3), ((4,), (5, 6)))
LABELS = (11, 12)
MODELS = {"data": [{"id": "m", "max_model_len": 100}, {"id": "lora", "parent": "m", "max_model_len": None}]}


class Fake:
    """A server whose answers a test may change."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.at_work = self.most = 0
        self.models: Any = MODELS
        self.tokens: Any = {"tokens": [7, 8, 9]}
        self.reply: Any = {
            "choices": [
                {"index": 1, "logprobs": {"top_logprobs": [{"token_id:11": -1.5, "token_id:12": -9999.0}]}},
                {"index": 0, "logprobs": {"top_logprobs": [{"token_id:12": -2, "token_id:11": 0.0}]}},
            ],
        }

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/health":
            return web.Response()
        if request.path == "/v1/models":
            return web.json_response(self.models)
        body = await request.read()
        if request.path == "/tokenize":
            return web.json_response(self.tokens)
        self.bodies.append(body)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await asyncio.sleep(0.02)
        self.at_work -= 1
        return web.Response(text=json.dumps(self.reply))

    def run(self, calls: int = 1, model: str = "m", prompts: Prompts = PROMPTS) -> list[Any]:
        """What as many calls of `answers` give, and the context."""
        return asyncio.run(self._run(calls, model, prompts))

    async def _run(self, calls: int, model: str, prompts: Prompts) -> list[Any]:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        engine = HTTPEngine(
            url, model, probe=PROBE, revision="r1", precision="bfloat16", concurrency=3, start_patience=0.1
        )
        assert engine.identity == ModelIdentity(model, "r1", "bfloat16")
        try:
            await engine.start()
            await engine.check()
            found = await asyncio.gather(*(_answers(engine, prompts) for _ in range(calls)))
            return [*found, engine.context]
        finally:
            await engine.close()
            await runner.cleanup()


async def _answers(engine: HTTPEngine, prompts: Prompts) -> dict[int, Answer]:
    return {index: answer async for index, answer in engine.answers(prompts, LABELS)}


@pytest.fixture
def fake() -> Fake:
    return Fake()


def test_answers_are_told_apart_by_index(fake: Fake) -> None:
    assert fake.run() == [{0: Answer((0.0, -2.0)), 1: Answer((-1.5, -9999.0))}, 100]


def test_all_prompts_go_in_one_call_as_token_ids(fake: Fake) -> None:
    fake.run()
    fake.reply["choices"] = fake.reply["choices"][1:]
    fake.run(prompts=Prompts((), ((4, 5),)))
    first, second = map(json.loads, fake.bodies)
    assert first == {
        "model": "m",
        "prompt": [[1, 2, 3, 4], [1, 2, 3, 5, 6]],
        "max_tokens": 1,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": 1,
        "logprob_token_ids": [11, 12],
        "return_tokens_as_token_ids": True,
    }
    assert second["prompt"] == [[4, 5]]


def test_a_prompt_of_megabytes_is_sent(fake: Fake) -> None:
    fake.run(prompts=Prompts(tuple(range(100_000, 200_000)), ((1,), (2,))))
    assert len(fake.bodies[0]) > 1_400_000


def test_no_more_calls_than_allowed(fake: Fake) -> None:
    fake.run(20)
    assert fake.most == 3


def test_an_adapter_has_its_base_models_context(fake: Fake) -> None:
    assert fake.run(model="lora")[-1] == 100


def _without(label: str) -> dict[str, float]:
    return {name: -1.0 for name in ("token_id:11", "token_id:12") if name != label}


@pytest.mark.parametrize(
    ("tops", "problem"),
    [
        (_without("token_id:12"), "no log probability for token_id:12"),
        ({"token_id:11": None, "token_id:12": -1}, "no log probability for token_id:11"),
        ({"token_id:11": True, "token_id:12": -1}, "no log probability for token_id:11"),
        ({"token_id:11": float("nan"), "token_id:12": -1}, "no log probability for token_id:11"),
        ({"token_id:11": 4.5, "token_id:12": -1}, "above 0"),
        (None, "without logprobs"),
    ],
)
def test_a_wrong_log_probability_is_refused(fake: Fake, tops: Any, problem: str) -> None:
    fake.reply["choices"][0]["logprobs"]["top_logprobs"] = [tops]
    with pytest.raises(GraderError, match=problem):
        fake.run()


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ([], "without the list 'choices'"),
        ({"choices": []}, "0 choices for 2 prompts"),
        ({"choices": [{"index": 0}, {"index": 0}]}, "1 choices for 2 prompts"),
        ({"choices": [{"index": 0}, {"index": 1}]}, "without logprobs"),
        ({"choices": [{"index": 0, "logprobs": {"top_logprobs": []}}, {"index": 1}]}, "without logprobs"),
    ],
)
def test_a_wrong_answer_is_refused(fake: Fake, reply: Any, problem: str) -> None:
    fake.reply = reply
    with pytest.raises(GraderError, match=problem):
        fake.run()


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        ({"data": [{"id": "other", "max_model_len": 5}]}, "serves no model 'm'; it serves: other"),
        ({"data": [{"id": "m"}]}, "is it a vLLM server"),
        ({}, "without the list 'data'"),
    ],
)
def test_a_wrong_server_is_refused(fake: Fake, models: Any, problem: str) -> None:
    fake.models = models
    with pytest.raises(GraderError, match=problem):
        fake.run()


def test_another_tokenizer_is_refused(fake: Fake) -> None:
    fake.tokens = {"tokens": [7, 8]}
    with pytest.raises(GraderError, match="not the server's"):
        fake.run()
