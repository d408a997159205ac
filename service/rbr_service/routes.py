"""The HTTP face: each route validates, reads samples, awaits the score, shapes the answer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.requests import ClientDisconnect

from rbr_service import answers, jsontext, pasted, policies, schemas, session
from rbr_service.auth import admin_check, caller_check, is_key, own_page_check
from rbr_service.errors import UnauthorizedError
from rbr_service.live import add_live
from rbr_service.policy_schemas import DifferenceAnswer, PoliciesAnswer
from rbr_service.reading import Reader
from rbr_service.reload import reload
from rbr_service.schemas import ErrorAnswer
from rbr_service.scoring import VERSION, Scoring
from rbr_service.state import State
from rbr_service.work import CLIENT_GONE

ERRORS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "The body is not sound JSON.",
        401: "The API key is missing or wrong.",
        403: "No admin key is set, so that nobody may; or a page of another origin asks with a session.",
        409: "Another reward version than the one that the request is pinned to is in force.",
        413: "A body, batch or completion is over its limit.",
        415: "The body is not declared to be JSON.",
        422: "The request cannot be scored as it is.",
        429: "Too many live streams are open.",
        503: "The grader could not answer, or the service is not ready.",
    }.items()
}
SESSION = "/v1/session"
SCORED: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            VERSION: {"description": "Of the answer.", "required": True, "schema": {"type": "string"}}
        }
    }
}
Pin = Annotated[
    str | None, Header(alias=VERSION, description="Refuse to answer if another reward version is in force.")
]


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
    key = state.settings.api_key
    sessions = session.Sessions(key.get_secret_value().encode()) if key else None
    callers, admins = caller_check(key, sessions), admin_check(state.settings.admin_key)
    scored = APIRouter(
        route_class=_guarded_by(callers), responses=_errors(400, 401, 403, 409, 413, 415, 422, 503)
    )
    scoring = Scoring(state, Reader(state.settings))
    _trainers(scored, scoring)
    _scoring(scored, scoring)
    routes.include_router(scored)
    reading = APIRouter(route_class=_guarded_by(callers), responses=_errors(400, 401, 403, 413, 415, 422))
    _reading(reading, state, scoring.reader)
    routes.include_router(reading)
    looking = APIRouter(route_class=_guarded_by(callers), responses=_errors(401))
    _policy(looking, state)
    routes.include_router(looking)
    watching = APIRouter(route_class=_guarded_by(callers), responses=_errors(401, 429))
    add_live(watching, state)
    routes.include_router(watching)
    changing = APIRouter(route_class=_guarded_by(admins), responses=_errors(400, 401, 403, 413, 415, 422))
    _change(changing, state)
    routes.include_router(changing)
    signing_in = APIRouter(route_class=_guarded_by(own_page_check), responses=_errors(403))
    _session(signing_in, state, sessions)
    routes.include_router(signing_in)
    return routes


def _errors(*statuses: int) -> dict[int | str, dict[str, object]]:
    return {status: ERRORS[status] for status in statuses}


def _trainers(routes: APIRouter, scoring: Scoring) -> None:
    @routes.post("/get_reward", response_model=schemas.OpenRLHFAnswer, tags=["trainers"], responses=SCORED)
    @routes.post("/score", response_model=schemas.OpenRLHFAnswer, tags=["trainers"], responses=SCORED)
    async def openrlhf(
        body: schemas.OpenRLHFRequest, request: Request, response: Response, pin: Pin = None
    ) -> schemas.OpenRLHFAnswer:
        """Rewards for OpenRLHF's remote reward client; also for empty lists."""
        scorer = scoring.in_force(response, pin)
        samples = scoring.reader.openrlhf(body)
        return answers.openrlhf(await scoring.results(scorer, samples, request), scorer)

    @routes.post("/slime", tags=["trainers"], responses=SCORED)
    async def slime(
        body: schemas.SlimeRequest, request: Request, response: Response, pin: Pin = None
    ) -> float:
        """Remote reward of slime: the answer is a bare number, its version a header."""
        scorer = scoring.in_force(response, pin)
        return (await scoring.results(scorer, [scoring.reader.slime(body)], request))[0].reward


def _scoring(routes: APIRouter, scoring: Scoring) -> None:
    @routes.post("/v1/score", tags=["scoring"], responses=SCORED)
    async def v1(
        body: schemas.ScoreRequest, request: Request, response: Response, pin: Pin = None
    ) -> schemas.ScoreAnswer:
        """Rewards for conversations, with every term of each."""
        return answers.v1(*await scoring.v1(body, request, response, pin))

    @routes.post("/v1/explain", tags=["scoring"], responses=SCORED)
    async def explain(
        body: schemas.ScoreRequest, request: Request, response: Response, pin: Pin = None
    ) -> schemas.ExplainAnswer:
        """As /v1/score, and by proposition what the other answer would have changed."""
        found = await scoring.v1(body, request, response, pin)
        return await asyncio.to_thread(answers.explain, *found)  # a dozen more scores for each


def _reading(routes: APIRouter, state: State, reader: Reader) -> None:
    @routes.post("/v1/read", tags=["page"])
    async def read(body: schemas.ReadRequest) -> schemas.ReadAnswer:
        """What the service reads out of a pasted transcript, body or line of JSON: samples for /v1/score."""
        return answers.read(pasted.samples(body.text, reader), state.scorer.policy)


def _policy(routes: APIRouter, state: State) -> None:
    @routes.get("/v1/policy", tags=["policy"])
    async def policy() -> schemas.PolicyAnswer:
        """The policy in force, its hashes and its weights."""
        return answers.policy(state.scorer)

    @routes.get("/v1/policies", tags=["policy"])
    async def known() -> PoliciesAnswer:
        """The names of the policies that can be compared, and of the one in force."""
        return policies.names(state)

    comparing = asyncio.Lock()  # proving a policy takes a core for a while

    @routes.get("/v1/policy/diff", tags=["policy"], responses=_errors(422))
    async def diff(new: str, old: str | None = None) -> DifferenceAnswer:
        """What changes from a policy to another, both as they are on disk, and whose weights that voids.

        Without `old`: from the policy in force, as it is served.
        """
        async with comparing:
            return await policies.compare(state, new, old)


def _change(routes: APIRouter, state: State) -> None:
    @routes.post("/v1/policy/reload", tags=["policy"])
    async def change(body: schemas.ReloadRequest | None = None) -> schemas.ReloadAnswer:
        """Put a policy with its weights in force; without a body, read the one in force again."""
        before, after = await reload(state, body.policy if body else None)
        return answers.reload(before, after)


def _session(routes: APIRouter, state: State, sessions: session.Sessions | None) -> None:
    @routes.post(SESSION, tags=["page"], status_code=204, responses=_errors(400, 401, 413, 415, 422))
    async def sign_in(body: schemas.SessionRequest, request: Request, response: Response) -> None:
        """Open a session of 12 hours: a cookie that does what the API key does, for the page alone."""
        if not is_key(state.settings.api_key, body.key.encode()):
            raise UnauthorizedError("the API key is wrong")
        if sessions:
            sessions.begin(request, response)

    @routes.delete(SESSION, tags=["page"], status_code=204)
    async def sign_out(request: Request, response: Response) -> None:
        """End the session: the browser forgets its cookie."""
        session.end(request, response)


def _open(state: State) -> APIRouter:
    routes = APIRouter(tags=["operation"])

    @routes.get(SESSION, tags=["page"])
    async def key_needed() -> schemas.SessionAnswer:
        """Whether the service asks for an API key, so that the page can tell."""
        return schemas.SessionAnswer(key_needed=state.settings.api_key is not None)

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
