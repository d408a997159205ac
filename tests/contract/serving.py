"""The real `rbr serve` as a process of its own, which a test may kill and start again."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = 60.0  # seconds


@dataclass(frozen=True)
class Service:
    """A running service; `netloc` is host:port."""

    netloc: str

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.netloc}"

    @property
    def score(self) -> str:
        """The URL that a trainer is given."""
        return f"http://{self.netloc}/score"

    def post(self, path: str, body: Any) -> Any:
        """Post JSON as a plain client does and read the JSON answer."""
        request = urllib.request.Request(
            f"http://{self.netloc}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())


class Process:
    """`rbr serve`, logging into `folder`. Weights are taken as they are: the contract is not about them."""

    def __init__(self, folder: Path, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RBR_")}
        self._environment = kept | environment
        self._log = folder / "log"
        self._port = 0

    def start(self) -> Service:
        """Returns when it listens: on a free port, and on the same one when it is started again."""
        command = [_command(), "serve", "--port", str(self._port), "--accept-mismatch"]
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env=self._environment, cwd=ROOT)
        service = Service(self._netloc())
        self._port = int(service.netloc.rpartition(":")[2])
        return service

    def kill(self) -> None:
        """End it without a chance to answer what is in flight."""
        self._process.kill()
        self._process.wait(START)

    def stop(self) -> None:
        """End it as an init system does; fails if it did not end well."""
        self._process.terminate()
        status = self._process.wait(timeout=START)
        assert status == 0, self._log.read_text()

    def _netloc(self) -> str:
        """host:port, as the service's log tells once it is ready."""
        end = time.monotonic() + START
        while time.monotonic() < end and self._process.poll() is None:
            listening = re.search(r"Listening on http://(\S+)\s", self._log.read_text())
            if listening:
                return listening[1]
            time.sleep(0.05)
        self._process.kill()
        pytest.fail(f"rbr serve did not start: {self._log.read_text()}")


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[Service]:
    """A service until the block ends."""
    process = Process(folder, **environment)
    service = process.start()
    try:
        yield service
    finally:
        process.stop()


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _command() -> str:
    """Of `make install`; this environment's own lacks what the service imports."""
    command = ROOT / ".venv/bin/rbr"
    return str(command) if command.exists() else pytest.fail("no rbr command: run `make install`")
