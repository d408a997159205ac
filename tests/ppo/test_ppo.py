"""`rbr-train run`, whole: OpenRLHF's PPO with a critic, on the CPU, rewarded by the service."""

import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from .environment import environment
from .grammar import split
from .servers import Server, service
from .training import ROLLOUT, Run, command, draw, train

STEPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ppo")


@pytest.fixture(scope="module")
def answered(folder: Path, policy: Path) -> tuple[Run, float]:
    """The finished run, and the answers with rewards that the service counted."""
    with service(folder) as running:
        asked = command(
            folder / "run", policy, running.url, draw(split().train, STEPS, 1), seed=1, client="agent",
            check=True, version=running.get("/readyz")["reward_version"],
        )  # fmt: skip
        run = train(asked, folder / "run", environment())
        return run, _answers(running)


def _answers(running: Server) -> float:
    found = re.findall(
        r'^rbr_requests_total\{.*get_reward.*status="200".*\} (\S+)$', running.get("/metrics"), re.M
    )
    return sum(map(float, found))


def test_the_check_passes_and_the_run_ends_well(answered: tuple[Run, float]) -> None:
    run, _ = answered
    assert run.code == 0, run.log[-5000:]
    assert "FAIL" not in run.log
    assert len(run.steps) == STEPS


def test_every_completion_is_rewarded_by_the_service(answered: tuple[Run, float]) -> None:
    run, answers = answered
    assert answers >= STEPS * ROLLOUT >= 100
    assert all(step["rollout/num_samples"] == ROLLOUT for step in run.steps)
    assert all(step["rbr_in_scope"] == 1 for step in run.steps)
    assert all(step["rollout/reward_std"] > 0 for step in run.steps)
    assert all(step["reward"] == pytest.approx(step["rbr_reward"]) for step in run.steps)


def test_policy_and_critic_are_updated(answered: tuple[Run, float], policy: Path) -> None:
    run, _ = answered
    assert max(step["ppo_clip_ratio"] for step in run.steps) > 0
    assert all(step["actor_grad_norm"] > 0 and step["critic_grad_norm"] > 0 for step in run.steps)
    before, after = (load_file(place / "model.safetensors") for place in (policy, run.folder / "model"))
    changed = [name for name in before if not before[name].equal(after[name].float())]
    assert len(changed) > len(before) / 2
