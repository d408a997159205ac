"""A server that answers /score as it is told to, one by one, and counts connections."""

import json
from typing import Any

from aiohttp import web

from .reward_servers import RewardServer

SOUND: dict[str, Any] = {"rewards": [1.5], "scores": [0.5], "reward_version": "v1"}
BROKEN = "broken"  # in place of an answer: the connection ends


class ScoreServer(RewardServer):
    """`script`: what the next calls are answered with, (status, body) or BROKEN; then SOUND."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[tuple[int, Any] | str] = []
        self.connections: set[Any] = set()

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/v1/policy", self._policy)
        app.router.add_post("/score", self._score)

    async def _ready(self, request: web.Request) -> web.Response:
        told = {"status": "ready", "policy": "safety", "grader": "lexical", "reward_version": "v1"}
        return web.json_response(told)

    async def _policy(self, request: web.Request) -> web.Response:
        return web.json_response({"response_type_hashes": {"comply": "c"}})

    async def _score(self, request: web.Request) -> web.StreamResponse:
        self.connections.add(request.transport.get_extra_info("peername") if request.transport else None)
        turn = self.script.pop(0) if self.script else (200, SOUND)
        body = await self.inferred(request)
        if isinstance(body, web.Response):
            return body
        if isinstance(turn, str):
            assert request.transport
            request.transport.abort()
            return web.Response()
        status, answer = turn
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return web.Response(status=status, text=text, content_type="application/json")
