"""Callers that leave and come again, through the whole app: ASGI messages as a server sends them."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fastapi import FastAPI

from rbr_service.app import create_app
from rbr_service.graders.fixed import FixedGrader
from rbr_service.state import State
from rbr_service.work import CLIENT_GONE, Work

MakeState = Callable[..., State]
Message = dict[str, Any]

LINGER, LOOK = 0.3, 0.01


class Call:
    """One POST /score; `leave` closes its connection."""

    def __init__(self, app: FastAPI, completion: str = "Sorry.") -> None:
        body = {"query": ["Hi " + completion], "prompts": ["Hi "], "labels": ["K-R"]}
        self.sent: list[Message] = []
        self._left = asyncio.Event()
        self._unread = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "path": "/score", "raw_path": b"/score", "query_string": b"", "root_path": "", "scheme": "http",
            "headers": [(b"content-type", b"application/json")], "server": ("test", 80), "client": ("me", 1),
        }  # fmt: skip
        self.task = asyncio.create_task(_run(app(scope, self._receive, self._send)))

    def leave(self) -> None:
        self._left.set()

    async def status(self) -> int:
        await self.task
        return int(self.sent[0]["status"])

    async def answer(self) -> Any:
        await self.task
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))

    async def _receive(self) -> Message:
        if self._unread:
            return self._unread.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


async def _run(answering: Coroutine[Any, Any, None]) -> None:
    await answering


@pytest.fixture
def grader() -> FixedGrader:
    return FixedGrader(delay=0.2)


@pytest.fixture
def state(make_state: MakeState, grader: FixedGrader) -> State:
    state = make_state(grader)
    state.work = Work(LINGER, LOOK)
    return state


def test_equal_requests_in_flight_are_graded_once(state: State, grader: FixedGrader) -> None:
    async def scenario() -> None:
        app = create_app(state)
        calls = [Call(app), Call(app), Call(app), Call(app, "Another.")]
        answers = [await call.answer() for call in calls]
        assert answers[0] == answers[1] == answers[2]
        assert grader.calls == 2

    asyncio.run(scenario())


def test_a_client_that_leaves_is_noticed_and_its_retry_joins(state: State, grader: FixedGrader) -> None:
    async def scenario() -> None:
        app = create_app(state)
        first = Call(app)
        await asyncio.sleep(0.05)
        first.leave()
        assert await first.status() == CLIENT_GONE
        retry = Call(app)
        assert await retry.status() == 200
        assert (grader.calls, grader.cancelled) == (1, 0)

    asyncio.run(scenario())


def test_work_that_nobody_waits_for_ends_after_a_while(make_state: MakeState) -> None:
    async def scenario() -> None:
        grader = FixedGrader(delay=60)
        state = make_state(grader)
        state.work = Work(LINGER, LOOK)
        call = Call(create_app(state))
        await asyncio.sleep(0.05)
        call.leave()
        assert await call.status() == CLIENT_GONE
        assert grader.cancelled == 0
        await asyncio.sleep(2 * LINGER)
        assert grader.cancelled == 1
        assert state.metrics.registry.get_sample_value("rbr_in_flight") == 0
        assert state.metrics.registry.get_sample_value("rbr_failures_total", {"code": "client_gone"}) == 1

    asyncio.run(scenario())


def test_a_client_that_leaves_takes_nothing_from_the_others(state: State, grader: FixedGrader) -> None:
    async def scenario() -> None:
        app = create_app(state)
        stays, leaves = Call(app), Call(app)
        await asyncio.sleep(0.05)
        leaves.leave()
        assert await leaves.status() == CLIENT_GONE
        assert await stays.status() == 200
        assert (grader.calls, grader.cancelled) == (1, 0)

    asyncio.run(scenario())
