"""The HTTP face: each route validates, reads samples, awaits the score, shapes the answer."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.requests import ClientDisconnect

from rbr_service import answers, jsontext, schemas
from rbr_service.auth import key_check
from rbr_service.errors import UnknownPolicyError
from rbr_service.reading import Reader
from rbr_service.schemas import ErrorAnswer
from rbr_service.scorer import Result, Sample
from rbr_service.state import State
from rbr_service.work import CLIENT_GONE

ERRORS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "The body is not sound JSON.",
        401: "The API key is missing or wrong.",
        413: "A body, batch or completion is over its limit.",
        415: "The body is not declared to be JSON.",
        422: "The request cannot be scored as it is.",
        503: "The grader could not answer, or the service is not ready.",
    }.items()
}


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return jsontext.loads(await self.body())
        except ClientDisconnect as error:
            raise HTTPException(CLIENT_GONE, "the client left before its request was whole") from error
        except ValueError as error:
            raise HTTPException(400, f"the body is not sound JSON: {error}") from error


def _guarded_by(check: Callable[[Request], Awaitable[None]]) -> type[APIRoute]:
    """Routes that run `check` before the body is read, and read it with this service's JSON reader."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                await check(request)
                return await handler(_StrictRequest(request.scope, request.receive))

            return guarded

    return Guarded


def router(state: State) -> APIRouter:
    """All routes over one service state."""
    routes = APIRouter()
    routes.include_router(_open(state))
    route = _guarded_by(key_check(state.settings.api_key))
    guarded = APIRouter(route_class=route, responses=ERRORS)
    _scoring(guarded, state, Reader(state.settings))
    routes.include_router(guarded)
    return routes


def _scoring(routes: APIRouter, state: State, reader: Reader) -> None:
    async def score(samples: Sequence[Sample], request: Request) -> list[Result]:
        key = (state.scorer.reward_version, tuple(samples))
        return await state.work.result(key, lambda: state.scorer.score(samples), request.is_disconnected)

    @routes.post("/get_reward", response_model=schemas.OpenRLHFAnswer, tags=["trainers"])
    @routes.post("/score", response_model=schemas.OpenRLHFAnswer, tags=["trainers"])
    async def openrlhf(body: schemas.OpenRLHFRequest, request: Request) -> schemas.OpenRLHFAnswer:
        """Rewards for OpenRLHF's remote reward client; also for empty lists."""
        return answers.openrlhf(await score(reader.openrlhf(body), request), state.scorer)

    @routes.post("/v1/score", tags=["scoring"])
    async def v1(body: schemas.ScoreRequest, request: Request) -> schemas.ScoreAnswer:
        """Rewards for conversations, with every term of each."""
        if body.policy is not None and body.policy != state.scorer.policy.name:
            raise UnknownPolicyError(
                f"this service serves the policy {state.scorer.policy.name!r}, not {body.policy[:80]!r}"
            )
        results = await score(reader.v1(body.samples), request)
        return answers.v1([sample.id for sample in body.samples], results, state.scorer)

    @routes.post("/slime", tags=["trainers"])
    async def slime(body: schemas.SlimeRequest, request: Request) -> float:
        """Remote reward of slime: the answer is a bare number."""
        return (await score([reader.slime(body)], request))[0].reward

    @routes.get("/v1/policy", tags=["policy"])
    async def policy() -> schemas.PolicyAnswer:
        """The policy in force, its hashes and its weights."""
        return answers.policy(state.scorer)


def _open(state: State) -> APIRouter:
    routes = APIRouter(tags=["operation"])

    @routes.get("/healthz")
    async def healthz(response: Response) -> dict[str, str]:
        """The process is alive; 503 once its grader's engine is dead, which only a new start mends."""
        if state.dead:
            response.status_code = 503
        return {"status": "dead" if state.dead else "alive"}

    @routes.get(
        "/readyz",
        responses={503: {"model": schemas.Readiness, "description": "Not able to score."}},
    )
    async def readyz(response: Response) -> schemas.Readiness:
        """Able to score, and with what; 503 while it cannot or is shutting down. Nothing listens before."""
        if not state.ready:
            response.status_code = 503
        return answers.readiness(state.scorer, state.settings, ready=state.ready, reason=state.reason)

    @routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Prometheus exposition."""
        state.metrics.ready.set(state.ready)
        state.metrics.serving.info(
            {"policy": state.scorer.policy.name, "reward_version": state.scorer.reward_version}
        )
        # The default registry holds the process's figures, and those of an engine that runs in it.
        text = generate_latest(state.metrics.registry) + generate_latest(REGISTRY)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return routes
