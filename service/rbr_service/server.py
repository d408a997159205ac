"""uvicorn, stopped so that every connection that was opened gets its answer.

    SIGTERM -> the kernel takes no new connection -> those it holds are accepted -> the listener closes
            -> requests in flight are answered, silent connections get SILENCE seconds -> the app ends

uvicorn alone resets what waits in the listener's queue and closes at once what has not spoken yet.
A trainer opens a connection per sample, so at any moment there are some of both.
"""

import asyncio
import contextlib
import ctypes
import logging
import resource
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rbr_service import live
from rbr_service.errors import GraderDeadError
from rbr_service.reload import read_again
from rbr_service.settings import Settings
from rbr_service.state import State

BACKLOG = 2048
HANDSHAKE = 0.5  # seconds in which handshakes that have begun come to their end
SILENCE = 5.0  # seconds for a connection to speak after shutdown began, as long as uvicorn's keep-alive

_SO_ATTACH_FILTER = 26  # of Linux; Python's socket module lacks it
_DROP_SYN = (  # a classic BPF program over the TCP header
    (0x30, 0, 0, 13),  # load byte 13, the flags
    (0x45, 0, 1, 0x02),  # is SYN set?
    (0x06, 0, 0, 0),  # yes: drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # no: keep it
)


class Connection(HttpToolsProtocol):
    """Hears out a client that is connected and has not sent its request yet when shutdown begins."""

    _last = False

    def shutdown(self) -> None:
        """Finish the request in flight, or wait SILENCE seconds for one.

        A live stream ends by itself, unless its reader has stopped reading: it has no answer to lose.
        """
        self._last = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(SILENCE, super().shutdown)
        elif self.flow.write_paused and self.cycle.scope["path"] == live.PATH:
            self.transport.abort()
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        """Once shutdown began, a request is its connection's last."""
        super().on_headers_complete()
        if self._last and self.cycle is not None:
            self.cycle.keep_alive = False


class Server(uvicorn.Server):
    """Lets no request fall on its way out, and no fault on its way in."""

    def __init__(self, app: FastAPI, settings: Settings, state: State) -> None:
        """`state` is told that shutdown began, for /readyz."""
        config = uvicorn.Config(
            app, http=Connection, lifespan="off", access_log=False, backlog=BACKLOG, log_level="info",
            timeout_graceful_shutdown=settings.shutdown_grace,
        )  # fmt: skip
        super().__init__(config)
        self._app, self._state = app, state
        self._changes: set[asyncio.Task[None]] = set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve inside the app's lifespan: what uvicorn would log as a traceback is raised.

        Raises GraderDeadError when the grader's engine died: only a new process mends that.
        """
        async with self._app.router.lifespan_context(self._app):
            await super().serve(sockets)
            if self._state.dead:
                raise GraderDeadError(self._state.fault)

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop; uvicorn asks ten times a second."""
        return await super().on_tick(counter) or self._state.dead

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where, once connections are taken: uvicorn does not for sockets given to it."""
        await super().startup(sockets)
        for sock in sockets or []:
            host, port = sock.getsockname()[:2]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            logging.getLogger("uvicorn.error").info("Listening on http://%s (open it in a browser)", address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in every connection that was opened, then finish. Called on SIGTERM and SIGINT."""
        self._state.stopping = True
        for sock in sockets or []:
            _refuse_new(sock)
        await asyncio.sleep(HANDSHAKE)
        end = asyncio.get_running_loop().time() + SILENCE
        while any(_has_waiting(sock) for sock in sockets or []):
            if self.force_exit or asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)  # the last ones accepted get their protocol
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGHUP reads the policy again; a stop that was asked for is not raised again in the end."""
        with super().capture_signals():
            if threading.current_thread() is threading.main_thread():
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._read_again)
            yield
            self._captured_signals.clear()

    def _read_again(self) -> None:
        change = asyncio.get_running_loop().create_task(read_again(self._state))
        self._changes.add(change)  # the loop itself keeps no task alive
        change.add_done_callback(self._changes.discard)


def serve(app: FastAPI, settings: Settings, state: State) -> None:
    """Run until told to stop. Raises GraderError, or OSError when the address cannot be taken."""
    raise_file_limit()
    if threading.current_thread() is threading.main_thread():
        # until it serves, what there is to read has just been read
        signal.signal(signal.SIGHUP, lambda *_: None)
    with _bound(settings.host, settings.port) as sock:
        Server(app, settings, state).run(sockets=[sock])


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _refuse_new(listener: socket.socket) -> None:
    """Drop the SYN of new connections, and of those only.

    Closing the listener, or a backlog of 0, would reset clients that believe themselves connected.
    A client whose SYN is dropped tries again after a second and is refused by then.
    """
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # a kernel without it resets what comes in as the listener closes
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _has_waiting(listener: socket.socket) -> bool:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def raise_file_limit() -> None:
    """Every sample in flight is a connection, and the usual soft limit of 1,024 drops most of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 65536
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
