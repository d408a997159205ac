"""What keeps the verdicts fails: it costs time and never a number."""

import resource
import time
from itertools import count
from pathlib import Path

import pytest

from tests.e2e.processes import Service, until
from tests.redis_server import PASSWORD, RedisServer

from .judge import START
from .rollout import answers, body
from .scene import QUESTIONS, Scene, figure, graded, post

AT_ONCE = 16
BEFORE, DURING, AFTER = range(100), range(100, 200), range(200, 300)


def fill_disk(running: Service, *, full: bool) -> None:
    """No file that the process writes can have a byte more, or all can."""
    _, most = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (1 if full else most, most))


def mend(running: Service) -> None:
    """Ask for samples of no rollout until the cache is used again."""
    for number in count(1_000_000):
        post(running, "/score", body([number]))
        if "works again" in running.log:
            return
        time.sleep(0.1)


def test_a_full_disk_under_the_cache(scene: Scene, tmp_path: Path, lost: str) -> None:
    options = ("--cache", f"sqlite:{tmp_path / 'verdicts.db'}")
    rollouts = []
    with scene.service(*options) as running:
        for numbers in (BEFORE, DURING, AFTER):
            if numbers is DURING:
                fill_disk(running, full=True)
            if numbers is AFTER:
                fill_disk(running, full=False)
                mend(running)
            rollouts.append(scene.rollout(running, numbers, AT_ONCE))
            rollouts[-1].join()
        assert figure(running, "rbr_cache_faults") > 0
        assert running.log.count("verdicts.db: writing verdicts fails") == 1
    for numbers, rollout in zip((BEFORE, DURING, AFTER), rollouts, strict=True):
        assert rollout.rewards == scene.rewards(numbers), answers(rollout)
        assert not rollout.faults
    with scene.service(*options) as running:
        costs = []
        for numbers in (BEFORE, DURING, AFTER):
            before = graded(running)
            assert post(running, "/score", body(numbers))[0] == 200
            costs.append(graded(running) - before)
    assert costs == [0, QUESTIONS * len(DURING), 0]
    samples = sum(len(rollout.rewards) + len(rollout.lost) for rollout in rollouts)
    assert lost == f"{sum(len(rollout.lost) for rollout in rollouts)} of {samples} samples"


def test_redis_gone_and_back(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    samples = 400
    monkeypatch.setenv("RBR_REDIS_PASSWORD", PASSWORD)
    with RedisServer(tmp_path) as redis, scene.service("--cache", redis.url) as running:
        rollout = scene.rollout(running, range(samples), AT_ONCE)
        until(lambda: len(rollout.rewards) >= samples // 4, START)
        redis.kill()
        rollout.join()
        until(lambda: figure(running, "rbr_cache_faults") > 0, START)
        redis.start()  # and knows nothing
        mend(running)
        status, _ = post(running, "/score", body(range(samples, samples + 10)))
        assert status == 200
        assert redis.client().dbsize() >= 10 * QUESTIONS
    monkeypatch.delenv("RBR_REDIS_PASSWORD")
    assert rollout.rewards == scene.rewards(range(samples)), answers(rollout)
    assert not rollout.faults
    assert lost == f"{len(rollout.lost)} of {samples} samples"
