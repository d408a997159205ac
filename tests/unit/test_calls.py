"""Calls to a model's server, against a real one on this machine that misbehaves as it is told."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from rbr_service import calls
from rbr_service.calls import CallError, Calls
from rbr_service.errors import SettingsError

KEY = "sk-secret-key"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _server(handler: Handler, port: int = 0) -> AsyncIterator[str]:
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _calls(
    url: str, *, key: str | None = None, patience: float = 10.0, concurrency: int = 8
) -> AsyncIterator[Calls]:
    made = Calls(url, key=key, concurrency=concurrency, patience=patience)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(calls, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(calls, "LOOK", 0.01)


def _answers(*statuses: int, text: str = '{"n": 1}') -> tuple[Handler, list[web.Request]]:
    """A server that gives these statuses in turn, then the last for ever."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request)
        status = statuses[min(len(seen), len(statuses)) - 1]
        return web.Response(status=status, text=text if status == 200 else f"fault {status}")

    return handler, seen


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_post_is_answered() -> None:
    async def run() -> None:
        handler, seen = _answers(200)
        async with _server(handler) as url, _calls(url, key=KEY) as made:
            assert await made.post("/v1/completions", b"{}") == {"n": 1}
            assert seen[0].headers["Authorization"] == f"Bearer {KEY}"
            assert seen[0].content_type == "application/json"
            assert made.fault == ""

    asyncio.run(run())


def test_without_a_key_no_header_is_sent() -> None:
    async def run() -> None:
        handler, seen = _answers(200)
        async with _server(handler) as url, _calls(url) as made:
            await made.post("/", b"{}")
            assert "Authorization" not in seen[0].headers

    asyncio.run(run())


def test_a_body_of_megabytes_arrives_whole() -> None:
    body = b"[" + b"12345," * 500_000 + b"1]"
    sizes: list[int] = []

    async def handler(request: web.Request) -> web.Response:
        sizes.append(len(await request.read()))
        return web.Response(status=200 if len(sizes) > 1 else 503, text="{}")

    async def run() -> None:
        async with _server(handler) as url, _calls(url) as made:
            await made.post("/", body)

    asyncio.run(run())
    assert sizes == [len(body)] * 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_transient_statuses_are_tried_again(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rbr.calls")

    async def run() -> None:
        handler, seen = _answers(*[status] * 5, 200)
        async with _server(handler) as url, _calls(url) as made:
            assert await made.post("/", b"{}") == {"n": 1}
            assert len(seen) == 6
            assert made.retries == 5
            assert made.fault == ""

    asyncio.run(run())
    assert len([r for r in caplog.records if "trying again" in r.message]) == 1
    assert "answers again" in caplog.text


@pytest.mark.parametrize("status", [301, 400, 401, 404, 422, 501])
def test_other_statuses_are_final(status: int) -> None:
    async def run() -> None:
        handler, seen = _answers(status)
        async with _server(handler) as url, _calls(url) as made:
            with pytest.raises(CallError, match=f"answered {status}") as caught:
                await made.post("/", b"{}")
            assert caught.value.status == status
            assert len(seen) == 1

    asyncio.run(run())


def test_a_500_is_tried_a_few_times_only() -> None:
    async def run() -> None:
        handler, seen = _answers(500)
        async with _server(handler) as url, _calls(url) as made:
            with pytest.raises(CallError, match="answered 500"):
                await made.post("/", b"{}")
            assert len(seen) == 1 + calls.SERVER_ERRORS
            assert "500" in made.fault

    asyncio.run(run())


def test_patience_ends() -> None:
    async def run() -> None:
        handler, seen = _answers(503)
        async with _server(handler) as url, _calls(url, patience=0.5) as made:
            loop = asyncio.get_running_loop()
            begin = loop.time()
            with pytest.raises(CallError, match="answered 503"):
                await made.post("/", b"{}")
            assert 0.5 <= loop.time() - begin < 1.5
            assert len(seen) > 3

    asyncio.run(run())


def test_a_server_that_comes_back_is_asked_again() -> None:
    port = _free_port()

    async def run() -> None:
        handler, _ = _answers(200)
        async with _calls(f"http://127.0.0.1:{port}") as made:
            waiting = asyncio.create_task(made.post("/", b"{}"))
            await asyncio.sleep(0.1)
            assert made.fault
            assert not waiting.done()
            async with _server(handler, port):
                assert await waiting == {"n": 1}
            assert made.fault == ""

    asyncio.run(run())


def test_broken_connections_are_tried_again() -> None:
    breaks = ["no answer", "half an answer"]

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        kind = breaks.pop(0) if breaks else ""
        if kind == "half an answer":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b'{"n":')
        if kind:
            assert request.transport
            request.transport.abort()
            await asyncio.sleep(0.05)
        return web.json_response({"n": 2})

    async def run() -> None:
        async with _server(handler) as url, _calls(url) as made:
            assert await made.post("/", b"{}") == {"n": 2}
            assert made.retries == 2

    asyncio.run(run())


def test_a_hung_server_costs_one_patience_not_more() -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        await asyncio.sleep(60)
        return web.Response()

    async def run() -> None:
        async with _server(handler) as url, _calls(url, patience=0.3) as made:
            loop = asyncio.get_running_loop()
            begin = loop.time()
            with pytest.raises(CallError, match=r"no answer within 0\.3 s"):
                await made.post("/", b"{}")
            assert loop.time() - begin < 1
            assert len(seen) == 1
            assert "no answer within" in made.fault
            assert made.retries == 0

    asyncio.run(run())


@pytest.mark.parametrize("text", ["<html>", '{"n": 1', '{"n": 1, "n": 2}'])
def test_what_is_not_json_is_a_fault(text: str) -> None:
    async def run() -> None:
        handler, seen = _answers(200, text=text)
        async with _server(handler) as url, _calls(url) as made:
            with pytest.raises(CallError, match="not JSON"):
                await made.post("/", b"{}")
            assert len(seen) == 1

    asyncio.run(run())


def test_an_empty_answer_is_none() -> None:
    async def run() -> None:
        handler, _ = _answers(200, text="")
        async with _server(handler) as url, _calls(url) as made:
            assert await made.get("/health") is None

    asyncio.run(run())


def test_no_more_posts_than_allowed_and_a_check_passes_them() -> None:
    posting = most = 0
    release = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        nonlocal posting, most
        if request.method == "GET":
            return web.Response()
        posting += 1
        most = max(most, posting)
        await release.wait()
        posting -= 1
        return web.json_response({})

    async def run() -> None:
        async with _server(handler) as url, _calls(url, concurrency=3) as made:
            waiting = [asyncio.create_task(made.post("/", b"{}")) for _ in range(10)]
            await asyncio.sleep(0.1)
            await made.get("/health", seconds=1)
            waiting[9].cancel()  # one that waits for its turn
            release.set()
            await asyncio.gather(*waiting[:9])
            assert waiting[9].cancelled()

    asyncio.run(run())
    assert most == 3


def test_neither_the_key_nor_what_was_sent_is_in_a_message() -> None:
    refusal = (
        "{\"error\": {\"message\": \"1 validation error: {'type': 'int_type', 'loc': ('body',), "
        f"'msg': 'must be whole', 'input': 'a secret text'}} {KEY}\"}}}}"
    )

    async def handler(request: web.Request) -> web.Response:
        ids = "prompt [9906, 11, 1917, 0, 15836] is too long"
        text = refusal if request.path == "/words" else f"{ids} for {request.headers['Authorization']}"
        return web.Response(status=400, text=text)

    async def run() -> None:
        async with _server(handler) as url, _calls(url, key=KEY) as made:
            for path in ("/words", "/ids"):
                with pytest.raises(CallError) as caught:
                    await made.post(path, b"{}")
                for secret in (KEY, "secret text", "9906", "15836"):
                    assert secret not in caught.value.message
            assert "is too long" in caught.value.message

    asyncio.run(run())


def test_nothing_that_a_server_says_is_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "rbr")
    monkeypatch.setattr(calls, "SAY", 0.02)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=503, text="cannot serve 'secret text' now")

    async def run() -> None:
        async with _server(handler) as url, _calls(url, patience=0.2) as made:
            with pytest.raises(CallError, match="answered 503: cannot serve"):
                await made.reached("/health", 0.2)
            with pytest.raises(CallError, match="answered 503: cannot serve"):
                await made.post("/classify", b"{}")
            assert made.fault == f"{url}/classify answered 503"

    asyncio.run(run())
    assert "/health answered 503" in caplog.text
    assert "/classify answered 503; trying again" in caplog.text
    assert "secret" not in caplog.text


def test_nothing_of_an_answer_that_is_no_http_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"a secret text\r\n\r\n")
        writer.close()

    async def run() -> None:
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        async with await asyncio.start_server(answer, "127.0.0.1", port), _calls(url, patience=0.2) as made:
            with pytest.raises(CallError):
                await made.post("/", b"{}")
            assert made.fault

    asyncio.run(run())
    assert "trying again" in caplog.text
    assert "secret" not in caplog.text


def test_a_key_that_no_header_can_hold_is_refused() -> None:
    for key in ("two\nlines", "sk-\N{EM DASH}"):
        with pytest.raises(SettingsError) as caught:
            Calls("http://127.0.0.1:1", key=key, concurrency=1, patience=1)
        assert key not in caught.value.message


def test_a_server_on_its_way_is_waited_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SAY", 0.05)
    port = _free_port()

    async def run() -> None:
        handler, _ = _answers(503, 503, 200)
        async with _calls(f"http://127.0.0.1:{port}") as made:
            waiting = asyncio.create_task(made.reached("/health", 10))
            await asyncio.sleep(0.2)
            async with _server(handler, port):
                assert await waiting == {"n": 1}
            with pytest.raises(CallError, match="not there after"):
                await made.reached("/health", 0.1)

    asyncio.run(run())
    assert "waiting since" in caplog.text


def test_waiting_ends_at_once_where_it_cannot_help() -> None:
    async def run() -> None:
        handler, seen = _answers(401)
        async with _server(handler) as url, _calls(url) as made:
            with pytest.raises(CallError, match="answered 401"):
                await made.reached("/v1/models", 10)
            assert len(seen) == 1

    asyncio.run(run())


def test_calls_that_are_not_open_fail_at_once() -> None:
    async def run() -> Any:
        await Calls("http://127.0.0.1:1", key=None, concurrency=1, patience=60).post("/", b"{}")

    with pytest.raises(CallError, match="no session is open"):
        asyncio.run(run())
