"""A browser's session: a cookie that says that its holder once showed the API key.

    the key -> POST /v1/session -> "EXPIRY.HMAC" in a cookie -> lets requests through until EXPIRY

Nothing is kept for it here: whoever has the key can check it, so it holds on every replica and after a
restart, and ends when the key changes. A browser sends it by itself, also for a page of another origin,
so a request that changes something has to come from a page of this service.
"""

import hmac
import re
import time
from collections.abc import Callable
from hashlib import sha256

from fastapi import Request, Response

from rbr_service.errors import CrossOriginError

COOKIE = "rbr_session"
LIFETIME = 12 * 3600  # seconds
READING = ("GET", "HEAD")

_DOMAIN = b"rule-based-rewards session\n"  # so that no other use of the key makes the same bytes
_VALUE = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})")


class Sessions:
    """Makes and checks the cookies of one API key."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells Unix seconds."""
        self._key, self._clock = key, clock

    def begin(self, request: Request, response: Response) -> None:
        """Give the browser that sent `request` a session."""
        expiry = str(int(self._clock()) + LIFETIME)
        response.set_cookie(
            COOKIE, f"{expiry}.{self._signature(expiry)}", max_age=LIFETIME, path="/", httponly=True,
            samesite="strict", secure=_encrypted(request),
        )  # fmt: skip

    def holds(self, request: Request) -> bool:
        """Whether the request brings a session that has not ended.

        Raises CrossOriginError when it does, would change something, and is not of this origin.
        """
        found = _VALUE.fullmatch(request.cookies.get(COOKIE, ""))
        if not found or not hmac.compare_digest(found[2], self._signature(found[1])):
            return False
        if int(found[1]) <= self._clock():
            return False
        if request.method not in READING:
            demand_same_origin(request)
        return True

    def _signature(self, expiry: str) -> str:
        return hmac.new(self._key, _DOMAIN + expiry.encode("ascii"), sha256).hexdigest()


def end(request: Request, response: Response) -> None:
    """Have the browser forget its session."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=_encrypted(request))


def demand_same_origin(request: Request) -> None:
    """Raises CrossOriginError unless the browser says that a page of this very service asks.

    Sec-Fetch-Site says it where the address is https or localhost; Origin, beside Host, everywhere.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "").partition("://")[2]
    same = site == "same-origin" if site is not None else origin and origin == request.headers.get("host")
    if not same:
        raise CrossOriginError(
            "only this service's own page may ask for this with a browser's session: open it at /, or send "
            "the API key as Authorization: Bearer KEY"
        )


def _encrypted(request: Request) -> bool:
    """Whether the browser speaks https, be it to a proxy in front."""
    return request.scope.get("scheme") == "https" or request.headers.get("origin", "").startswith("https://")
