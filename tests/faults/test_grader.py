"""The grader's server is not there, goes, comes back, or stalls."""

from tests.e2e.commands import rbr
from tests.e2e.processes import until

from .judge import START
from .rollout import answers, body
from .scene import QUESTIONS, Scene, fault, graded, in_flight, post

AT_ONCE = 32


def test_a_grader_that_is_not_there_at_the_start(scene: Scene, lost: str) -> None:
    scene.judge.kill()
    finished = rbr("serve", "--port", "0", *scene.options, "--grader-start", "0.1")
    assert finished.returncode == 1
    assert scene.judge.url in finished.stderr.splitlines()[-1]
    assert "Listening" not in finished.stderr
    assert "Traceback" not in finished.stderr
    assert lost == "nothing"


def test_a_grader_that_dies_and_comes_back(scene: Scene, lost: str) -> None:
    samples = 400
    with scene.service() as running:
        rollout = scene.rollout(running, range(samples), AT_ONCE)
        until(lambda: len(rollout.rewards) >= samples // 4, START)
        scene.judge.kill()
        until(lambda: in_flight(running) == AT_ONCE and fault(running), START)
        scene.judge.start()
        rollout.join()
        until(lambda: not fault(running), START)
    assert rollout.rewards == scene.rewards(range(samples)), answers(rollout)
    assert not rollout.faults  # nobody had to ask twice
    assert lost == f"{len(rollout.lost)} of {samples} samples"


def test_a_grader_that_stays_away(scene: Scene, lost: str) -> None:
    samples = 20
    with scene.service("--grader-deadline", "1") as running:
        scene.judge.kill()
        rollout = scene.rollout(running, range(samples), samples)
        rollout.join()
        assert not rollout.rewards
        assert rollout.faults == {"503": 5 * samples}
        status, answer = post(running, "/score", body([0]))
        assert (status, answer["error"]["code"]) == (503, "grader_timeout")
        assert scene.judge.url in fault(running)
        scene.judge.start()
        until(lambda: not fault(running), START)
        until(lambda: post(running, "/score", body([0]))[0] == 200, START)
    assert lost == f"{len(rollout.lost)} of {samples} samples, which ends the run; no number in their place"


def test_a_grader_that_is_too_slow(scene: Scene, lost: str) -> None:
    samples = 50
    with scene.service("--grader-deadline", "2") as running:
        warm = graded(running)
        scene.judge.freeze()
        rollout = scene.rollout(running, range(samples), samples)
        until(lambda: rollout.faults.total() >= samples, START)
        scene.judge.thaw()
        rollout.join()
        assert graded(running) - warm == QUESTIONS * samples  # a retry finds the work
    assert rollout.rewards == scene.rewards(range(samples)), answers(rollout)
    assert rollout.faults.keys() == {"503"}
    assert lost == f"{len(rollout.lost)} of {samples} samples"
