"""The API key and the admin key, however the caller can send them, and the session that the API key opens."""

import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable

from fastapi import Request
from pydantic import SecretStr

from rbr_service.errors import ReloadOffError, UnauthorizedError
from rbr_service.session import Sessions, demand_same_origin

Check = Callable[[Request], Awaitable[None]]


def admin_check(admin_key: SecretStr | None) -> Check:
    """A check that lets through callers with the admin key, and nobody where none is set."""

    async def refuse(_: Request) -> None:
        raise ReloadOffError("the policy cannot be changed here: no admin key is set (RBR_ADMIN_KEY)")

    return key_check(admin_key, "admin key") if admin_key else refuse


def caller_check(api_key: SecretStr | None, sessions: Sessions | None) -> Check:
    """As `key_check` of the API key; a session that it opened does as well."""
    by_key = key_check(api_key)

    async def check(request: Request) -> None:
        try:
            await by_key(request)
        except UnauthorizedError:
            if not (sessions and sessions.holds(request)):
                raise

    return check


async def own_page_check(request: Request) -> None:
    """A check that lets through the service's own page, with a key or without."""
    demand_same_origin(request)


def key_check(api_key: SecretStr | None, name: str = "API key") -> Check:
    """A check that lets through callers with the key, or everybody where none is set; errors call it `name`.

    The key may come as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the password (or
    user) of Basic authentication, which is what a URL http://user:KEY@host sends.
    """

    async def check(request: Request) -> None:
        if api_key is None:
            return
        offered = _offered(request.headers.get("authorization", ""), request.headers.get("x-api-key"))
        if not is_key(api_key, *offered):
            raise UnauthorizedError(
                f"the {name} is missing or wrong: send it as Authorization: Bearer KEY, as X-API-Key, "
                "or in the URL as http://user:KEY@host"
            )

    return check


def is_key(key: SecretStr | None, *offered: bytes) -> bool:
    """Whether the key is among those offered, or none is set; all are compared, each in constant time."""
    if key is None:
        return True
    expected = key.get_secret_value().encode()
    return any([hmac.compare_digest(one, expected) for one in offered])


def _offered(authorization: str, header: str | None) -> list[bytes]:
    """The keys in the headers, as the bytes that were sent (Starlette reads headers as Latin-1)."""
    keys = [header.encode("latin-1")] if header else []
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        keys.append(value.strip().encode("latin-1"))
    elif scheme.lower() == "basic":
        try:
            keys += b64decode(value.strip(), validate=True).split(b":", 1)
        except (Base64Error, ValueError):
            return keys
    return keys
