"""The app keeps what its own OpenAPI promises, on generated requests."""

from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.specs.openapi.schemas import OpenApiSchema

from rbr_service.app import create_app
from rbr_service.build import make_scorer
from rbr_service.metrics import Metrics
from rbr_service.settings import Settings
from rbr_service.state import State

PROMISES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)

PATIENCE = 120.0  # seconds; a change of policy compiles its rules
ADMIN = "the-admin-key"
_TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
_BATCH = {"query": ["Hi Hello"] * 2, "prompts": ["Hi"] * 2, "labels": ["K-R", None]}
_SAMPLES = {"samples": [{"messages": _TALK, "category": "K-R", "id": 1}, {"messages": _TALK}]}
SCORED: dict[str, Any] = {
    "/score": _BATCH,
    "/get_reward": _BATCH,
    "/v1/score": _SAMPLES,
    "/v1/explain": _SAMPLES,
    "/slime": {"prompt": "Hi", "response": "Hello", "label": "K-R"},
}
SCORING = set(SCORED)
RELOAD, SESSION, READ = "/v1/policy/reload", "/v1/session", "/v1/read"
LIVE = "/v1/live"  # it has no end, so no request of it can be tried: tests/service/test_live.py
POSTED = (*sorted(SCORING), RELOAD, SESSION, READ)
ROUTES = (*POSTED, "/v1/policy", "/v1/policies", "/v1/policy/diff", "/healthz", "/readyz", "/metrics")


@pytest.fixture(scope="module")
def api() -> OpenApiSchema:
    chosen, metrics = Settings(admin_key=SecretStr(ADMIN)), Metrics()
    state = State(chosen, metrics, make_scorer(chosen, metrics))
    state.fault = ""
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(state))


@pytest.mark.parametrize(
    ("path", "mode"),
    [(path, GenerationMode.POSITIVE) for path in ROUTES]
    + [(path, GenerationMode.NEGATIVE) for path in POSTED],
)
def test_generated_requests_get_what_is_promised(api: OpenApiSchema, path: str, mode: GenerationMode) -> None:
    operation = api[path]["POST" if path in POSTED else "GET"]
    checks: Any = [CHECKS.get_one(name) for name in PROMISES]

    @given(operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=20 if path == RELOAD else 150,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def keeps_promises(case: Case[Any]) -> None:
        if path == RELOAD:
            case.headers["Authorization"] = f"Bearer {ADMIN}"
        if path == SESSION:
            case.headers["Sec-Fetch-Site"] = "same-origin"
        case.call_and_validate(checks=checks, timeout=PATIENCE)

    keeps_promises()


@pytest.mark.parametrize("path", SCORED)
def test_real_answers_keep_the_schema(api: OpenApiSchema, client: TestClient, path: str) -> None:
    response = client.post(path, json=SCORED[path])
    assert response.status_code == 200
    api[path]["POST"].validate_response(response)


def test_the_routes_are_all_of_them(api: OpenApiSchema) -> None:
    assert set(api) == {*ROUTES, LIVE}


def test_every_failure_of_a_scoring_route_is_documented_as_typed(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path in SCORING:
        responses = document["paths"][path]["post"]["responses"]
        assert responses.keys() == {"200", "400", "401", "403", "409", "413", "415", "422", "503"}
        for status, response in responses.items():
            if status != "200":
                kind = response["content"]["application/json"]["schema"]["$ref"]
                assert kind == "#/components/schemas/ErrorAnswer"


def test_every_route_is_described(client: TestClient) -> None:
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for operation in methods.values():
            assert operation["description"].endswith("."), path
