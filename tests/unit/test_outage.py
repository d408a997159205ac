"""Outages: told once, and one try in every pause."""

import logging

import pytest

from rbr_service.graders import outage as module
from rbr_service.graders.outage import Outage


class Clock:
    """Stands in for time."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_one_call_in_every_pause_tries_again(clock: Clock) -> None:
    outage = Outage("store", pause=5)
    assert outage.passes()
    assert outage.passes()
    outage.failed("gone")
    assert outage.on
    assert not outage.passes()
    clock.now += 5
    assert [outage.passes() for _ in range(3)] == [True, False, False]
    outage.failed("still gone")
    clock.now += 4.9
    assert not outage.passes()
    clock.now += 0.2
    assert outage.passes()
    outage.worked()
    assert not outage.on
    assert outage.passes()
    assert outage.faults == 2


def test_only_changes_are_logged(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    outage = Outage("store")
    outage.worked()
    for _ in range(3):
        outage.failed("gone")
    for _ in range(3):
        outage.worked()
    assert [record.message for record in caplog.records] == [
        "store fails: gone; verdicts are graded anew meanwhile",
        "store works again",
    ]
