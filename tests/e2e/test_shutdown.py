"""SIGTERM under load: every request whose connection was taken is answered in full."""

import json
import subprocess
import sys

import pytest

from .commands import PATIENCE
from .processes import HERE, SERVE, SLOW_SERVICE, service

CONNECTIONS = 64


@pytest.mark.parametrize(
    ("command", "options", "answers_before"),
    [(SERVE, (), 400), (SLOW_SERVICE, ("--delay", "0.3"), 150)],
    ids=["lexical", "slow grader"],
)
def test_no_request_is_lost(command: list[str], options: tuple[str, ...], answers_before: int) -> None:
    with service(command, *options) as running:
        load = subprocess.Popen(
            [sys.executable, str(HERE / "load.py"), str(running.port), str(CONNECTIONS)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert load.stdout
            for line in load.stdout:
                if int(line) >= answers_before:
                    break
            running.terminate()
            *_, summary = load.communicate(timeout=PATIENCE)[0].splitlines()
        finally:
            load.kill()
            load.communicate()
        outcomes = json.loads(summary)
        assert outcomes.pop("answered") >= answers_before
        assert outcomes.pop("refused") == CONNECTIONS
        assert outcomes == {}
        assert running.exit_code() == 0
        assert "Traceback" not in running.log
