"""JSON over HTTP to a model's server: one shared session, retries of transient faults only.

    post(path, body) -> parsed JSON, or the CallError that says what the server answered

A fault is transient when the same call may succeed later: the connection broke, or the server said
429, 502, 503 or 504, or 500 a few times. Between tries it waits longer and longer, with jitter, so that a thousand
callers do not come back at once (exponential backoff with full jitter).
"""

import asyncio
import logging
import random
import time
from typing import Any

import aiohttp

from rbr_service import jsontext
from rbr_service.errors import RBRError

TRANSIENT = frozenset({0, 429, 500, 502, 503, 504})  # 0: no answer at all
SERVER_ERRORS = 3  # a 500 may be a server on its way out, or a fault of this very request
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0  # seconds
CONNECT = 5.0  # seconds for a connection to open
SHOWN = 300  # characters of a server's answer in an error message

_log = logging.getLogger("rbr.calls")


class CallError(RBRError):
    """A call failed for good; callers translate it. `status` is the server's, or 0 without one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Calls:
    """A server's address, spoken to through one session."""

    def __init__(self, url: str, *, key: str | None, concurrency: int, patience: float) -> None:
        """`patience`: seconds after the first fault of a call until it is given up, and for one try."""
        self.url = url
        self.fault = ""  # the last transient fault that no success has followed
        self.retries = 0
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._concurrency, self._patience = concurrency, patience
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session. Must run inside the event loop that makes the calls."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=self._concurrency),
            timeout=aiohttp.ClientTimeout(total=self._patience, sock_connect=CONNECT),
        )

    async def close(self) -> None:
        """Close the session."""
        if self._session:
            await self._session.close()
            self._session = None

    async def get(self, path: str, *, seconds: float = CONNECT) -> Any:
        """One try. Raises CallError."""
        return await self._once("GET", path, None, aiohttp.ClientTimeout(total=seconds))

    async def post(self, path: str, body: bytes) -> Any:
        """POST JSON; transient faults are tried again until `patience` has passed. Raises CallError."""
        wait, begin, errors = FIRST_WAIT, None, 0
        while True:
            try:
                answer = await self._once("POST", path, body, None)
            except CallError as error:
                begin = time.monotonic() if begin is None else begin
                errors += error.status == 500
                out_of_patience = time.monotonic() - begin > self._patience or errors > SERVER_ERRORS
                if error.status not in TRANSIENT or out_of_patience:
                    raise
                if not self.fault:
                    _log.warning("%s; trying again", error.message)
                self.fault = error.message
                self.retries += 1
            else:
                self.fault = ""
                return answer
            await asyncio.sleep(random.uniform(0, wait))  # noqa: S311 - jitter, no secret
            wait = min(2 * wait, LONGEST_WAIT)

    async def _once(self, method: str, path: str, body: bytes | None, timeout: aiohttp.ClientTimeout | None) -> Any:
        if self._session is None:
            raise CallError(f"{self.url}: not started")
        options: dict[str, Any] = {"timeout": timeout} if timeout else {}
        try:
            async with self._session.request(
                method, self.url + path, data=body, headers={"Content-Type": "application/json"}, **options
            ) as response:
                text = await response.read()
        except TimeoutError as error:
            raise CallError(f"{self.url}{path}: no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CallError(f"{self.url}{path}: {error or type(error).__name__}") from error
        if response.status != 200:
            shown = text[:SHOWN].decode("utf-8", "replace")
            raise CallError(f"{self.url}{path} answered {response.status}: {shown}", response.status)
        return self._parsed(path, text)

    def _parsed(self, path: str, text: bytes) -> Any:
        if not text.strip():
            return None  # /health has no body
        try:
            return jsontext.loads(text)
        except ValueError as error:
            raise CallError(f"{self.url}{path}: not JSON: {error}", 200) from error
