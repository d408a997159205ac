"""The service's image, and the default stack as it runs from the compose file."""

import os
import socket
from collections.abc import Iterator

import pytest

from tests.containers.engine import HERE, Engine, run
from tests.containers.stack import Stack

IMAGE = "rule-based-rewards/service:local"
PROJECT = "rbr-test"


@pytest.fixture(scope="session")
def engine() -> Engine:
    """What tests/containers/setup finds or installs."""
    return Engine(run([str(HERE / "setup")], patience=1800).strip())


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The target `service`, built."""
    engine.build("service", IMAGE)
    return IMAGE


@pytest.fixture(scope="session")
def stack(engine: Engine, image: str) -> Iterator[Stack]:
    """Service and Prometheus, on free ports; Grafana's image cannot be had everywhere."""
    ports = {name: str(free_port()) for name in ("RBR_PORT", "PROMETHEUS_PORT")}
    environ = {k: v for k, v in os.environ.items() if not k.startswith("RBR_")} | ports
    engine.compose("-p", PROJECT, "up", "-d", "--no-build", "service", "prometheus", environ=environ)
    try:
        stack = Stack(engine, PROJECT, *map(int, ports.values()))
        stack.wait_until_ready()
        yield stack
    finally:
        engine.compose("-p", PROJECT, "down", "--volumes", environ=environ)


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
