"""The unpacked OpenRLHF client, and the real `rbr serve` as a process of its own."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import openrlhf
from .openrlhf import OpenRLHF

START = 60.0  # seconds
KEY = "a-key-of-this-test"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Service:
    """A running service; `netloc` is host:port."""

    netloc: str

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


@pytest.fixture(scope="session")
def trainer() -> OpenRLHF:
    path = openrlhf.folder(_ROOT)
    if not (path / "openrlhf/utils/agent.py").is_file():
        pytest.fail(
            f"OpenRLHF {openrlhf.VERSION} is not unpacked at {path}: run `make test-trainer`, or set "
            f"{openrlhf.VARIABLE} to the folder that holds it"
        )
    return openrlhf.load(path)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with _running(tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Demands KEY."""
    with _running(tmp_path_factory, RBR_API_KEY=KEY) as running:
        yield running


@pytest.fixture(scope="session")
def adding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Adds the base reward that each label brings."""
    with _running(tmp_path_factory, RBR_BASE_REWARD="given") as running:
        yield running


@contextmanager
def _running(tmp_path_factory: pytest.TempPathFactory, **environment: str) -> Iterator[Service]:
    """`rbr serve` until the block ends. Weights are accepted as they are: the contract is not about them."""
    log = tmp_path_factory.mktemp("service") / "log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RBR_")}
    command = [_command(), "serve", "--port", "0", "--accept-mismatch"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=kept | environment, cwd=_ROOT)
    try:
        yield Service(_address(process, log))
    finally:
        process.terminate()
        status = process.wait(timeout=START)
    assert status == 0, log.read_text()


def _command() -> str:
    """`rbr` beside this Python, or that of `make install`: the trainer's environment holds no service."""
    places = [Path(sys.executable).with_name("rbr"), _ROOT / ".venv/bin/rbr"]
    found = next((place for place in places if place.exists()), None)
    return str(found) if found else pytest.fail("no rbr command: run `make install`")


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """host:port, as the service's log tells once it is ready."""
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        listening = re.search(r"Listening on http://(\S+)\n", log.read_text())
        if listening:
            return listening[1]
        time.sleep(0.05)
    pytest.fail(f"rbr serve did not start: {log.read_text()}")
