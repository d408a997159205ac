"""The service ends in the middle of a rollout and is started again on its port, as a supervisor does."""

from collections.abc import Callable
from pathlib import Path

from tests.e2e.processes import Service, until

from .judge import START
from .rollout import Rollout, answers
from .scene import QUESTIONS, Scene, graded, in_flight

SAMPLES = 1000
AT_ONCE = 64
BEFORE = 300  # answers until the harm is done


def stopped(scene: Scene, cache: Path, stop: Callable[[Service], None]) -> tuple[Rollout, int, float]:
    """A rollout through a stop with as much in flight as there can be.

    Also the samples answered before the stop, and the verdicts graded after it.
    """
    options = ("--cache", f"sqlite:{cache}")
    with scene.service(*options) as running:
        rollout = scene.rollout(running, range(SAMPLES), AT_ONCE)
        until(lambda: len(rollout.rewards) >= BEFORE, START)
        scene.judge.freeze()
        until(lambda: in_flight(running) == AT_ONCE, START)
        before = len(rollout.rewards)
        stop(running)
    with scene.service(*options, "--port", str(running.port)) as again:
        rollout.join()
        return rollout, before, graded(again) - QUESTIONS  # the warm-up's


def test_sigterm_under_load(scene: Scene, tmp_path: Path, lost: str) -> None:
    def stop(running: Service) -> None:
        running.terminate()
        scene.judge.thaw()
        assert running.exit_code() == 0
        assert "Traceback" not in running.log

    rollout, before, _ = stopped(scene, tmp_path / "verdicts.db", stop)
    assert rollout.rewards == scene.rewards(range(SAMPLES)), answers(rollout)
    assert before < SAMPLES
    assert rollout.faults.keys() == {"refused"}  # what was taken was answered
    assert lost == f"{len(rollout.lost)} of {SAMPLES:,} samples"


def test_sigkill_and_a_new_start(scene: Scene, tmp_path: Path, lost: str) -> None:
    def stop(running: Service) -> None:
        running.kill()
        scene.judge.thaw()

    rollout, before, graded_again = stopped(scene, tmp_path / "verdicts.db", stop)
    assert rollout.rewards == scene.rewards(range(SAMPLES)), answers(rollout)
    assert rollout.faults["cut"] == AT_ONCE
    assert rollout.faults.keys() <= {"cut", "refused"}
    assert graded_again <= QUESTIONS * (SAMPLES - before)  # what was answered is known
    assert lost == f"{len(rollout.lost)} of {SAMPLES:,} samples"
