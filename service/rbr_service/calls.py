"""JSON over HTTP to a model's server: one shared session, retries of transient faults only.

    post(path, body) -> parsed JSON, or the CallError that says what the server answered

A fault is transient when the same call may succeed later: the connection broke, or the server said
429, 502, 503 or 504, or 500 a few times. Between tries it waits longer and longer, with jitter, so
that a thousand callers do not come back at once (exponential backoff with full jitter).

Servers quote what they refuse, and that is what is being graded. So the log and `fault` hold nothing of
what a server said, an error only a little of it, without what it calls its input.
"""

import asyncio
import io
import logging
import random
import re
import time
from typing import Any

import aiohttp

from rbr_service import jsontext
from rbr_service.errors import RBRError, SettingsError

TRANSIENT = frozenset({0, 429, 500, 502, 503, 504})  # 0: the connection broke
SERVER_ERRORS = 3  # a 500 may be a server on its way out, or a fault of this very request
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0  # seconds
CONNECT = 5.0  # seconds for a connection to open
LOOK, SAY = 1.0, 10.0  # seconds between looks for a server that is starting, and between lines about it
SHOWN = 300  # characters of a server's answer in an error message

_QUOTED = re.compile(r"['\"]?\binput(?:_value)?\\?['\"]?\s*[:=].*|\d+(?:[,\s]+\d+){3,}", re.DOTALL)

_log = logging.getLogger("rbr.calls")


class CallError(RBRError):
    """A call failed for good; callers translate it. `status` is the server's, or 0 without one.

    `brief` is the message without what the server said, fit for a log.
    """

    def __init__(
        self, message: str, status: int = 0, *, brief: str = "", transient: bool | None = None
    ) -> None:
        super().__init__(message)
        self.brief = brief or message
        self.status = status
        self.transient = status in TRANSIENT if transient is None else transient


class Calls:
    """A server's address, spoken to through one session."""

    def __init__(self, url: str, *, key: str | None, concurrency: int, patience: float) -> None:
        """`concurrency`: posts at a time, more wait; `patience`: seconds for one try to be answered, and
        from a call's first fault until it is given up.

        Raises SettingsError for a key that no header can hold.
        """
        if key is not None and not (key.isascii() and key.isprintable()):
            raise SettingsError(
                f"the key for {url} holds characters that no HTTP header can: look for a newline"
            )
        self.url = url
        self.fault = ""  # the last fault of the server, in brief, that no success has followed
        self.retries = 0
        self._key = key
        self._slots = asyncio.Semaphore(concurrency)
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session. Must run inside the event loop that makes the calls."""
        headers = {"Content-Type": "application/json"}
        self._session = aiohttp.ClientSession(
            headers=headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            # Without a limit of its own: a health check must not queue behind the posts.
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=self._patience, sock_connect=CONNECT),
        )

    async def close(self) -> None:
        """Close the session; calls in flight fail."""
        if self._session:
            await self._session.close()
            self._session = None

    async def get(self, path: str, *, seconds: float = CONNECT) -> Any:
        """One try; None for an answer without a body. Raises CallError."""
        return await self._once("GET", path, None, seconds)

    async def reached(self, path: str, patience: float) -> Any:
        """What GET answers, waited for up to `patience` seconds while the server is on its way.

        Raises CallError.
        """
        begin = said = time.monotonic()
        while True:
            try:
                return await self.get(path)
            except CallError as error:
                now = time.monotonic()
                if error.status not in TRANSIENT:
                    raise
                if now - begin >= patience:
                    since = f"not there after {now - begin:.0f} s: "
                    brief = since + error.brief
                    raise CallError(since + error.message, error.status, brief=brief) from error
                if now - said >= SAY:
                    said = now
                    _log.warning("waiting since %.0f s: %s", now - begin, error.brief)
            await asyncio.sleep(LOOK)

    async def post(self, path: str, body: bytes) -> Any:
        """POST JSON; transient faults are tried again until `patience` has passed. Raises CallError."""
        async with self._slots:
            wait, begin, errors = FIRST_WAIT, None, 0
            while True:
                try:
                    answer = await self._once("POST", path, body, self._patience)
                except CallError as error:
                    begin = time.monotonic() if begin is None else begin
                    errors += error.status == 500
                    patient = time.monotonic() - begin < self._patience and errors <= SERVER_ERRORS
                    again = error.transient and patient
                    if error.status in TRANSIENT:
                        self._note(error.brief, again=again)
                    if not again:
                        raise
                else:
                    self._note("")
                    return answer
                await asyncio.sleep(random.uniform(0, wait))
                wait = min(2 * wait, LONGEST_WAIT)

    def _note(self, fault: str, *, again: bool = False) -> None:
        """Keep the state of the server; one line in the log when it changes."""
        self.retries += again
        if fault:
            if not self.fault:
                _log.warning("%s; %s", fault, "trying again" if again else "given up")
        elif self.fault:
            _log.info("%s answers again", self.url)
        self.fault = fault

    async def _once(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        if self._session is None:
            raise CallError(f"{self.url}: no session is open", transient=False)
        place = self.url + path
        try:
            async with self._session.request(
                method,
                place,
                data=io.BytesIO(body) if body is not None else None,  # in blocks: it may be megabytes
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT),
                allow_redirects=False,  # a POST would come out as a GET, the key somewhere else
            ) as response:
                content = await response.read()
        except aiohttp.ConnectionTimeoutError as error:
            raise CallError(f"{place}: no connection within {CONNECT:g} s") from error
        except TimeoutError as error:
            # It has had all the patience there is.
            raise CallError(f"{place}: no answer within {seconds:g} s", transient=False) from error
        except (aiohttp.ClientError, OSError) as error:
            name = type(error).__name__
            # The system's own words say why; aiohttp's may quote an answer that is no HTTP.
            brief = f"{place}: {(str(error) if isinstance(error, OSError) else '') or name}"
            raise CallError(f"{place}: {str(error) or name}", brief=brief) from error
        if response.status != 200:
            brief = f"{place} answered {response.status}"
            raise CallError(f"{brief}: {self._shown(content)}", response.status, brief=brief)
        return self._parsed(place, content)

    def _shown(self, content: bytes) -> str:
        text = content[: 20 * SHOWN].decode("utf-8", "replace")
        if self._key:
            text = text.replace(self._key, "[key]")
        return _QUOTED.sub("[...]", text)[:SHOWN]

    def _parsed(self, place: str, content: bytes) -> Any:
        if not content.strip():
            return None  # /health has no body
        try:
            return jsontext.loads(content)
        except ValueError as error:
            message = f"{place}: the answer is not JSON: {type(error).__name__}"
            raise CallError(message, 200) from error
