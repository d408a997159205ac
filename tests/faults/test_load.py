"""Much at once, and much in all."""

import re
from pathlib import Path
from typing import Any

from tests.e2e.processes import Service, until

from .judge import START
from .rollout import PROMPT, answers, reply
from .scene import QUESTIONS, Scene, figure, graded, in_flight, post

AT_ONCE = 4096
SCORES, WARM = 100_000, 50_000  # memory rises for some 50,000 scores and is flat from there on
BATCH = 500  # samples in a request
KEPT = 20_000  # verdicts in memory
GROWTH = 4.0  # MiB: 84 bytes a score


def test_4096_in_flight(scene: Scene, lost: str) -> None:
    with scene.service("--grader-deadline", "3600") as running:
        scene.judge.freeze()
        rollout = scene.rollout(running, range(AT_ONCE), AT_ONCE)
        until(lambda: in_flight(running) == AT_ONCE, START)
        scene.judge.thaw()
        rollout.join()
    assert rollout.rewards == scene.rewards(range(AT_ONCE)), answers(rollout)
    assert not rollout.faults
    assert lost == f"{len(rollout.lost)} of {AT_ONCE:,} samples"


def test_100000_scores(scene: Scene, lost: str) -> None:
    with scene.service("--cache-entries", str(KEPT)) as running:
        memory = {}
        for begin in range(0, SCORES, BATCH):
            score(running, range(begin, begin + BATCH))
            memory[begin + BATCH] = resident(running)
        assert graded(running) == QUESTIONS * (SCORES + 1)  # and the warm-up's: none was known
        assert figure(running, "rbr_cached_verdicts_total") == 0
    growth = memory[SCORES] - memory[WARM]
    assert growth < GROWTH, memory
    assert lost == f"nothing; memory grows by less than {GROWTH:g} MiB from {WARM:,} scores to {SCORES:,}"


def score(running: Service, numbers: range) -> None:
    """Have these samples scored in one request."""
    samples: list[Any] = [
        {"id": number, "response_type": "chat", "messages": [
            {"role": "user", "content": PROMPT}, {"role": "assistant", "content": reply(number)}]}
        for number in numbers
    ]  # fmt: skip
    status, answer = post(running, "/v1/score", {"samples": samples})
    assert status == 200, answer
    assert [result["id"] for result in answer["results"]] == list(numbers)


def resident(running: Service) -> float:
    """Memory that the service's process holds, in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{running.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024
