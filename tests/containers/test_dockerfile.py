"""The Dockerfile's three targets, also those that no machine without CUDA can build."""

import re
import shutil
from pathlib import Path

import pytest

from tests.containers.engine import BIN, ROOT, run

FOLDERS = {"service", "rules", "trainer"}
# As in `make lock`: what each lock is made of.
LOCKS = {
    "service-gpu.txt": ["--extra", "vllm", "--extra", "redis", "--python-version", "3.11"],
    "trainer.txt": ["--extra", "trainer", "--python-version", "3.12"],
}


def stages() -> dict[str, str]:
    """Each stage's instructions by its name."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    parts = re.split(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)[1:]
    return {name: f"FROM {base}\n{body}" for base, name, body in zip(*[iter(parts)] * 3, strict=True)}


def copied(target: str) -> set[str]:
    """The project's folders that a target holds, through whatever stages they come."""
    text = stages()[target]
    own = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()
    }
    sources = set(re.findall(r"(?:FROM |from=)([\w-]+)", text)) & stages().keys()
    return (own & FOLDERS).union(*(copied(source) for source in sources))


@pytest.mark.parametrize(
    ("target", "folders"),
    [("service", {"service", "rules"}), ("service-gpu", {"service", "rules"}), ("trainer", {"trainer"})],
)
def test_a_target_holds_no_others_folder(target: str, folders: set[str]) -> None:
    assert copied(target) == folders


@pytest.mark.parametrize("target", ["service", "service-gpu", "trainer"])
def test_the_code_comes_last_and_root_stays_behind(target: str) -> None:
    *_, code, _ = re.findall(r"^(?:RUN|COPY) .*|^USER .*", stages()[target], re.MULTILINE)
    assert "-wheel,source=/wheels" in code
    assert re.findall(r"^USER (.*)$", stages()[target], re.MULTILINE) == ["10001:10001"]


def test_a_build_without_a_target_makes_the_service() -> None:
    assert list(stages())[-1] == "service"


def test_hadolint_has_nothing_to_say() -> None:
    for name in ("Dockerfile", "tests/containers/prometheus.Dockerfile"):
        assert run([str(BIN / "hadolint"), str(ROOT / name)]) == ""


@pytest.mark.parametrize("lock", LOCKS)
def test_pins_of_the_gpu_targets_resolve_and_meet_what_pyproject_asks_for(lock: str, tmp_path: Path) -> None:
    pinned, again = ROOT / "deploy" / "locks" / lock, tmp_path / lock
    shutil.copy(pinned, again)
    how = [
        *LOCKS[lock],
        "--python-platform",
        "linux",
        "--no-annotate",
        "--custom-compile-command",
        "make lock",
    ]
    run([str(BIN / "uv"), "pip", "compile", str(ROOT / "pyproject.toml"), "-q", *how, "-o", str(again)])
    assert again.read_text() == pinned.read_text()
