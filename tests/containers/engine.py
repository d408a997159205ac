"""docker or podman, by the commands a person types: arguments go in, what was printed comes out."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
PATIENCE = 300.0  # seconds; reached only by what hangs
BUILD_PATIENCE = 3600.0


@dataclass(frozen=True)
class Engine:
    """`name`: docker or podman."""

    name: str

    def __call__(self, *arguments: str) -> str:
        """Run a command of the engine's; one that fails fails the test."""
        return run([self.name, *arguments])

    def build(self, target: str, tag: str) -> None:
        """Build a target of the Dockerfile."""
        command = ["docker", "build"] if self.name == "docker" else [str(HERE / "build")]
        run([*command, "--target", target, "-t", tag, str(ROOT)], patience=BUILD_PATIENCE)

    def compose(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        """Run a command of compose's over the project's file."""
        command = ["docker", "compose"] if self.name == "docker" else [str(BIN / "podman-compose")]
        return run([*command, "-f", str(ROOT / "docker-compose.yml"), *arguments], environ)

    def inspect(self, name: str) -> dict[str, Any]:
        """What the engine knows about a container or an image."""
        found: dict[str, Any] = json.loads(self("inspect", name))[0]
        return found

    def healthy(self, container: str) -> bool:
        """Whether the container's health check passes; podman is told to run it, which needs no timer."""
        if self.name == "docker":
            return bool(self.inspect(container)["State"]["Health"]["Status"] == "healthy")
        return not subprocess.run(["podman", "healthcheck", "run", container], capture_output=True).returncode


def run(command: list[str], environ: Mapping[str, str] | None = None, patience: float = PATIENCE) -> str:
    """What a command that succeeds writes to stdout. `environ` replaces the environment."""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=patience)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait for a condition; fail when it does not come within `patience` seconds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)
