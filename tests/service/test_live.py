"""`/v1/live` over the whole app, read as a browser reads it: ASGI messages as a server sends them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from rbr_service import live, recent
from rbr_service.app import create_app
from rbr_service.conversation import Conversation, Message
from rbr_service.graders.fixed import FixedGrader
from rbr_service.recent import BASELINE, WINDOW, Row
from rbr_service.reload import reload
from rbr_service.scorer import Sample
from rbr_service.state import State

MakeState = Callable[..., State]
Event = dict[str, Any]

KEY = "the-api-key"


class Stream:
    """One GET /v1/live: its events so far, and its end."""

    def __init__(self, app: FastAPI, last_event_id: str = "", key: str = "") -> None:
        sent = {"last-event-id": last_event_id, "x-api-key": key}
        headers = [(name.encode(), value.encode()) for name, value in sent.items() if value]
        self._app = app
        self._scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "path": live.PATH, "raw_path": live.PATH.encode(), "query_string": b"", "root_path": "",
            "scheme": "http", "headers": headers, "server": ("test", 80), "client": ("me", 1),
        }  # fmt: skip
        self._unread = True
        self.status = 0
        self.headers: dict[str, str] = {}
        self.text = ""
        self.id = ""
        self._left, self._more = asyncio.Event(), asyncio.Event()
        self._taken = 0
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def piece(self, text: str, times: int = 1) -> None:
        """Wait until so much of it has come."""
        while self.text.count(text) < times:
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 30)

    async def event(self) -> Event:
        """The next one: its name and data."""
        await self.piece("\n\n", self._taken + 1)
        block = self.text.split("\n\n")[self._taken]
        self._taken += 1
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        self.id = fields.get("id", self.id)
        data = json.loads(fields["data"], parse_constant=lambda constant: pytest.fail(constant))
        return {"event": fields["event"], **data}

    async def events(self, *names: str) -> list[Event]:
        """The next ones, which must have these names."""
        found = [await self.event() for _ in names]
        assert [event["event"] for event in found] == list(names)
        return found

    def leave(self) -> None:
        self._left.set()

    async def _receive(self) -> dict[str, Any]:
        if self._unread:
            self._unread = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        self.text += message.get("body", b"").decode()
        self._more.set()


class Scene:
    """A running app, and scores made through its scorer."""

    def __init__(self, state: State) -> None:
        self.state, self.app = state, create_app(state)

    async def score(self, count: int, kind: str = "comply", text: str = "Sorry") -> None:
        scorer = self.state.scorer
        samples = [
            Sample(Conversation((Message("user", "How?"),), f"{text} {i}."), kind) for i in range(count)
        ]
        self.state.recent.put(samples, await scorer.score(samples), scorer)

    @asynccontextmanager
    async def stream(self, last_event_id: str = "") -> AsyncIterator[Stream]:
        opened = Stream(self.app, last_event_id)
        try:
            yield opened
        finally:
            opened.leave()
            await asyncio.wait_for(opened.task, 30)


Play = Callable[[State, Callable[[Scene], Coroutine[None, None, None]]], None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Plays a scenario, its ticks short."""
    monkeypatch.setattr(live, "TICK", 0.01)

    def play(state: State, scenario: Callable[[Scene], Coroutine[None, None, None]]) -> None:
        asyncio.run(scenario(Scene(state)))

    return play


@pytest.fixture
def state(make_state: MakeState) -> State:
    return make_state(FixedGrader())


def rows(events: list[Event]) -> list[Row]:
    return [Row(*row) for event in events for row in event["rows"]]


def test_a_listener_hears_what_was_and_what_comes(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.score(3)
        await scene.score(2, "hard_refusal")
        async with scene.stream() as stream:
            hello, first, second, scores = await stream.events("hello", "baseline", "baseline", "scores")
            assert stream.status == 200
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["cache-control"] == "no-store"
            assert stream.headers["x-accel-buffering"] == "no"
            assert "content-encoding" not in stream.headers
            assert hello["policy"] == "safety"
            assert hello["reward_version"] == state.scorer.reward_version
            assert hello["columns"] == list(Row._fields)
            assert (hello["window"], hello["baseline"], hello["texts"]) == (WINDOW, BASELINE, False)
            assert hello["started"] <= hello["since"]
            kind = state.scorer.model.types["comply"]
            assert hello["response_types"]["comply"] == {
                "classes": list(kind.response_type.classes),
                "propositions": list(kind.propositions),
                "reward_range": {"low": kind.low, "high": kind.high},
            }
            kinds = [(one["response_type"], len(one["rows"])) for one in (first, second)]
            assert kinds == [("comply", 3), ("hard_refusal", 2)]
            assert (scores["total"], scores["left_out"], scores["texts"]) == (5, 0, {})
            assert [row.number for row in rows([scores])] == [1, 2, 3, 4, 5]
            await scene.score(2)
            (more,) = await stream.events("scores")
            assert (more["total"], [row.number for row in rows([more])]) == (7, [6, 7])

    play(state, scenario)


def test_rows_are_the_scores_rounded(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.score(1)
        async with scene.stream() as stream:
            *_, scores = await stream.events("hello", "baseline", "scores")
            (row,), (kept,) = rows([scores]), state.recent.window
            assert (row.number, row.response_type, row.best_class) == (1, "comply", kept.best_class)
            assert row.time == pytest.approx(kept.time, abs=1e-5)
            assert row[4:10] == pytest.approx(kept[4:10], abs=1e-6)
            assert row.p == pytest.approx(kept.p, abs=1e-4)

    play(state, scenario)


def test_nothing_scored_yet_is_a_greeting_alone(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.stream() as stream:
            await stream.events("hello")
            await scene.score(1)
            (scores,) = await stream.events("scores")
            assert scores["total"] == 1

    play(state, scenario)


def test_a_window_comes_whole_in_parts(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.score(WINDOW + 30)
        async with scene.stream() as stream:
            _, baseline, *parts = await stream.events(
                "hello", "baseline", *["scores"] * (WINDOW // live.AT_ONCE)
            )
            assert [row.number for row in rows([baseline])] == list(range(1, BASELINE + 1))
            assert [row.number for row in rows(parts)] == list(range(31, WINDOW + 31))
            assert {part["left_out"] for part in parts} == {0}
            assert [part["total"] for part in parts] == list(range(230, WINDOW + 31, 200))

    play(state, scenario)


def test_a_burst_is_thinned_and_what_is_left_out_is_told(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.stream() as stream:
            await stream.events("hello")
            await scene.score(WINDOW + 500)
            baseline, scores = await stream.events("baseline", "scores")
            assert len(baseline["rows"]) == BASELINE
            assert (len(scores["rows"]), scores["left_out"], scores["total"]) == (200, 2300, 2500)
            await scene.score(1)
            (scores,) = await stream.events("scores")
            assert (len(scores["rows"]), scores["left_out"], scores["total"]) == (1, 0, 2501)

    play(state, scenario)


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 399, 2000])
def test_thinning_takes_one_of_each_part_in_order(count: int) -> None:
    kept = [
        row.number
        for row in live.thinned([Row(i, 0, None, None, 0, 0, 0, 0, None, 0, ()) for i in range(count)], 200)
    ]
    assert len(kept) == min(count, 200)
    assert kept == sorted(set(kept))
    if count > 200:
        assert all(count * i // 200 <= one < count * (i + 1) // 200 for i, one in enumerate(kept))


def test_a_baseline_is_told_once_it_is_whole(
    play: Play, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (live, recent):
        monkeypatch.setattr(module, "BASELINE", 4)

    async def scenario(scene: Scene) -> None:
        async with scene.stream() as stream:
            await stream.events("hello")
            await scene.score(3)
            await stream.events("scores")
            await scene.score(2)
            baseline, scores = await stream.events("baseline", "scores")
            assert [row.number for row in rows([baseline])] == [1, 2, 3, 4]
            assert [row.number for row in rows([scores])] == [4, 5]
            await scene.score(1)
            await stream.events("scores")

    play(state, scenario)


def test_who_comes_back_goes_on_without_doubling(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.score(3)
        async with scene.stream() as stream:
            await stream.events("hello", "baseline", "scores")
        await scene.score(400)
        async with scene.stream(stream.id) as again:
            _, *parts = await again.events("baseline", "scores", "scores")
            assert [row.number for row in rows(parts)] == list(range(4, 404))
        async with scene.stream(again.id) as last:
            await last.events("baseline")
            await scene.score(1)
            (scores,) = await last.events("scores")
            assert [row.number for row in rows([scores])] == [404]

    play(state, scenario)


def test_rows_that_are_gone_meanwhile_are_told(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.score(3)
        async with scene.stream() as stream:
            await stream.events("hello", "baseline", "scores")
        await scene.score(WINDOW + 10)
        async with scene.stream(stream.id) as again:
            _, first = await again.events("baseline", "scores")
            assert (rows([first])[0].number, first["left_out"]) == (14, 10)

    play(state, scenario)


@pytest.mark.parametrize("place", ["x", "0-1", "{run}-99", "{run}--1", "{run}-1 ", "{run}-٣", "00000000-1"])
def test_a_place_that_is_none_of_this_run_begins_anew(play: Play, state: State, place: str) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.score(3)
        async with scene.stream(place.format(run=state.recent.run)) as stream:
            await stream.events("hello", "baseline", "scores")

    play(state, scenario)


def test_another_reward_version_begins_anew(play: Play, make_state: MakeState) -> None:
    state = make_state()

    async def scenario(scene: Scene) -> None:
        await scene.score(3)
        async with scene.stream() as stream:
            await stream.events("hello", "baseline", "scores")
            await reload(state)
            await scene.score(1)
            await stream.events("scores")
            await reload(state, "assistant_style")
            version, hello = await stream.events("version", "hello")
            assert version["reward_version"] == hello["reward_version"] == state.scorer.reward_version
            assert hello["policy"] == "assistant_style"
            await scene.score(2, "chat")
            (scores,) = await stream.events("scores")
            assert scores["total"] == 2
            assert [row.response_type for row in rows([scores])] == ["chat", "chat"]

    play(state, scenario)


def test_texts_come_where_they_are_allowed(play: Play, make_state: MakeState) -> None:
    for allowed in (False, True):
        state = make_state(FixedGrader(), live_texts=allowed)

        async def scenario(scene: Scene) -> None:
            await scene.score(60, text="\r\n\u2028<b>\ud83d")
            async with scene.stream() as stream:
                hello, _, scores = await stream.events("hello", "baseline", "scores")
                assert hello["texts"] is scene.state.settings.live_texts
                assert ("<b>" in stream.text) is hello["texts"]
                assert list(scores["texts"]) == ([str(i) for i in range(11, 61)] if hello["texts"] else [])
                if hello["texts"]:
                    assert scores["texts"]["60"] == {
                        "prompt": "How?", "prompt_left_out": 0,
                        "completion": "\r\n\u2028<b>\ufffd 59.", "completion_left_out": 0, "earlier": 0,
                    }  # fmt: skip

        play(state, scenario)


def test_a_stream_ends_when_the_service_stops(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        stream = Stream(scene.app)
        await stream.events("hello")
        state.stopping = True
        await asyncio.wait_for(stream.task, 30)

    play(state, scenario)


def test_it_is_no_request_in_flight_and_takes_no_time_to_answer(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        value = state.metrics.registry.get_sample_value
        async with scene.stream() as stream:
            await stream.events("hello")
            assert value("rbr_in_flight") == 0
        assert value("rbr_in_flight") == 0
        assert value("rbr_requests_total", {"route": live.PATH, "status": "200"}) == 1
        assert value("rbr_request_seconds_count", {"route": live.PATH}) is None

    play(state, scenario)


def test_a_quiet_stream_is_kept_open_by_comments(
    play: Play, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PING", 0.02)

    async def scenario(scene: Scene) -> None:
        async with scene.stream() as stream:
            await stream.events("hello")
            await stream.piece(": ping")

    play(state, scenario)


def test_listeners_are_limited_and_leaving_makes_room(play: Play, state: State) -> None:
    async def scenario(scene: Scene) -> None:
        streams = [Stream(scene.app) for _ in range(live.LISTENERS)]
        for stream in streams:
            await stream.events("hello")
        late = Stream(scene.app)
        await late.task
        assert late.status == 429
        assert json.loads(late.text)["error"]["code"] == "too_many_listeners"
        streams[0].leave()
        await streams[0].task
        async with scene.stream() as stream:
            await stream.events("hello")
        for stream in streams[1:]:
            stream.leave()
            await stream.task

    play(state, scenario)


def test_the_key_is_needed(play: Play, make_state: MakeState) -> None:
    state = make_state(FixedGrader(), api_key=SecretStr(KEY))

    async def scenario(scene: Scene) -> None:
        refused = Stream(scene.app)
        await refused.task
        assert (refused.status, json.loads(refused.text)["error"]["code"]) == (401, "unauthorized")
        stream = Stream(scene.app, key=KEY)
        await stream.events("hello")
        stream.leave()
        await stream.task

    play(state, scenario)


def test_every_answered_sample_counts_once_and_no_failure_does(make_state: MakeState) -> None:
    state = make_state(FixedGrader())
    body = {"query": ["Hi Yes", "Hi No"], "prompts": ["Hi ", "Hi "], "labels": ["comply", None]}
    with TestClient(create_app(state)) as client:
        client.post("/score", json=body)
        client.post("/slime", json={"prompt": "Hi", "response": "Yes", "label": "comply"})
        talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]
        answer = client.post(
            "/v1/score", json={"samples": [{"messages": talk, "response_type": "comply"}]}
        ).json()
        assert client.post("/score", json={**body, "labels": ["comply", "no such type"]}).status_code == 422
        assert client.post("/slime", json={"prompt": "Hi", "response": ""}).status_code == 422
    assert [row.response_type for row in state.recent.window] == ["comply", None, "comply", "comply"]
    assert state.recent.window[-1].reward == answer["results"][0]["reward"]
