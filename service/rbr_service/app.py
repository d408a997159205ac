"""The ASGI application: routes, limits, metrics, and the one place where errors become answers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rbr_service import live
from rbr_service.errors import RBRError
from rbr_service.labels import fault
from rbr_service.lifetime import started
from rbr_service.metrics import Measured
from rbr_service.page.files import FOLDER, ROOT, add_page
from rbr_service.routes import SESSION, router
from rbr_service.state import State
from rbr_service.watch import watch
from rbr_service.work import CLIENT_GONE, ClientGoneError

DESCRIPTION = """Rule Based Rewards as a service: send a completion, get its reward and every term
of it. Trainers call `/score`; people open `/` in a browser, programs read `/v1/score`."""

SESSION_BYTES = 16 << 10  # a key; anybody may send it


def create_app(state: State) -> FastAPI:
    """The app over a service state; starting it starts the grader and the base reward's source."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        scorer = state.scorer
        log = started(state.log) if state.log else nullcontext()
        async with started(scorer.grader), started(scorer.base), log:
            state.fault, state.stopping = "", False
            watching = asyncio.create_task(watch(state))
            try:
                yield
            finally:
                state.stopping = True
                watching.cancel()

    app = FastAPIOffline(
        title="Rule Based Rewards", description=DESCRIPTION, redoc_url=None, lifespan=lifespan
    )
    app.include_router(router(state))
    add_page(app)
    _answer_errors(app, state)
    paths = {path for path in app.openapi()["paths"]} | {"/docs", "/openapi.json", ROOT}
    app.add_middleware(BodyLimit, limit=state.settings.max_body_bytes, own={SESSION: SESSION_BYTES})
    app.add_middleware(Measured, metrics=state.metrics, routes=paths, folders=[FOLDER], streams=[live.PATH])
    return app


def _answer_errors(app: FastAPI, state: State) -> None:
    def answer(status: int, code: str, message: str, details: dict[str, Any] | None = None) -> JSONResponse:
        state.metrics.failures.labels(code).inc()
        error: dict[str, Any] = {"code": code, "message": _printable(message)}
        if details:
            error["details"] = {
                key: _printable(value) if isinstance(value, str) else value for key, value in details.items()
            }
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        return JSONResponse({"error": error}, status, headers)

    @app.exception_handler(RBRError)
    async def typed(_: Request, error: RBRError) -> JSONResponse:
        return answer(error.status, error.code, error.message, error.details)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        if isinstance(error.body, bytes):  # so FastAPI says that it was not told to read JSON
            return answer(
                415, "unsupported_media_type", "the body must be sent with Content-Type: application/json"
            )
        first = error.errors()[0]
        inside = {**first, "loc": first["loc"][1:]}  # every place begins with "body"
        return answer(422, "invalid_request", fault(inside, "body"))

    @app.exception_handler(StarletteHTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        place = request.url.path[:200]
        status, detail = error.status_code, str(error.detail)
        code, message = {
            400: ("malformed_json", detail),
            404: ("not_found", f"there is no {place} here: /docs lists the routes"),
            405: ("method_not_allowed", f"{place} does not take {request.method}: /docs lists the routes"),
            413: ("too_large", detail),
            CLIENT_GONE: ("client_gone", detail),
        }.get(status, ("http_error", detail))
        response = answer(status, code, message)
        response.headers.update(error.headers or {})  # Allow, for 405
        return response

    @app.exception_handler(ClientGoneError)
    async def gone(_: Request, __: ClientGoneError) -> JSONResponse:
        return answer(CLIENT_GONE, "client_gone", "the client closed the connection")

    @app.exception_handler(500)
    async def bug(_: Request, __: Exception) -> JSONResponse:
        return answer(500, "internal_error", "an internal error; the service's log has the traceback")


def _printable(text: str) -> str:
    """Safe to encode: what a caller sent may hold lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class BodyLimit:
    """ASGI middleware: refuses a body when more than `limit` bytes of it have come."""

    def __init__(self, app: ASGIApp, limit: int, own: Mapping[str, int]) -> None:
        """`limit` in bytes; `own` has those of paths with another one."""
        self._app, self._limit, self._own = app, limit, own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0
        limit = self._own.get(scope["path"], self._limit)
        remedy = ": send fewer samples at once or raise --max-body-bytes" if limit == self._limit else ""

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise HTTPException(413, f"the body is over {limit} bytes{remedy}")
            return message

        await self._app(scope, counted, send)
