"""`rbr bench` against real services: counts are exact, and the exit code tells a loss."""

import itertools
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .commands import here, rbr, refused, said
from .processes import SERVE, SLOW_SERVICE, service

KEY = "a key of some length"


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def test_a_service_under_load(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    with service(SERVE) as running:
        done = rbr(
            "bench", url(running.port), "--rate", "200", "--count", "150", "--words", "20", "--json", out
        )
        assert done.returncode == 0, done.stderr
        assert "rbr: asking: 150 of 150 samples" in done.stderr
        assert 'rbr_requests_total{route="/score",status="200"} 150.0' in running.text("/metrics")
        found: dict[str, Any] = json.loads(out.read_text())
        assert found["reward_versions"] == [running.get("/readyz")["reward_version"]]
    assert (found["asked"], found["scored"], found["failures"], found["deadline_misses"]) == (150, 150, {}, 0)
    assert found["cpu_ms_per_score"] > 0
    assert set(found["untold"]) == {"tokens_per_completion", "cache_hit_share"}
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (lines["scored"], lines["failures"]) == ("150", "0")
    assert "the lexical grader computes none" in done.stdout


def test_a_rollout_at_once_of_which_some_fail(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "completion": "c", "response_type": "comply" if n % 4 else "what"} for n in range(40)
    ]
    samples, out = tmp_path / "samples.jsonl", tmp_path / "bench.json"
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with service(SERVE) as running:
        done = here("bench", url(running.port), "--rollout", "120", "--samples", samples, "--json", out)
    assert done.exit_code == 1
    assert "rbr: 30 of 120 samples were not scored" in done.stderr
    found = json.loads(out.read_text())
    assert (found["scored"], found["failures"]) == (90, {"unknown_response_type": 30})
    assert found["latency"]["p50"] is not None
    assert found["latency"]["p95"] is None


def test_a_service_that_never_answers_misses_every_deadline(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    with service(SLOW_SERVICE, "--held") as running:
        done = here("bench", url(running.port), "--rollout", "64", "--deadline", "1", "--json", out)
    assert done.exit_code == 1
    found = json.loads(out.read_text())
    assert (found["scored"], found["deadline_misses"], found["failures"]) == (0, 64, {})
    assert set(found["latency"].values()) == {None}
    assert "not scored" in done.stdout


def test_a_slow_service_shows_in_the_latency(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    with service(SLOW_SERVICE, "--delay", "1") as running:
        done = here("bench", url(running.port), "--rollout", "100", "--json", out)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert found["scored"] == 100
    assert found["latency"]["p50"] >= 1


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBR_API_KEY", KEY)
    with service(SERVE) as running:
        assert here("bench", url(running.port), "--rollout", "4").exit_code == 0
        monkeypatch.delenv("RBR_API_KEY")
        done = here("bench", url(running.port), "--rollout", "4")
        assert done.exit_code == 1
        assert "set RBR_API_KEY" in done.stderr
        assert KEY not in done.output


class Page(BaseHTTPRequestHandler):
    """An engine's metrics, which count 3,000 tokens between any two looks."""

    looks = itertools.count()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        name = 'vllm:prompt_tokens_by_source_total{source="local_compute"}'
        self.wfile.write(f"{name} {3000 * next(self.looks)}\n".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_an_engine_that_is_named_tells_tokens() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as engine, service(SLOW_SERVICE) as running:
        threading.Thread(target=engine.serve_forever).start()
        try:
            address = f"{url(engine.server_port)}/v1"
            told = said("bench", url(running.port), "--rollout", "20", "--engine", address)
        finally:
            engine.shutdown()
    assert re.search(r"^tokens/completion +150\.0$", told, re.MULTILINE)


def test_nothing_there() -> None:
    done = here("bench", "http://127.0.0.1:9", "--rollout", "4")
    assert done.exit_code == 1
    assert "nothing answers at http://127.0.0.1:9/readyz" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("127.0.0.1:8000",), "URL: must be a service's address"),
        (("http://host", "--rollout", "8", "--rate", "5"), "--rate: a --rollout arrives at once"),
        (("http://host", "--rollout", "8", "--count", "5"), "--count: a --rollout arrives at once"),
        (("http://host", "--json", "nowhere/bench.json"), "its folder does not exist"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("bench", *arguments)
