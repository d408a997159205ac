"""The server's way in and out: nobody who is connected goes unanswered, no fault is swallowed."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest
import uvloop
from click.testing import CliRunner

from rbr_service import server as module
from rbr_service.app import create_app
from rbr_service.cli import main
from rbr_service.conversation import Conversation
from rbr_service.errors import GraderError
from rbr_service.graders.fixed import FixedGrader
from rbr_service.graders.lexical import LexicalGrader
from rbr_service.scorer import Sample
from rbr_service.server import Server, serve
from rbr_service.state import State
from tests.conftest import MakeState

BODY = b'{"query": ["Sorry, no."], "prompts": [""], "labels": ["comply"]}'
REQUEST = (
    b"POST /score HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
LIVE = b"GET /v1/live HTTP/1.1\r\nHost: test\r\n\r\n"
READY = b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n"

Run = Callable[[Callable[["Served"], Coroutine[None, None, None]]], None]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; `run` limits the time."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


class Served:
    """A server in the test's own event loop."""

    def __init__(self, server: Server, task: asyncio.Task[None], port: int) -> None:
        self.task = task
        self.address = ("127.0.0.1", port)
        self._server, self._port = server, port

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator["Client"]:
        """A connection that the server has accepted."""
        known = len(self._server.server_state.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await until(lambda: len(self._server.server_state.connections) > known)
            yield Client(reader, writer)
        finally:
            writer.close()

    def stuck(self) -> bool:
        """Whether a connection waits for its reader."""
        return any(connection.flow.write_paused for connection in self._server.server_state.connections)  # type: ignore[union-attr]

    def knock(self) -> socket.socket:
        """A connection that the kernel has taken and the server not yet."""
        return socket.create_connection(("127.0.0.1", self._port), timeout=60)

    async def stop(self, at_last: Callable[[], None] = lambda: None) -> None:
        """Begin shutdown, with `at_last` just before, and wait until the listener is closed."""

        async def tick(counter: int) -> bool:
            at_last()
            return True

        self._server.on_tick = tick  # type: ignore[method-assign]
        await until(lambda: not any(listener.is_serving() for listener in self._server.servers))


class Client:
    """The other side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.read, self.write = reader.read, writer.write
        self._reader = reader

    async def answer(self) -> tuple[bytes, bytes]:
        """Head and body of the next answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head, await self._reader.readexactly(length)


@pytest.fixture
def run(make_state: MakeState, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a scenario against a server on uvloop, to the server's own end."""
    monkeypatch.setattr(module, "SILENCE", 60.0)
    monkeypatch.setattr(module, "HANDSHAKE", 0.0)
    state = make_state(FixedGrader())

    async def play(scenario: Callable[[Served], Coroutine[None, None, None]]) -> None:
        async with served(state) as running:
            await scenario(running)
            await running.task

    def run(scenario: Callable[[Served], Coroutine[None, None, None]]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(play(scenario), 60))

    return run


@contextlib.asynccontextmanager
async def served(state: State, send_buffer: int | None = None) -> AsyncIterator[Served]:
    """A server that has started; `send_buffer` in bytes, of each connection."""
    with socket.socket() as listener:
        if send_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        listener.bind(("127.0.0.1", 0))
        server = Server(create_app(state), state.settings, state)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        try:
            yield Served(server, task, listener.getsockname()[1])
        finally:
            task.cancel()


@pytest.mark.parametrize(
    "sent", [0, 30, REQUEST.index(b"{") + 5], ids=["nothing", "half a head", "half a body"]
)
def test_a_connection_that_has_not_asked_yet_is_heard(run: Run, sent: int) -> None:
    async def scenario(running: Served) -> None:
        async with running.client() as client:
            client.write(REQUEST[:sent])
            await running.stop()
            client.write(REQUEST[sent:])
            head, body = await client.answer()
            assert head.startswith(b"http/1.1 200 ")
            assert b"connection: close" in head
            assert b'"rewards":[' in body
            assert await client.read() == b""

    run(scenario)


def test_a_kept_connection_is_answered_once_more_and_told_to_close(run: Run) -> None:
    async def scenario(running: Served) -> None:
        async with running.client() as client:
            client.write(READY)
            head, _ = await client.answer()
            assert head.startswith(b"http/1.1 200 ")
            assert b"connection: close" not in head
            await running.stop()
            client.write(READY)
            head, body = await client.answer()
            assert head.startswith(b"http/1.1 503 ")
            assert b"connection: close" in head
            assert b'"not_ready"' in body

    run(scenario)


def test_connections_that_the_kernel_holds_are_taken_in(run: Run) -> None:
    async def scenario(running: Served) -> None:
        waiting: list[socket.socket] = []
        with contextlib.ExitStack() as closing:

            def knock() -> None:
                waiting.extend(closing.enter_context(running.knock()) for _ in range(20))

            await running.stop(at_last=knock)
            for connection in waiting:
                connection.sendall(READY)
            for connection in waiting:
                answer = await asyncio.to_thread(connection.recv, 65536)
                assert answer.startswith(b"HTTP/1.1 503 ")

    run(scenario)


def test_a_silent_connection_is_closed_after_a_while(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.01)

    async def scenario(running: Served) -> None:
        async with running.client() as client:
            await running.stop()
            assert await client.read() == b""

    run(scenario)


def test_a_live_stream_whose_reader_stopped_reading_is_cut_off(make_state: MakeState) -> None:
    async def scenario() -> None:
        state = make_state(FixedGrader())
        samples = [Sample(Conversation((), f"No {i}."), "comply") for i in range(2000)]
        state.recent.put(samples, await state.scorer.score(samples), state.scorer)
        async with served(state, send_buffer=4096) as running:
            with socket.socket() as reader:
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                reader.setblocking(False)
                await asyncio.get_running_loop().sock_connect(reader, running.address)
                await asyncio.get_running_loop().sock_sendall(reader, LIVE)
                await until(running.stuck)
                await running.stop()
                await running.task

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 60))


def test_new_connections_are_refused_without_harm_to_those_that_are_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as late:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=60) as early:
            module._refuse_new(listener)
            late.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.connect(address)
            taken, _ = listener.accept()
            with taken:
                early.sendall(b"hello")
                assert taken.recv(5) == b"hello"
                taken.sendall(b"you")
                assert early.recv(3) == b"you"
            assert not module._has_waiting(listener)


async def broken(_: object) -> None:
    """In place of a grader's start."""
    raise GraderError("no such device: choose another grader")


def test_a_grader_that_cannot_start_is_raised(make_state: MakeState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FixedGrader, "start", broken)
    state = make_state(FixedGrader(), port=0)
    with pytest.raises(GraderError, match="no such device"):
        serve(create_app(state), state.settings, state)
    assert not state.ready


async def hung_up_on(_: object) -> None:
    """In place of a grader's start, which may take minutes."""
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0)
    await broken(_)


def test_a_hang_up_while_it_starts_is_no_end(make_state: MakeState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FixedGrader, "start", hung_up_on)
    state = make_state(FixedGrader(), port=0)
    before = state.scorer
    try:
        with pytest.raises(GraderError, match="no such device"):
            serve(create_app(state), state.settings, state)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert state.scorer is before


def test_a_grader_that_cannot_start_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LexicalGrader, "start", broken)
    result = CliRunner().invoke(main, ["serve", "--port", "0"])
    assert result.exit_code == 1
    note, refusal = result.output.splitlines()
    assert note.startswith("rbr: note: ")
    assert refusal == "rbr: no such device: choose another grader"
