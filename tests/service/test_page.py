"""The page's files: served under hardening headers, and nothing but them."""

import mimetypes
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rbr_service.page.files import STATIC, add_page

FILES = sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file())


@pytest.fixture
def small(tmp_path: Path) -> Iterator[TestClient]:
    """A page of a few files of every kind, some of which must not be served."""
    folder = tmp_path / "static"
    (folder / "view").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("index.html", "main.js", "view/view.js", "style.css", "view/a.svg", "LICENSE", ".env"):
        (folder / name).write_text(name)
    (folder / ".git" / "config").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    app = FastAPI()
    add_page(app, folder)
    with TestClient(app) as client:
        yield client


def directives(policy: str) -> dict[str, set[str]]:
    parts = [part.split() for part in policy.split(";")]
    return {name: set(values) for name, *values in parts}


def test_every_file_comes_under_the_headers(client: TestClient) -> None:
    for path in ("/", *(f"/page/{name}" for name in FILES)):
        response = client.get(path)
        assert response.status_code == 200
        policy = directives(response.headers["Content-Security-Policy"])
        assert policy["default-src"] == {"'none'"}
        for name in ("script-src", "style-src", "connect-src", "form-action"):
            assert policy[name] == {"'self'"}
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["trusted-types"] == {"'none'"}
        assert policy["require-trusted-types-for"] == {"'script'"}
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in response.headers["Permissions-Policy"]
        assert "clipboard-write" not in response.headers["Permissions-Policy"]


def test_the_root_is_the_index(client: TestClient) -> None:
    assert client.get("/").content == (STATIC / "index.html").read_bytes()
    assert client.get("/").headers["Content-Type"] == "text/html; charset=utf-8"
    assert client.head("/").status_code == 200


def test_a_file_is_asked_for_again_and_sent_once(client: TestClient) -> None:
    first = client.get("/page/index.html")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/page/index.html", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Content-Security-Policy"] == first.headers["Content-Security-Policy"]
    assert client.get("/page/index.html", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("main.js", "text/javascript; charset=utf-8"),
        ("view/view.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("view/a.svg", "image/svg+xml"),
        ("index.html", "text/html; charset=utf-8"),
        ("LICENSE", "text/plain; charset=utf-8"),
    ],
)
def test_types_do_not_depend_on_the_machine(
    small: TestClient, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_: ("application/x-strange", None))
    response = small.get(f"/page/{name}")
    assert (response.headers["Content-Type"], response.text) == (kind, name)


HIDDEN = (".env", ".git/config", "view/%2e%2e/.env", "%2eenv", "link.txt")
OUTSIDE = ("%2e%2e/secret.txt", "..%2fsecret.txt", "view/..%2f..%2fsecret.txt", "/etc/passwd",
           "%2fetc%2fpasswd", "..%5csecret.txt", "%00", "a" * 5000, "\u1f600")  # fmt: skip


@pytest.mark.parametrize("name", [*HIDDEN, *OUTSIDE, "", "view", "view/", "missing.js"])
def test_nothing_else_is_there(small: TestClient, name: str) -> None:
    assert small.get(f"/page/{name}").status_code == 404


def test_what_is_not_there_is_a_typed_error(client: TestClient) -> None:
    for name in ("missing.js", "..%2f__init__.py", "%2fetc%2fpasswd", ".hidden"):
        response = client.get(f"/page/{name}")
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "not_found"


def test_a_missing_file_comes_under_the_headers_too(client: TestClient) -> None:
    response = client.get("/page/missing.js")
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/page/index.html"])
def test_files_are_only_read(client: TestClient, path: str) -> None:
    response = client.post(path)
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"
    assert "GET" in response.headers["Allow"]


def test_the_page_is_no_part_of_the_api(client: TestClient) -> None:
    assert not {path for path in client.get("/openapi.json").json()["paths"] if "page" in path or path == "/"}


def test_requests_for_files_count_as_one_route(client: TestClient) -> None:
    for path in ("/", "/page/index.html", "/page/a", "/page/b/c", "/pages", "/page"):
        client.get(path, follow_redirects=False)
    text = client.get("/metrics").text
    for route, status, count in (("/", 200, 1), ("/page", 200, 1), ("/page", 404, 2), ("other", 404, 1)):
        assert f'rbr_requests_total{{route="{route}",status="{status}"}} {count}.0' in text
    assert "/page/a" not in text
