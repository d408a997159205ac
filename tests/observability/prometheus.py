"""A real Prometheus of the tests' own, Debian's package, on a free port, over the shipped configuration.

prometheus.yml, rules.yml -> the same with windows of seconds and the test's target -> process -> answers
"""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml

from tests.e2e.processes import until

PATIENCE = 60.0


def binary(name: str) -> str:
    """The path of prometheus or promtool."""
    found = shutil.which(name)
    assert found, f"no {name} on the PATH: apt-get install prometheus, or make test-observability as root"
    return found


def shortened(rules: str) -> str:
    """The rules with seconds for minutes and hours: what a working day shows, a test sees at once."""
    rules = re.sub(r"\[\d+[mh]\]", "[10s]", rules)
    rules = re.sub(r"offset \d+m", "offset 5s", rules)
    return re.sub(r"(for): \d+m", r"\1: 1s", rules)


class Prometheus:
    """The process; it scrapes `target` (host:port) every second."""

    def __init__(self, shipped: Path, target: str, folder: Path) -> None:
        """`shipped` is deploy/observability/prometheus, `folder` takes configuration and data."""
        config = yaml.safe_load((shipped / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "rules.yml").write_text(shortened((shipped / "rules.yml").read_text()))
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._begin = time.time()

    def __enter__(self) -> Self:
        command = [
            binary("prometheus"), f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address={self._address}",
        ]  # fmt: skip
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._ready, PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API, and its reason in the failure where it refuses."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def history(self, expression: str) -> list[Any]:
        """The series that an expression has given since the start, as a panel draws them."""
        times = {"start": str(self._begin), "end": str(time.time()), "step": "1"}
        return list(self.get("query_range", query=expression, **times)["result"])
