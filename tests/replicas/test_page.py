"""The page through Serve: its files, a session that every replica takes, the live stream."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse
from urllib.parse import urlsplit

import pytest

from .conftest import KEY


def test_the_page_signs_in_once_for_all_replicas(cluster: str, deploy: Callable[..., None]) -> None:
    deploy()
    host = urlsplit(cluster).netloc.rpartition("@")[2]
    cookie = ""

    def asked(path: str, body: object = None) -> HTTPResponse:
        """As the page asks, over a connection of its own, so that any replica may answer."""
        headers = {"Origin": f"http://{host}", "Content-Type": "application/json", "Cookie": cookie}
        data = None if body is None else json.dumps(body).encode()
        answer: HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(f"http://{host}{path}", data, headers), timeout=60
        )
        return answer

    with asked("/") as page:
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        assert b"page/main.js" in page.read()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        asked("/v1/policy")
    with asked("/v1/session", {"key": KEY}) as session:
        cookie = session.headers["Set-Cookie"].partition(";")[0]
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    for _ in range(30):
        with asked("/v1/explain", {"samples": [{"messages": messages, "response_type": "comply"}]}) as answer:
            assert json.load(answer)["results"][0]["flips"]
    with asked("/v1/live") as stream:
        assert stream.readline() == b"event: hello\n"
