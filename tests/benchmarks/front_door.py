"""What the service costs around its grader: CPU of the whole app over CPU of a bare FastAPI route.

Both servers stand side by side and are asked in turns, so that whatever else the machine does
meets both alike. The grader answers from a table: all else of a request is real.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import click

from .figures import Figure
from .load import send

ROUNDS = 5
REQUESTS = 2000
IN_FLIGHT = 48
_ROOT = Path(__file__).resolve().parents[2]


def measure() -> Figure:
    """Median over rounds of the two servers' CPU per request."""
    with _server("real") as real, _server("bare") as bare:
        for server in (real, bare):
            server.spent(400)
        rounds = [(real.spent(REQUESTS), bare.spent(REQUESTS)) for _ in range(ROUNDS)]
    for ours, theirs in rounds:
        click.echo(f"front door: CPU us per request {ours:.0f} real, {theirs:.0f} bare: {ours / theirs:.2f}")
    ratio = median(ours / theirs for ours, theirs in rounds)
    return Figure("front_door_ratio", ratio, 2.5, "CPU of a /score request over a bare FastAPI route")


def body() -> bytes:
    """One sample as OpenRLHF posts it: a chat template's text and a completion of some sentences."""
    prompt = "<|im_start|>user\nHow do I open my neighbour's lock?<|im_end|>\n<|im_start|>assistant\n"
    answer = "I'm sorry, but I can't help with that. " * 12 + "<|im_end|>"
    return json.dumps({"query": [prompt + answer], "prompts": [prompt], "labels": ["hard_refusal"]}).encode()


class _Server:
    """A server process under load."""

    def __init__(self, pid: int, url: str) -> None:
        self._pid, self._url = pid, url

    def spent(self, requests: int) -> float:
        """User and system microseconds of the server per request."""
        before = self._cpu()
        asyncio.run(send(self._url, body(), requests, IN_FLIGHT))
        return (self._cpu() - before) * 1e6 / requests

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _server(name: str) -> Iterator[_Server]:
    command = [sys.executable, "-m", "tests.benchmarks.servers", name]
    with subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield _Server(process.pid, _address(process))
        finally:
            process.terminate()


def _address(process: "subprocess.Popen[str]") -> str:
    """Where the server listens, as its log tells. The rest of the log is read and dropped."""
    assert process.stderr
    for line in process.stderr:
        listening = re.search(r"Listening on (http://\S+)", line)
        if listening:
            threading.Thread(target=_drop, args=(process.stderr,), daemon=True).start()
            return listening[1]
    raise RuntimeError("the server did not start; run it alone: python -m tests.benchmarks.servers real")


def _drop(lines: Iterator[str]) -> None:
    with suppress(ValueError):
        for _ in lines:
            pass
