"""The running default stack: its containers by service, its service and its Prometheus by HTTP."""

import json
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError

from tests.containers.engine import Engine, until


@dataclass(frozen=True)
class Stack:
    """A compose project and the ports it published on loopback."""

    engine: Engine
    project: str
    service_port: int
    prometheus_port: int

    @property
    def url(self) -> str:
        """The service's address."""
        return f"http://127.0.0.1:{self.service_port}"

    def container(self, service: str) -> str:
        """The id of a service's container."""
        labels = {"project": self.project, "service": service}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        return self.engine("ps", "-aq", "--no-trunc", *filters).strip()

    def python(self, code: str) -> Any:
        """The JSON that Python code prints in the service's container."""
        return json.loads(self.engine("exec", self.container("service"), "python", "-c", code))

    def query(self, expression: str) -> list[Any]:
        """What Prometheus answers to an expression: samples, maybe none."""
        query = urllib.parse.urlencode({"query": expression})
        return list(self.prometheus(f"/api/v1/query?{query}")["result"])

    def prometheus(self, path: str) -> Any:
        """The data of an answer of Prometheus's API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.prometheus_port}{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def wait_until_ready(self) -> None:
        """Both answer."""
        until(lambda: self._answers(f"{self.url}/readyz"))
        until(lambda: self._answers(f"http://127.0.0.1:{self.prometheus_port}/-/ready"))

    def _answers(self, url: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return True
        except (URLError, ConnectionError):
            return False
