"""`rbr serve` refuses to start, exit code 2, with one line that says what to do; running, it logs no text."""

import shlex
import shutil
import socket
from pathlib import Path

import pytest

from rbr_service.build import rules_folder

from .commands import rbr, refused, said
from .processes import SERVE, service

MARKER = "zebra-crossing-7"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A copy of the shipped safety policy and its companions, to be edited."""
    for path in rules_folder().glob("safety.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "safety.yaml"


def test_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = rbr("serve", "--port", str(port))
    assert finished.returncode == 2
    assert (
        finished.stderr.splitlines()[-1] == f"rbr: cannot listen on 127.0.0.1:{port}: Address already in use"
    )
    assert "Traceback" not in finished.stderr


def test_the_policy_is_broken(policy: Path) -> None:
    policy.write_text(policy.read_text().replace("unlabelled: out_of_scope", "unlabelled: maybe"))
    assert f"{policy}:" in refused("serve", "--policy", str(policy), "--port", "0")


def test_the_weights_are_of_another_policy(policy: Path) -> None:
    text = policy.read_text()
    question = text.index("question: ", text.index("propositions:"))
    policy.write_text(text[:question] + text[question:].replace("?", " at all?", 1))
    line = refused("serve", "--policy", str(policy), "--port", "0")
    assert f"rbr fit --policy {policy} --grader lexical" in line


def test_the_weights_are_missing(policy: Path) -> None:
    policy.with_name("safety.lexical.json").unlink()
    assert f"rbr fit --policy {policy}" in refused("serve", "--policy", str(policy), "--port", "0")


def test_the_remedy_for_missing_weights_is_one(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy.with_name("safety.lexical.json").unlink()
    line = refused("serve", "--policy", str(policy), "--port", "0")
    for command in line[line.index("rbr synthesize") :].split(" && "):
        words = shlex.split(command)[1:]
        said(*words, *(["--count", "5"] if words[0] == "synthesize" else []))
    (tmp_path / "in.jsonl").write_text('{"prompt": "x", "completion": "y", "category": "None"}\n')
    said("score", "in.jsonl", "-o", "out.jsonl", "--policy", policy)


def test_nothing_of_a_request_is_logged() -> None:
    with service(SERVE) as running:
        for request in hostile():
            with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
        running.terminate()
        assert running.exit_code() == 0
        assert "Finished server process" in running.log
        assert MARKER not in running.log


def hostile() -> list[bytes]:
    """Requests that hold the marker everywhere, whole and broken."""
    bodies = (
        f'{{"query": ["{MARKER}"], "prompts": [""], "labels": ["{MARKER}"]}}',
        f'{{"query": ["{MARKER}"], "prompts": [""], "labels": ["comply"]}}',
        f'{{"query": "{MARKER}"}}',
        f"{{{MARKER}",
        f'{{"query": ["{MARKER}\\ud800"]}}',
    )
    heads = (f"POST /score?{MARKER} HTTP/1.1", f"GET /{MARKER} HTTP/1.1", f"{MARKER} / HTTP/9", MARKER)
    return [
        f"{head}\r\nHost: {MARKER}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        for head in heads
        for body in bodies
    ]
