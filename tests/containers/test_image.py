"""The service's image: what is in it and as whom it runs."""

import json

import pytest

from tests.containers.engine import Engine

INSIDE = """
import importlib.metadata as m, importlib.util as u, json, os
groups = ("console_scripts", "vllm.general_plugins")
ours = [p for group in groups for p in m.entry_points(group=group) if p.dist.name == "rule-based-rewards"]
print(json.dumps({
    "packages": [name for name in ("rbr_service", "rbr_rules", "rbr_trainer") if u.find_spec(name)],
    "commands": [p.name for p in ours if p.group == "console_scripts"],
    "missing": [p.value for p in ours if not u.find_spec(p.module)],
    "uid": os.getuid(), "gid": os.getgid(),
    "of_trainers": [name for name in ("torch", "ray", "openrlhf", "pytest") if u.find_spec(name)],
}))
"""


@pytest.fixture(scope="module")
def inside(engine: Engine, image: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        engine("run", "--rm", "--entrypoint", "python", image, "-c", INSIDE)
    )
    return found


def test_holds_service_and_rules_and_nothing_of_the_trainer(inside: dict[str, object]) -> None:
    assert inside["packages"] == ["rbr_service", "rbr_rules"]
    assert inside["commands"] == ["rbr"]
    assert inside["missing"] == []
    assert inside["of_trainers"] == []


def test_no_file_is_named_after_the_trainer(engine: Engine, image: str) -> None:
    find = "find / -xdev -path /proc -prune -o -name '*rbr[_-]train*' -print 2>/dev/null || true"
    assert engine("run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", find) == ""


def test_runs_as_a_user_without_rights(engine: Engine, image: str, inside: dict[str, object]) -> None:
    assert engine.inspect(image)["Config"]["User"] == "10001:10001"
    assert (inside["uid"], inside["gid"]) == (10001, 10001)


def test_says_what_it_is_and_how_it_is(engine: Engine, image: str) -> None:
    known = engine.inspect(image)
    assert known["Config"]["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    check = known.get("Healthcheck") or known["Config"]["Healthcheck"]  # podman's place, docker's place
    assert "/healthz" in check["Test"][-1]


def test_any_command_of_rbr_runs_in_it(engine: Engine, image: str) -> None:
    hardened = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none"]
    assert "safety" in engine("run", "--rm", *hardened, image, "policy", "check", "safety")
