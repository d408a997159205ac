"""The commands with a model behind them: fit, score and evaluate over a real server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import RBR
from tests.e2e.processes import SERVE, service

from . import models, policies
from .conftest import NAME
from .servers import ENVIRONMENT, Server

SLOW = 400.0  # seconds; reached only by what hangs


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def rbr(*arguments: str | Path) -> str:
    command = [*RBR, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SLOW)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def grader(server: Server, language_model: Path, tmp_path: Path) -> list[str]:
    """The options of a grader on the server, and the small policy."""
    policy, _ = policies.write(tmp_path / "policy")
    return [
        "--policy", str(policy), "--grader", "openai", "--grader-url", server.url, "--grader-model", NAME,
        "--grader-tokenizer", str(language_model), "--grader-revision", "test", "--min-label-mass", "0",
    ]  # fmt: skip


def rows(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


@pytest.fixture
def ranked(tmp_path: Path) -> Path:
    content = [
        {
            "id": str(i),
            "response_type": "chat",
            "prompt": [{"role": "user", "content": f"Question {i}?"}],
            "completions": [
                {"class": name, "content": models.text(10, 2 * i + (name == "good"))}
                for name in ("good", "bad")
            ],
        }
        for i in range(6)
    ]
    return rows(tmp_path / "ranked.jsonl", content)


def test_fitted_weights_serve_and_score(grader: list[str], ranked: Path, tmp_path: Path) -> None:
    weights, scored = tmp_path / "weights.json", tmp_path / "out.jsonl"
    assert "chat" in rbr("fit", *grader, "--data", ranked, "--held-out", "0", "-o", weights)
    bound = json.loads(weights.read_text())
    assert bound["origin"]["response_types"]["chat"]["train"]["pairs"] == 6
    assert bound["grader"]["name"] == "llm"
    source = rows(
        tmp_path / "in.jsonl",
        [
            {"id": 1, "prompt": "Hi", "completion": "Hello.", "response_type": "chat"},
            {"id": 2, "prompt": "Hi", "completion": "x" * 60_000, "response_type": "chat"},
            {"id": 3, "prompt": "Hi", "completion": "Bye.", "response_type": "chat"},
        ],
    )
    rbr("score", source, "-o", scored, *grader, "--weights", weights)
    lines = [json.loads(line) for line in scored.read_text().splitlines()]
    assert [line.get("error", {}).get("code") for line in lines] == [None, "completion_too_long", None]
    with service(SERVE, *grader, "--weights", str(weights)) as running:
        assert running.get("/readyz")["versions"]["grader"] == bound["grader"]["fingerprint"]
        assert running.get("/readyz")["accepted_mismatches"] == []


def test_weights_are_fitted_with_the_reward_models_rewards(
    grader: list[str], ranked: Path, tmp_path: Path, reward_server: Server, reward_model: Path
) -> None:
    base = ["--base-reward", "classify", "--base-reward-url", reward_server.url]
    base += ["--base-reward-model", str(reward_model)]
    alone, both = tmp_path / "alone.json", tmp_path / "both.json"
    rbr("fit", *grader, "--data", ranked, "-o", alone)
    rbr("fit", *grader, *base, "--data", ranked, "-o", both)
    first, second = (json.loads(path.read_text()) for path in (alone, both))
    assert second["base_reward"].startswith(f"classify:{reward_model}@")
    assert first["response_types"] != second["response_types"]
    refused = subprocess.run(
        [*RBR, "serve", *grader, "--weights", both], capture_output=True, text=True, timeout=SLOW
    )
    assert refused.returncode == 2
    assert "base reward" in refused.stderr


def test_layouts_are_compared_side_by_side(grader: list[str], tmp_path: Path) -> None:
    labelled = [
        {
            "prompt": "Hi", "completion": models.text(10, i), "response_type": "chat",
            "propositions": {"brief": i % 2 == 0, "rude": False, "greets": i % 3 == 0},
        }
        for i in range(8)
    ]  # fmt: skip
    gold, out = rows(tmp_path / "gold.jsonl", labelled), tmp_path / "figures.json"
    layouts = "book,conversation-first,released"
    table = rbr("evaluate", "--gold", gold, "--json", out, "--layouts", layouts, *grader)
    figures = json.loads(out.read_text())
    assert list(figures) == layouts.split(",")
    assert all(name in table.splitlines()[0] for name in figures)
    accuracies = [figures[name]["proposition_accuracy"] for name in figures]
    assert all(0 <= accuracy <= 1 for accuracy in accuracies)
    masses = {figures[name]["label_mass_median"] for name in figures}
    assert len(masses) == 3  # three ways of asking
