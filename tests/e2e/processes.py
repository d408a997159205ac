"""Services as processes: start one, look at it, stop it."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .commands import PATIENCE, RBR

HERE = Path(__file__).parent
SERVE = [*RBR, "serve"]
SLOW_SERVICE = [sys.executable, str(HERE / "slow_service.py")]


class Service:
    """A running service; `log` is what it has written so far."""

    def __init__(self, command: list[str], patience: float = PATIENCE) -> None:
        """`patience`: seconds until it listens."""
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        self.pid = self._process.pid
        self.log = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            until(lambda: "Listening on" in self.log or self._process.poll() is not None, patience)
            found = re.search(r"Listening on http://127\.0\.0\.1:(\d+)", self.log)
            assert found, self.log
        except BaseException:
            self.kill()
            raise
        self.port = int(found[1])

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.log += line

    def text(self, path: str) -> str:
        """What GET answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
            return bytes(answer.read()).decode()

    def get(self, path: str) -> Any:
        """The JSON that GET answers."""
        return json.loads(self.text(path))

    def post(self, path: str, body: Any) -> str:
        """What POST of a JSON body answers."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return bytes(answer.read()).decode()

    def answer(self, path: str, body: Any) -> Any:
        """The JSON that POST of a JSON body answers."""
        return json.loads(self.post(path, body))

    def terminate(self) -> None:
        """Ask it to stop, as an init system does."""
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        """Wait for its end."""
        code = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self.exit_code()
        assert self._process.stdout
        self._process.stdout.close()


@contextmanager
def service(command: list[str], *options: str, patience: float = PATIENCE) -> Iterator[Service]:
    """A service on a free port."""
    running = Service([*command, "--port", "0", *options], patience)
    try:
        assert running.get("/readyz")["status"] == "ready"
        yield running
    finally:
        running.kill()


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait for a condition; fail when it does not come within `patience` seconds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
