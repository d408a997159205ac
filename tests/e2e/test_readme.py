"""The README's commands, run in order as a reader would, and the answers it shows."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = "http://127.0.0.1:8000"
BIN = Path(sys.executable).parent


@pytest.fixture
def url() -> Iterator[str]:
    """The service: the one that README_URL names, or one started for the test."""
    running = os.environ.get("README_URL")
    if running:
        yield running
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([BIN / "rbr", "serve", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        assert server.wait(30) == 0


def wait_until_ready(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except (URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"{url} did not become ready")


@pytest.fixture
def folder(tmp_path: Path, repository: Path) -> Path:
    """A checkout as the commands see it, in a path with a space."""
    place = tmp_path / "a checkout"
    place.mkdir()
    (place / "rules").symlink_to(repository / "rules")
    (place / ".venv").symlink_to(sys.prefix)
    return place


def run(command: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def rounded(text: str) -> object:
    """JSON whose numbers do not depend on the last bits of a machine's arithmetic."""
    return json.loads(text, parse_float=lambda number: round(float(number), 6))


def test_the_readme_runs_and_shows_what_comes_out(url: str, folder: Path, repository: Path) -> None:
    blocks = BLOCK.findall((repository / "README.md").read_text(encoding="utf-8"))
    ran, output = 0, None
    for language, content in blocks:
        if language == "bash":
            output = run(content.replace(SHOWN, url), folder)
            ran += 1
        elif language == "json" and output is not None:
            assert rounded(output) == rounded(content)
            output = None
        elif language == "text" and output is not None:
            assert output.splitlines() == content.splitlines()
            output = None
    assert ran >= 5
    rewards = [json.loads(line) for line in (folder / "rewards.jsonl").read_text().splitlines()]
    assert [row["response_type"] for row in rewards] == ["hard_refusal", "comply"]
    assert (folder / "my" / "safety.lexical.json").read_text() != (
        repository / "rules" / "rbr_rules" / "safety.lexical.json"
    ).read_text()
