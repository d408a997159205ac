"""Open live pages and the service's end: they do not keep the process, and leave nothing behind."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .commands import PATIENCE
from .processes import SERVE, Service, service, until

KEY = "a-key-of-the-tests"
FOREVER = ("--shutdown-grace", "86400")  # what waits for an open stream fails by its patience
BATCH = {"query": ["Hi Sorry."] * 500, "prompts": ["Hi "] * 500, "labels": ["hard_refusal"] * 500}


@contextmanager
def stream(running: Service, receive_buffer: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        connection.settimeout(PATIENCE)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect(("127.0.0.1", running.port))
        connection.sendall(b"GET /v1/live HTTP/1.1\r\nHost: test\r\n\r\n")
        yield connection


def test_open_streams_end_whole_when_the_service_stops() -> None:
    with service(SERVE, *FOREVER) as running, stream(running) as first, stream(running) as second:
        heads = [connection.recv(65536) for connection in (first, second)]
        running.terminate()
        assert running.exit_code() == 0
        for head, connection in zip(heads, (first, second), strict=True):
            whole = head + b"".join(iter(lambda: connection.recv(65536), b""))  # noqa: B023
            assert whole.startswith(b"HTTP/1.1 200 ")
            assert b"event: hello" in whole
            assert whole.endswith(b"0\r\n\r\n")
        assert "Traceback" not in running.log


def test_readers_who_leave_leave_nothing_behind() -> None:
    with service(SERVE, *FOREVER) as running:
        for _ in range(4):
            running.post("/score", BATCH)
        for buffer in (0, 4096):
            for _ in range(12):
                with stream(running, buffer) as connection:
                    assert connection.recv(12) == b"HTTP/1.1 200"
        until(lambda: 'route="/v1/live",status="200"} 24.0' in running.text("/metrics"))
        running.terminate()
        assert running.exit_code() == 0
        assert "Traceback" not in running.log


def test_the_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBR_API_KEY", KEY)
    with service(SERVE) as running:
        address = f"http://127.0.0.1:{running.port}/v1/live"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address, timeout=PATIENCE)
        assert refused.value.code == 401
        refused.value.close()
        allowed = urllib.request.Request(address, headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(allowed, timeout=PATIENCE) as answer:
            assert answer.readline() == b"event: hello\n"
