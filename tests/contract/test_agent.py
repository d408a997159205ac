"""AgentExecutor in OpenRLHF's real `execute`: earns what OpenRLHF's own client earns, and loses nothing."""

import asyncio
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rbr_trainer.client import Client, Patience
from rbr_trainer.errors import InputError, Refused, Unavailable, Unsound

from .chats import ANSWERS, CHAT, CHATML
from .conftest import KEY
from .openrlhf import CharacterTokenizer, FixedEngine, OpenRLHF
from .serving import ROOT, Process, Service, free_port

DRIVER = "tests.contract.rollout"
PROMPT = CHATML.prompt(CHAT)
LENGTH = 10_000
MakeAgent = Callable[..., Any]


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> MakeAgent:
    """Makes an agent as a rollout worker does: by the path of its file, in an environment."""

    def make(*urls: str, **environment: str) -> Any:
        for name in ("RBR_API_KEY", "RBR_REWARD_PATIENCE", "RBR_REWARD_VERSION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("RBR_REWARD_URL", ",".join(urls))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        package = importlib.util.find_spec("rbr_trainer")
        assert package
        assert package.origin
        spec = importlib.util.spec_from_file_location(
            "agent_module", Path(package.origin).with_name("agent.py")
        )
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.AgentExecutor()

    return make


async def executed(agent: Any, engine: FixedEngine, label: Any = "hard_refusal", prompt: str = PROMPT) -> Any:
    params = SimpleNamespace(max_tokens=100, logprobs=None)
    return await agent.execute(prompt, label, params, LENGTH, CharacterTokenizer(), engine)


def one(agent: Any, label: Any = "hard_refusal", engine: FixedEngine | None = None) -> Any:
    """One sample of the first answer."""

    async def run() -> Any:
        try:
            return await executed(agent, engine or FixedEngine(ANSWERS[0] + CHATML.end), label)
        finally:
            await agent.client.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "label", ["hard_refusal", "K-R", "", None, {"response_type": "comply"}, '{"category": "K-R"}']
)
def test_a_sample_is_to_the_letter_that_of_openrlhf(
    agent: MakeAgent, trainer: OpenRLHF, service: Service, label: Any
) -> None:
    engine = FixedEngine(ANSWERS[0] + CHATML.end)
    stock = asyncio.run(executed(trainer.executor(service.score), engine, label))
    assert stock["reward"]
    assert one(agent(service.url), label) == stock


def test_the_key_opens_a_guarded_service(agent: MakeAgent, guarded: Service) -> None:
    assert one(agent(guarded.url, RBR_API_KEY=KEY))["reward"]
    with pytest.raises(Refused, match="set RBR_API_KEY"):
        one(agent(guarded.url))


@pytest.mark.parametrize("label", ["no_such_type", {"responsetype": "comply"}, 3])
def test_a_label_that_is_none_ends_the_run_at_once(agent: MakeAgent, service: Service, label: Any) -> None:
    engine = FixedEngine(ANSWERS[0] + CHATML.end)
    with pytest.raises(Refused) as caught:
        one(agent(service.url), label, engine)
    assert caught.value.status == 422
    assert "entry 0: " in str(caught.value)
    assert engine.prompts == [PROMPT]


def test_the_patience_over_ends_the_run(agent: MakeAgent) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable) as caught:
        one(agent(dead, RBR_REWARD_PATIENCE="0.2"))
    assert f"nothing answers at {dead}: " in str(caught.value)


def test_another_version_of_the_reward_ends_the_run(agent: MakeAgent, service: Service) -> None:
    with pytest.raises(Unsound, match="and this run by another"):
        one(agent(service.url, RBR_REWARD_VERSION="another"))


def test_no_service_named_refuses_before_anything_is_generated(agent: MakeAgent) -> None:
    with pytest.raises(InputError, match="RBR_REWARD_URL is not set"):
        agent()


def test_one_of_two_replicas_dead(agent: MakeAgent, service: Service) -> None:
    answers = rollout(agent(f"http://127.0.0.1:{free_port()}", service.url), 20)
    assert len(answers) == 20


def rollout(agent: Any, size: int, meanwhile: Callable[[], None] | None = None) -> list[float]:
    """The rewards of different samples in flight at once; `meanwhile` runs when the first is there."""
    engines = [FixedEngine(f"{ANSWERS[i % 3]} Number {i}.{CHATML.end}") for i in range(size)]

    async def run() -> list[float]:
        calls = [asyncio.create_task(executed(agent, engine)) for engine in engines]
        if meanwhile:
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(meanwhile)
        try:
            return [sample["reward"][0] for sample in await asyncio.gather(*calls)]
        finally:
            await agent.client.close()

    rewards = asyncio.run(run())
    assert all(engine.prompts == [PROMPT] for engine in engines)  # generated once, however often asked for
    return rewards


def test_a_service_that_is_killed_and_started_again_loses_nothing(
    agent: MakeAgent, service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "rbr.client")
    process = Process(tmp_path, RBR_EMPTY_COMPLETION="grade")
    mortal = process.start()

    def restart() -> None:
        process.kill()
        process.start()

    made = agent(mortal.url)
    made.client = Client(made.client.addresses, Patience(longest=1.0))  # so that the test need not wait long
    try:
        rewards = rollout(made, 200, restart)
    finally:
        process.stop()
    said = [record.message for record in caplog.records if record.name == "rbr.client"]
    assert said[0].endswith("; trying on")  # so some were in flight
    assert said[-1].endswith(" answers again")
    assert rewards == rollout(agent(service.url), 200)


@pytest.mark.parametrize(
    ("label", "status", "told"),
    [("comply", 0, ""), ("no_such_type", 1, "rbr_trainer.errors.Refused: ")],
    ids=["rewarded", "refused"],
)
def test_the_drivers_last_line_is_why_the_run_ended(
    service: Service, label: str, status: int, told: str
) -> None:
    """Rollout worker, trainer and driver as processes of a real Ray cluster."""
    environment = {"RBR_REWARD_URL": service.url, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    driver = subprocess.run(
        [sys.executable, "-m", DRIVER, label],
        env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert driver.returncode == status, driver.stderr
    assert driver.stderr.splitlines()[-1].startswith(told)
    assert ("'no_such_type' is neither a response type nor a category" in driver.stderr) is bool(status)
