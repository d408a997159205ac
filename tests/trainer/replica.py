"""A real HTTP server whose answers are written down beforehand, and a clock that no test waits for."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from rbr_trainer.address import Address


@dataclass(frozen=True)
class Said:
    """One answer; an object is sent as JSON."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        if isinstance(self.body, str):
            return web.Response(status=self.status, text=self.body, headers=self.headers)
        return web.json_response(self.body, status=self.status, headers=self.headers)


VERSION = "4d3e58a8"
BODY: dict[str, Any] = {
    "rewards": [5.5], "scores": [0.75], "extra_logs": {"rbr_base": [0.5]}, "reward_version": VERSION,
}  # fmt: skip
GOOD = Said(200, BODY)
DROPPED = Said(-1)  # the connection is closed without a word
SILENT = Said(-2)  # nothing comes


def failed(status: int, code: str = "a_code", **headers: str) -> Said:
    return Said(status, {"error": {"code": code, "message": "what to do"}}, headers)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Replica:
    """Answers each request with the next of `answers`, from the last on with that one."""

    def __init__(self, *answers: Said, port: int = 0) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[web.Request, Any]] = []
        self.port = port
        self._end = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end.set()
        await self._runner.cleanup()

    @property
    def address(self) -> Address:
        return Address(f"http://127.0.0.1:{self.port}")

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((request, await request.json() if request.can_read_body else None))
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if said is DROPPED:
            assert request.transport
            request.transport.close()
        if said is SILENT:
            await self._end.wait()
        return said.response() if said.status > 0 else web.Response()


@dataclass
class Time:
    """Passes only while a client waits between its tries."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
