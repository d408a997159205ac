"""Two replicas behind one address, under a rollout's load: one is killed, then all are updated."""

import json
import os
import signal
import time
from collections.abc import Callable
from itertools import count, takewhile
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from rbr_service.build import make_scorer, rules_folder
from rbr_service.metrics import Metrics
from rbr_service.scorer import Scorer
from rbr_service.settings import Settings
from tests.contract.openrlhf import OpenRLHF

from .conftest import NAME
from .rollout import IN_FLIGHT, Rollout, rewards

PATIENCE = 600.0  # seconds; reached only by what hangs
SAMPLES = 2000


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def replicas() -> set[int]:
    """The process ids of the running replicas, which Ray names in their command line."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:  # ended meanwhile
                continue
            if command.startswith(f"ray::ServeReplica:{NAME}:".encode()):
                found.add(int(entry.name))
    return found


def scorer(settings: Settings) -> Scorer:
    return make_scorer(settings, Metrics())


@pytest.fixture
def edited(tmp_path: Path) -> Settings:
    """The shipped policy, edited, with weights of twice the size."""
    for name in ("safety.yaml", "safety.lexical.yaml", "safety.lexical.json"):
        (tmp_path / name).write_bytes((rules_folder() / name).read_bytes())
    policy, weights = tmp_path / "safety.yaml", tmp_path / "safety.lexical.json"
    policy.write_text(policy.read_text().replace("unlabelled: out_of_scope", "unlabelled: error"))
    content = json.loads(weights.read_text())
    for bound in content["response_types"].values():
        bound["weights"] = {feature: 2 * weight for feature, weight in bound["weights"].items()}
    weights.write_text(json.dumps(content))
    return Settings(policy=str(policy))


def test_no_sample_is_lost_with_a_replica(
    cluster: str, trainer: OpenRLHF, deploy: Callable[..., None]
) -> None:
    deploy()
    first, second = replicas()
    rollout = Rollout(trainer, cluster, 1, range(SAMPLES))
    until(lambda: len(rollout.answers) >= IN_FLIGHT)
    os.kill(first, signal.SIGKILL)
    at_kill = len(rollout.answers)
    rollout.join()
    assert at_kill <= SAMPLES - IN_FLIGHT  # all connections were busy
    assert rollout.lost == []
    expected = rewards(Settings(), scorer(Settings()), range(SAMPLES), 1)
    assert {number: answer["rewards"] for number, answer in rollout.answers.items()} == expected
    until(lambda: len(replicas()) == 2)
    assert first not in replicas()
    assert second in replicas()


def test_a_rolling_update_loses_nothing_and_mixes_nothing(
    cluster: str, trainer: OpenRLHF, deploy: Callable[..., None], edited: Settings, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"policy": edited.policy}))
    deploy()
    old, stop = replicas(), Event()
    rollout = Rollout(trainer, cluster, 4, takewhile(lambda _: not stop.is_set(), count()))
    try:
        until(lambda: len(rollout.answers) >= IN_FLIGHT)
        deploy(config=str(config))
        until(lambda: not replicas() & old)
        asked = len(rollout.answers) + IN_FLIGHT
        until(lambda: len(rollout.answers) >= asked + IN_FLIGHT)
    finally:
        stop.set()
        rollout.join()
    assert rollout.lost == []
    expected: dict[str, Any] = {}
    for settings in (Settings(), edited):
        judge = scorer(settings)
        expected[judge.reward_version] = rewards(settings, judge, sorted(rollout.answers), 4)
    before, after = expected
    versions = {number: answer["reward_version"] for number, answer in rollout.answers.items()}
    assert set(versions.values()) == {before, after}
    assert all(versions[number] == after for number in versions if number >= asked)
    for number, answer in rollout.answers.items():
        assert answer["rewards"] == expected[versions[number]][number]
        assert answer["rewards"] != expected[before if versions[number] == after else after][number]
