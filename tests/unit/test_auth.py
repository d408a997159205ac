"""The API key: three ways to send it, and every other way refused with a typed 401."""

from base64 import b64encode
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from rbr_service.app import create_app
from rbr_service.state import State

MakeState = Callable[..., State]
KEY = "cl\u00e9-s\u00e9cr\u00e8te: \u2713"
BODY = {"query": ["Hi there"], "prompts": ["Hi"]}
GUARDED = ("/score", "/get_reward", "/v1/score", "/v1/explain", "/v1/read", "/slime")


def basic(text: str) -> bytes:
    return b"Basic " + b64encode(text.encode())


@pytest.fixture
def guarded(make_state: MakeState) -> Iterator[TestClient]:
    with TestClient(create_app(make_state(api_key=KEY)), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", f"Bearer {KEY}".encode()),
        ("Authorization", f"bearer   {KEY} ".encode()),
        ("X-API-Key", KEY.encode()),
        ("Authorization", basic(f"user:{KEY}")),
        ("Authorization", basic(f":{KEY}")),
    ],
)
def test_the_key_opens(guarded: TestClient, name: str, value: bytes) -> None:
    response = guarded.post("/score", json=BODY, headers={name.encode(): value})
    assert response.status_code == 200, response.text
    assert guarded.get("/v1/policy", headers={name.encode(): value}).status_code == 200


def test_a_key_without_colon_may_be_the_user_of_basic(make_state: MakeState) -> None:
    with TestClient(create_app(make_state(api_key="longenough"))) as client:
        for text in ("longenough", "longenough:", "longenough:x"):
            headers = {b"Authorization": basic(text)}
            assert client.post("/score", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"Authorization": b""},
        {b"Authorization": b"Bearer"},
        {b"Authorization": b"Bearer "},
        {b"Authorization": b"Bearer wrong-key"},
        {b"Authorization": f"Bearer {KEY}x".encode()},
        {b"Authorization": f"Bearer {KEY[:-1]}".encode()},
        {b"Authorization": KEY.encode()},
        {b"Authorization": f"Token {KEY}".encode()},
        {b"Authorization": "Bearer cl\u00e9".encode("latin-1")},
        {b"Authorization": b"Bearer \xff\xfe"},
        {b"Authorization": b"Basic"},
        {b"Authorization": b"Basic !!!!"},
        {b"Authorization": b"Basic \xff\xfe"},
        {b"Authorization": b"Basic YQ"},
        {b"Authorization": basic("user:wrong")},
        {b"Authorization": basic(f"{KEY}:user")},
        {b"X-API-Key": b""},
        {b"X-API-Key": b"wrong-key"},
        {b"X-API-Key": b"\xff\xfe"},
    ],
)
def test_anything_else_is_refused(guarded: TestClient, headers: dict[bytes, bytes]) -> None:
    for path in GUARDED:
        response = guarded.post(path, json=BODY, headers=headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json()["error"]["code"] == "unauthorized"
        assert "X-API-Key" in response.json()["error"]["message"]
        assert KEY not in response.text
    assert guarded.get("/v1/policy", headers=headers).status_code == 401


def test_the_right_key_among_wrong_ones_opens(guarded: TestClient) -> None:
    headers = {b"Authorization": b"Bearer wrong-key", b"X-API-Key": KEY.encode()}
    assert guarded.post("/score", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_operation_needs_no_key(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize("body", [b"{", b'{"query": 5}', b"[" * 100_000])
def test_the_key_is_looked_at_before_the_body(guarded: TestClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert guarded.post("/score", content=body, headers=headers).status_code == 401


def test_without_a_key_everybody_may_call(client: TestClient) -> None:
    assert client.post("/score", json=BODY).status_code == 200
    headers = {b"Authorization": b"Basic \xff"}
    assert client.post("/score", json=BODY, headers=headers).status_code == 200


ADMIN = "the-admin-key"
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def signed_in(make_state: MakeState) -> Iterator[TestClient]:
    with TestClient(
        create_app(make_state(api_key=KEY, admin_key=ADMIN)), raise_server_exceptions=False
    ) as client:
        assert client.post("/v1/session", json={"key": KEY}, headers=OWN).status_code == 204
        yield client


def test_a_session_opens_what_the_key_opens(signed_in: TestClient) -> None:
    assert signed_in.post("/score", json=BODY, headers=OWN).status_code == 200
    assert signed_in.get("/v1/policy").status_code == 200


def test_a_session_never_changes_the_policy(signed_in: TestClient) -> None:
    refused = signed_in.post("/v1/policy/reload", json={}, headers=OWN)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
    admin = {"Authorization": f"Bearer {ADMIN}"}
    assert signed_in.post("/v1/session", json={"key": ADMIN}, headers=OWN).status_code == 401
    assert signed_in.post("/v1/policy/reload", json={}, headers=admin).status_code == 200


def test_another_origins_page_cannot_use_the_session(signed_in: TestClient) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {}):
        response = signed_in.post("/score", json=BODY, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "cross_origin")


def test_with_the_key_no_origin_is_looked_at(signed_in: TestClient) -> None:
    headers = {b"X-API-Key": KEY.encode(), b"Sec-Fetch-Site": b"cross-site"}
    assert signed_in.post("/score", json=BODY, headers=headers).status_code == 200


def test_a_wrong_key_beside_a_session_does_no_harm(signed_in: TestClient) -> None:
    headers = {"X-API-Key": "wrong-key", **OWN}
    assert signed_in.post("/score", json=BODY, headers=headers).status_code == 200


def test_another_services_session_is_the_usual_refusal(make_state: MakeState, guarded: TestClient) -> None:
    with TestClient(create_app(make_state(api_key="another-key"))) as other:
        other.post("/v1/session", json={"key": "another-key"}, headers=OWN)
        guarded.cookies = other.cookies
    assert guarded.post("/score", json=BODY, headers=OWN).json() == guarded.post("/score", json=BODY).json()
    assert guarded.get("/v1/policy").status_code == 401
