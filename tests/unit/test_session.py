"""A session's cookie opens for its time and its key, and for pages of this service alone."""

from collections.abc import Callable, Iterable

import pytest
from fastapi import Request, Response
from hypothesis import given
from hypothesis import strategies as st

from rbr_service.errors import CrossOriginError
from rbr_service.session import COOKIE, LIFETIME, Sessions, demand_same_origin, end

KEY, NOW = "clé: ✓".encode(), 1_800_000_000.0
Header = tuple[str, str]


def request(*headers: Header, method: str = "GET", scheme: str = "http") -> Request:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": method, "scheme": scheme, "path": "/", "headers": raw})


def with_cookie(value: str, *headers: Header, method: str = "GET") -> Request:
    return request(("Cookie", f"{COOKIE}={value}"), *headers, method=method)


def at(seconds: float, key: bytes = KEY) -> Sessions:
    return Sessions(key, lambda: seconds)


def issued(sessions: Sessions, asked: Request | None = None) -> tuple[str, set[str]]:
    """The cookie's value, and its attributes in lower case."""
    response = Response()
    sessions.begin(asked or request(), response)
    value, *attributes = response.headers["Set-Cookie"].split("; ")
    assert value.startswith(f"{COOKIE}=")
    return value.removeprefix(f"{COOKIE}="), {one.lower() for one in attributes}


VALUE = issued(at(NOW))[0]


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    assert issued(at(NOW))[1] == {"httponly", "samesite=strict", "path=/", f"max-age={LIFETIME}"}


@pytest.mark.parametrize(
    "asked",
    [request(scheme="https"), request(("Origin", "https://rbr.example"), ("Host", "rbr.example"))],
    ids=["https here", "https at a proxy"],
)
def test_under_https_the_cookie_never_leaves_it(asked: Request) -> None:
    assert "secure" in issued(at(NOW), asked)[1]
    response = Response()
    end(asked, response)
    assert "secure" in response.headers["Set-Cookie"].lower()


def test_the_cookie_does_not_hold_the_key() -> None:
    assert KEY.decode() not in VALUE
    assert KEY.hex() not in VALUE


@pytest.mark.parametrize("later", [0, 1, LIFETIME - 1])
def test_it_holds_on_every_replica_for_its_lifetime(later: int) -> None:
    assert at(NOW + later).holds(with_cookie(VALUE))


@pytest.mark.parametrize("later", [LIFETIME, LIFETIME + 1, 10 * LIFETIME])
def test_it_ends(later: int) -> None:
    assert not at(NOW + later).holds(with_cookie(VALUE))


def test_it_dies_with_the_key() -> None:
    assert not at(NOW, b"another-key").holds(with_cookie(VALUE))


def test_a_later_expiry_needs_another_signature() -> None:
    expiry, signature = VALUE.split(".")
    assert not at(NOW).holds(with_cookie(f"{int(expiry) + 1}.{signature}"))


MALFORMED = {
    "none": "", "no dot": "1800000000", "no signature": "1800000000.", "no expiry": f".{'0' * 64}",
    "letters": f"abc.{'0' * 64}", "negative": f"-1.{'0' * 64}", "other digits": f"\u00b2.{'0' * 64}",
    "not ASCII": "\u00e9.\u00ff", "upper case": VALUE.upper().replace(".", ".A"), "longer": f"{VALUE}0",
    "twice": f"{VALUE}.{VALUE}", "huge": "9" * 1_000_000, "huge expiry": f"{'9' * 100_000}.{'0' * 64}",
}  # fmt: skip


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED)
def test_anything_malformed_is_no_session(value: str) -> None:
    assert not at(NOW).holds(with_cookie(value))


def test_no_cookie_is_no_session() -> None:
    assert not at(NOW).holds(request())
    assert not at(NOW).holds(request(("Cookie", f"other={VALUE}")))


@given(value=st.text(st.characters(max_codepoint=255, blacklist_characters=";"), max_size=100))
def test_no_made_up_value_opens(value: str) -> None:
    assert not at(NOW).holds(with_cookie(value))


@given(place=st.integers(0, len(VALUE) - 1), other=st.sampled_from("0123456789abcdef."))
def test_no_altered_value_opens(place: int, other: str) -> None:
    altered = VALUE[:place] + other + VALUE[place + 1 :]
    assert at(NOW).holds(with_cookie(altered)) == (altered == VALUE)


OWN: dict[str, Iterable[Header]] = {
    "fetch metadata": [("Sec-Fetch-Site", "same-origin")],
    "fetch metadata behind a proxy that renames": [
        ("Sec-Fetch-Site", "same-origin"), ("Origin", "https://rbr.example"), ("Host", "inner:8000"),
    ],
    "origin": [("Origin", "http://10.0.0.1:8000"), ("Host", "10.0.0.1:8000")],
    "origin of https": [("Origin", "https://rbr.example"), ("Host", "rbr.example")],
}  # fmt: skip
FOREIGN: dict[str, Iterable[Header]] = {
    "silence": [],
    "cross-site": [("Sec-Fetch-Site", "cross-site")],
    "another port": [("Sec-Fetch-Site", "same-site"), ("Origin", "http://a:1"), ("Host", "a:1")],
    "typed in": [("Sec-Fetch-Site", "none")],
    "empty": [("Sec-Fetch-Site", "")],
    "another origin": [("Origin", "http://evil.example"), ("Host", "10.0.0.1:8000")],
    "another port, by origin": [("Origin", "http://10.0.0.1:3000"), ("Host", "10.0.0.1:8000")],
    "null": [("Origin", "null"), ("Host", "null")],
    "a sandboxed page of a nameless host": [("Origin", "null"), ("Host", "")],
    "a host alone": [("Host", "10.0.0.1:8000")],
    "a suffix": [("Origin", "http://evil10.0.0.1:8000"), ("Host", "10.0.0.1:8000")],
}


def changes(check: Callable[[Request], object], headers: Iterable[Header]) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        check(with_cookie(VALUE, *headers, method=method))


@pytest.mark.parametrize("headers", OWN.values(), ids=OWN)
def test_the_services_own_page_may_change_things(headers: Iterable[Header]) -> None:
    changes(at(NOW).holds, headers)
    changes(demand_same_origin, headers)


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_no_other_page_may(headers: Iterable[Header]) -> None:
    for check in (at(NOW).holds, demand_same_origin):
        with pytest.raises(CrossOriginError):
            changes(check, headers)


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_reading_is_let_through(headers: Iterable[Header]) -> None:
    for method in ("GET", "HEAD"):
        assert at(NOW).holds(with_cookie(VALUE, *headers, method=method))


def test_without_a_session_no_origin_is_looked_at() -> None:
    assert not at(NOW).holds(with_cookie("1.2", ("Sec-Fetch-Site", "cross-site"), method="POST"))
