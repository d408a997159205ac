"""The API key and the admin key, however the caller can send them."""

import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable

from fastapi import Request
from pydantic import SecretStr

from rbr_service.errors import ReloadOffError, UnauthorizedError

Check = Callable[[Request], Awaitable[None]]


def admin_check(admin_key: SecretStr | None) -> Check:
    """A check that lets through callers with the admin key, and nobody where none is set."""

    async def refuse(_: Request) -> None:
        raise ReloadOffError("the policy cannot be changed here: no admin key is set (RBR_ADMIN_KEY)")

    return key_check(admin_key, "admin key") if admin_key else refuse


def key_check(api_key: SecretStr | None, name: str = "API key") -> Check:
    """A check that lets through callers with the key, or everybody where none is set; errors call it `name`.

    The key may come as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the password (or
    user) of Basic authentication, which is what a URL http://user:KEY@host sends.
    """
    expected = api_key.get_secret_value().encode() if api_key else None

    async def check(request: Request) -> None:
        if expected is None:
            return
        offered = _offered(request.headers.get("authorization", ""), request.headers.get("x-api-key"))
        # all are compared, each in constant time
        if not any([hmac.compare_digest(key, expected) for key in offered]):
            raise UnauthorizedError(
                f"the {name} is missing or wrong: send it as Authorization: Bearer KEY, as X-API-Key, "
                "or in the URL as http://user:KEY@host"
            )

    return check


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
