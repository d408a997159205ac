"""Signing in and out: POST and DELETE /v1/session."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from rbr_service.app import SESSION_BYTES, create_app
from rbr_service.session import COOKIE
from rbr_service.state import State

MakeState = Callable[..., State]
KEY = "clé-sécrète: ✓"
OWN = {"Sec-Fetch-Site": "same-origin"}
ROUTE = "/v1/session"


@pytest.fixture
def guarded(make_state: MakeState) -> Iterator[TestClient]:
    with TestClient(create_app(make_state(api_key=KEY)), raise_server_exceptions=False) as client:
        yield client


def test_signing_in_and_out(guarded: TestClient) -> None:
    assert guarded.get("/v1/policy").status_code == 401
    signed = guarded.post(ROUTE, json={"key": KEY}, headers=OWN)
    assert (signed.status_code, signed.content) == (204, b"")
    told = signed.headers["Set-Cookie"].lower()
    assert all(attribute in told for attribute in ("httponly", "samesite=strict", "path=/"))
    assert "secure" not in told
    assert guarded.get("/v1/policy").status_code == 200
    assert guarded.delete(ROUTE, headers=OWN).status_code == 204
    assert COOKIE not in guarded.cookies
    assert guarded.get("/v1/policy").status_code == 401


def test_the_cookie_is_secure_behind_a_tls_proxy(guarded: TestClient) -> None:
    headers = {"Origin": "https://rbr.example", "Host": "rbr.example"}
    assert "secure" in guarded.post(ROUTE, json={"key": KEY}, headers=headers).headers["Set-Cookie"].lower()


@pytest.mark.parametrize("key", ["", "wrong-key", KEY[:-1], f"{KEY} ", "\x00", "k" * 10_000])
def test_a_wrong_key_is_refused(guarded: TestClient, key: str) -> None:
    response = guarded.post(ROUTE, json={"key": key}, headers=OWN)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("key", [KEY, "wrong-key"])
@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}])
def test_no_other_page_signs_a_browser_in_or_out(
    guarded: TestClient, key: str, headers: dict[str, str]
) -> None:
    for response in (guarded.post(ROUTE, json={"key": key}, headers=headers),
                     guarded.delete(ROUTE, headers=headers)):  # fmt: skip
        assert (response.status_code, response.json()["error"]["code"]) == (403, "cross_origin")
        assert "Set-Cookie" not in response.headers


def test_a_form_cannot_sign_in(guarded: TestClient) -> None:
    response = guarded.post(ROUTE, data={"key": KEY}, headers=OWN)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [{}, {"key": None}, {"key": 5}, {"key": KEY, "admin": True}, [], "key"])
def test_a_body_of_another_shape_is_refused(guarded: TestClient, body: object) -> None:
    response = guarded.post(ROUTE, json=body, headers=OWN)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


def test_a_stranger_cannot_send_much(guarded: TestClient) -> None:
    response = guarded.post(ROUTE, json={"key": "k" * SESSION_BYTES}, headers=OWN)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


def test_where_no_key_is_set_there_is_nothing_to_sign_in_to(client: TestClient) -> None:
    response = client.post(ROUTE, json={"key": "anything"}, headers=OWN)
    assert response.status_code == 204
    assert "Set-Cookie" not in response.headers
