"""docker-compose.yml: valid in every profile, hardened in every service, and clear about what it lacks."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.engine import ROOT, Engine

PROFILES = {"gpu": {"grader", "reward-model"}, "train": {"trainer"}, "cache": {"redis"}}
DEFAULT = {"service", "prometheus", "grafana"}
Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def services() -> Services:
    found: Services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return found


@pytest.mark.parametrize("profile", [None, *PROFILES])
def test_every_profile_is_valid_with_no_variable_set(engine: Engine, profile: str | None) -> None:
    chosen = ["--profile", profile] if profile else []
    shown = yaml.safe_load(engine.compose(*chosen, "config"))
    assert set(shown["services"]) == DEFAULT | PROFILES.get(profile or "", set())


def test_nothing_is_published_beyond_loopback(services: Services) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_service_has_rights_or_can_gain_any(services: Services) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) == (name in {*DEFAULT, "redis"}), name


def test_servers_are_limited_watched_and_restarted(services: Services) -> None:
    for name in services.keys() - {"trainer"}:
        assert services[name]["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert services[name]["restart"] == "unless-stopped", name
        assert name == "service" or "healthcheck" in services[name], name  # the service's is in its image
    assert services["trainer"]["restart"] == "no"


def test_what_grades_may_finish_a_grade(services: Services) -> None:
    assert {services[name]["stop_grace_period"] for name in ("service", "grader", "reward-model")} == {"190s"}
    assert int(services["service"]["environment"]["RBR_SHUTDOWN_GRACE"]) > 170


def test_images_are_of_one_version(services: Services) -> None:
    for name, service in services.items():
        assert re.search(r":(v?\d+\.\d+[\w.-]*|local)$", service["image"]), name


@pytest.mark.parametrize(
    ("service", "settings", "demanded"),
    [
        ("redis", {}, "REDISCLI_AUTH: set RBR_REDIS_PASSWORD in .env"),
        ("grader", {}, "RBR_GRADER_MODEL: set it in .env"),
        ("grader", {"RBR_GRADER_MODEL": "m"}, "RBR_GRADER_REVISION: set it in .env"),
        ("reward-model", {}, "RBR_BASE_REWARD_MODEL: set it in .env"),
    ],
)
def test_a_profile_says_what_it_lacks(
    services: Services, tmp_path: Path, service: str, settings: dict[str, str], demanded: str
) -> None:
    done = started(services[service], tmp_path, settings)
    assert done.returncode == 2
    assert demanded in done.stderr


@pytest.mark.parametrize(
    ("service", "settings", "words"),
    [
        ("redis", {"REDISCLI_AUTH": "a b"}, ["redis-server", "--requirepass", "a b"]),
        ("grader", {"RBR_GRADER_MODEL": "m", "RBR_GRADER_REVISION": "r"}, ["vllm", "serve", "m", "r"]),
        ("reward-model", {"RBR_BASE_REWARD_MODEL": "m"}, ["vllm", "serve", "m", "--runner", "pooling"]),
    ],
)  # fmt: skip
def test_a_profile_with_its_settings_starts_its_server(
    services: Services, tmp_path: Path, service: str, settings: dict[str, str], words: list[str]
) -> None:
    ran = started(services[service], tmp_path, settings).stdout.splitlines()
    assert set(words) <= set(ran)
    assert ran[0] == words[0]


def started(
    service: dict[str, Any], folder: Path, settings: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """The container's command in a shell, with servers that print the words they were started with."""
    for name in ("vllm", "redis-server"):
        (folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
        (folder / name).chmod(0o755)
    [line] = service["command"]
    assert service["entrypoint"] == ["/bin/sh", "-c"]
    command = [*service["entrypoint"], line.replace("$$", "$")]
    return subprocess.run(command, env={"PATH": str(folder), **settings}, capture_output=True, text=True)
