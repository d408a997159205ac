"""Mutated requests among sound ones: a typed refusal or a whole answer to each, and no harm to the others."""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aiohttp

from tests.e2e.load import PROMPT
from tests.e2e.processes import SERVE, Service, service

from .judge import START
from .mutations import edited, spoilt

REQUESTS = 10_000
RAW = 10  # one request in so many is spoilt in its head too
SOUND = 10  # garbage between two sound requests
AT_ONCE = 8
SEED = 20240726
HEADERS = {"Content-Type": "application/json"}

SAID = "I'm sorry, but I can't help with that."
TALK = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": SAID}]
LABEL = {"response_type": "hard_refusal", "base_reward": 0.5, "messages": TALK[:1]}
BODIES: dict[str, Any] = {
    "/score": {"query": [PROMPT + SAID] * 2, "prompts": [PROMPT] * 2, "labels": ["hard_refusal", LABEL]},
    "/get_reward": {"query": [PROMPT + SAID], "prompts": [PROMPT], "labels": [json.dumps(LABEL)]},
    "/v1/score": {"samples": [
        {"id": "a", "messages": TALK, "response_type": "hard_refusal"},
        {"id": 2, "messages": TALK, "category": "K-R", "base_reward": 0.5},
    ], "policy": "safety"},
    "/slime": {"prompt": TALK[:1], "response": SAID, "label": "hard_refusal"},
}  # fmt: skip


def test_10000_mutated_requests(lost: str) -> None:
    with service(SERVE, patience=START) as running:
        garbage = Garbage(running)
        asyncio.run(garbage.sent())
        assert running.get("/readyz")["status"] == "ready"
        metrics = running.text("/metrics")
        running.terminate()
        assert running.exit_code() == 0
    assert not garbage.wrong, garbage.wrong[:3]
    assert sum(garbage.answers.values()) == REQUESTS
    assert garbage.sound == REQUESTS // SOUND
    for status in (200, 400, 422):  # it gets past the parser, and past the schema
        assert garbage.answers[status] > REQUESTS // 50, garbage.answers
    assert 'code="internal_error"' not in metrics
    assert "Traceback" not in running.log
    assert lost == f"0 of {garbage.sound:,} sound samples between them"


class Garbage:
    """Sent over a few connections; `wrong` is what no service should have answered, with what was asked."""

    def __init__(self, running: Service) -> None:
        self.answers: Counter[int] = Counter()  # by status; 0: none, to a request that is no HTTP
        self.sound = 0
        self.wrong: list[tuple[str, bytes, bytes]] = []
        self._port = running.port
        self._truth: dict[str, bytes] = {}

    async def sent(self) -> None:
        """Send all of it."""
        url = f"http://127.0.0.1:{self._port}"
        patience = aiohttp.ClientTimeout(total=START)
        async with aiohttp.ClientSession(url, headers=HEADERS, timeout=patience) as session:
            for path, body in BODIES.items():
                _, self._truth[path] = await self._post(session, path, json.dumps(body).encode())
            numbers = iter(range(REQUESTS))
            await asyncio.gather(*(self._each(session, numbers) for _ in range(AT_ONCE)))

    async def _each(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        for number in numbers:
            chance = random.Random(SEED + number)
            path, body = chance.choice(list(BODIES.items()))
            content = spoilt(body, chance)
            if number % RAW:
                status, answer = await self._post(session, path, content)
                fine = whole(path, answer) if status == 200 else 400 <= status < 500 and typed(answer)
            else:
                content = edited(message(path, content), chance)
                status, answer = await self._raw(content)
                fine = status < 500
            self.answers[status] += 1
            if not fine:
                self.wrong.append((path, content, answer))
            if number % SOUND == 0:
                await self._still_right(session, path)

    async def _still_right(self, session: aiohttp.ClientSession, path: str) -> None:
        status, answer = await self._post(session, path, json.dumps(BODIES[path]).encode())
        self.sound += 1
        if status != 200 or answer != self._truth[path]:
            self.wrong.append((path, b"the sound one", answer))

    async def _post(self, session: aiohttp.ClientSession, path: str, body: bytes) -> tuple[int, bytes]:
        async with session.post(path, data=body) as answer:
            return answer.status, await answer.read()

    async def _raw(self, content: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(content)
            writer.write_eof()
            answer = await reader.read()
        except ConnectionError:  # it need not hear out what is no HTTP
            answer = b""
        finally:
            writer.close()
        status = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
        return int(status[1]) if status else 0, answer


def message(path: str, body: bytes) -> bytes:
    """A whole HTTP request."""
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def whole(path: str, content: bytes) -> bool:
    """Whether an answer is one of rewards, all of them finite."""
    answer = json.loads(content, parse_constant=lambda name: name)
    if path == "/slime":
        return isinstance(answer, float)
    rewards = answer["rewards"] if "rewards" in answer else [one["reward"] for one in answer["results"]]
    return all(isinstance(reward, float) for reward in rewards)


def typed(content: bytes) -> bool:
    """Whether an answer is the error that every refusal is."""
    error = json.loads(content)["error"]
    return isinstance(error["code"], str) and isinstance(error["message"], str)
