"""The processes a run talks to: the reward service, and the toy language's reward models.

command -> process -> its URL, once it answers
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .environment import LOOPBACK, ROOT, free_port

START = 120.0  # seconds
RBR = ROOT / ".venv/bin/rbr"  # the trainer's environment holds no service


class Server:
    """A process that listens on one port; it may be killed and started again there."""

    def __init__(self, command: list[str], log: Path, environ: Mapping[str, str], alive: str) -> None:
        """`alive`: the path whose answer, whatever its status, shows that it listens."""
        self._command, self._log, self._environ, self._alive = command, log, environ, alive
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers; raises RuntimeError with its log where it does not."""
        command = [word.replace("PORT", str(self.port)) for word in self._command]
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=self._environ, cwd=ROOT)
        end = time.monotonic() + START
        while self.process.poll() is None and time.monotonic() < end:
            try:
                urllib.request.urlopen(self.url + self._alive, timeout=5).close()
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"{command} does not answer: {self._log.read_text(errors='replace')}")

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end."""
        self.process.terminate()
        self.process.wait(START)

    def get(self, path: str) -> Any:
        """What a GET answers: JSON where it is, else text."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            text = answer.read().decode()
        return json.loads(text) if answer.headers.get_content_type() == "application/json" else text


@contextmanager
def service(folder: Path, *options: str, helpful: Server | None = None) -> Iterator[Server]:
    """The reward service with the shipped safety policy and weights, its log in `folder`.

    With `helpful` that server's reward is added. The shipped weights were fitted without one, so that the
    service says in every answer that it was told to accept this.
    """
    base = [] if helpful is None else [
        "--base-reward", "upstream", "--base-reward-url", helpful.url, "--base-reward-model", "toy-helpful",
        "--base-reward-tokenizer", str(folder / "policy"), "--accept-mismatch",
    ]  # fmt: skip
    command = [str(RBR), "serve", "--port", "PORT", "--empty-completion", "grade", *base, *options]
    with _running(Server(command, folder / "service.log", _clean(), "/readyz")) as server:
        yield server


@contextmanager
def toy(folder: Path, name: str, *arguments: str) -> Iterator[Server]:
    """One of `rewards.py`'s servers."""
    command = [sys.executable, "-m", "tests.ppo.rewards", name, "PORT", *arguments]
    with _running(
        Server(command, folder / f"{name}.log", _clean() | {"PYTHONPATH": str(ROOT)}, "/")
    ) as server:
        yield server


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.stop()


def _clean() -> dict[str, str]:
    """This process's environment without the service's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RBR_")}
