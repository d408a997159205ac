"""A service that dies in mid-run: with the agent the run waits and loses nothing, without it the run ends."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .environment import environment
from .grammar import split
from .servers import Server, service
from .training import ROLLOUT, Run, command, draw, train

STEPS = 4
AWAY = 60.0  # seconds that the service is down
PATIENCE = 300.0  # seconds until a run is given up that never begins


def trained(folder: Path, policy: Path, client: str, then: Callable[[Server], None]) -> Run:
    """A run in whose second step the service is killed with -9; `then` is done after that."""
    with service(folder) as running:
        asked = command(
            folder / "run",
            policy,
            running.url,
            draw(split().train, STEPS, 1),
            seed=1,
            client=client,
            check=False,
        )
        killer = threading.Thread(target=_kill, args=(folder / "run/log", running, then))
        killer.start()
        run = train(asked, folder / "run", environment())
        killer.join()
        return run


def _kill(log: Path, running: Server, then: Callable[[Server], None]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if log.exists() and "Global step 1:" in log.read_text(errors="replace"):
            running.kill()
            then(running)
            return
        time.sleep(0.05)


def _back(running: Server) -> None:
    time.sleep(AWAY)
    running.start()


def test_with_the_agent_nothing_is_lost(tmp_path: Path, policy: Path) -> None:
    run = trained(tmp_path, policy, "agent", _back)
    assert run.code == 0, run.log[-5000:]
    assert "trying on" in run.log
    assert "answers again" in run.log
    assert [step["rollout/num_samples"] for step in run.steps] == [ROLLOUT] * STEPS


def test_with_the_plain_url_the_run_dies(tmp_path: Path, policy: Path) -> None:
    run = trained(tmp_path, policy, "plain", lambda _: None)
    assert run.code != 0
    assert len(run.steps) < STEPS
    assert re.search("Request error for 5 times", run.log)
