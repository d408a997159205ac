"""The preflight against real services: what stands against a run is found, and told with what to do."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rbr_service.errors import RequestError
from rbr_service.graders.base import Grade, GradeRequest
from rbr_service.graders.fixed import FixedGrader
from rbr_trainer.address import Address
from rbr_trainer.preflight import Finding, Plan, examine, table
from rbr_trainer.service import Range
from tests.conftest import MakeState
from tests.trainer.replica import free_port
from tests.trainer.serving import service

WIDE = Range(-10.0, 10.0)
CHECKS = [
    "service", "reward version", "first sample", "latency", "response types", "dataset", "chat template",
    "reasoning", "low label mass", "empty completion", "clip range",
]  # fmt: skip


def plan(*netlocs: str, key: str | None = None, **given: Any) -> Plan:
    addresses = tuple(Address(f"http://{netloc}", key) for netloc in netlocs)
    return Plan(**{"addresses": addresses, "clip": WIDE, "concurrency": 4, **given})


def found(planned: Plan) -> dict[str, Finding]:
    findings = asyncio.run(examine(planned))
    assert [finding.name for finding in findings] == CHECKS
    return {finding.name: finding for finding in findings}


def failed(findings: dict[str, Finding]) -> list[str]:
    return [name for name, finding in findings.items() if finding.made and not finding.passed]


def test_a_service_for_training_passes(make_state: MakeState) -> None:
    with service(make_state(empty_completion="grade")) as netloc:
        findings = found(plan(netloc))
    assert all(finding.passed for finding in findings.values())
    assert [name for name, finding in findings.items() if not finding.made] == [
        "dataset", "chat template", "reasoning",
    ]  # fmt: skip
    for kind in ("hard_refusal", "soft_refusal_1", "soft_refusal_2", "comply"):
        assert kind in findings["response types"].detail
    assert "rbr_label_mass_min" in findings["response types"].detail


def test_what_could_not_be_looked_at_does_not_pass() -> None:
    findings = found(plan(f"127.0.0.1:{free_port()}"))
    assert failed(findings) == ["service"]
    assert not any(finding.passed for finding in findings.values())
    assert "nothing answers" in findings["service"].remedy
    assert findings["clip range"].detail == "not made: no service answers"
    assert findings["clip range"].fault == ""


def test_a_service_that_is_not_ready_still_tells_its_ranges(make_state: MakeState) -> None:
    state = make_state()
    with service(state) as netloc:
        state.stopping = True
        findings = found(plan(netloc))
    assert failed(findings) == ["service"]
    assert findings["clip range"].passed
    assert findings["latency"].detail == "not made: the service is not ready"


def test_one_of_two_replicas_is_down(make_state: MakeState) -> None:
    down = f"127.0.0.1:{free_port()}"
    with service(make_state()) as netloc:
        findings = found(plan(netloc, down))
    assert failed(findings) == ["service"]
    assert down in findings["service"].remedy
    assert netloc not in findings["service"].remedy


def test_replicas_of_two_versions(make_state: MakeState) -> None:
    fixed = make_state(FixedGrader(), empty_completion="grade")
    with service(make_state(empty_completion="grade")) as one, service(fixed) as other:
        findings = found(plan(one, other))
    assert failed(findings) == ["reward version"]
    assert "mix rewards" in findings["reward version"].remedy
    assert fixed.scorer.reward_version in findings["reward version"].detail


def test_equal_replicas(make_state: MakeState) -> None:
    with (
        service(make_state(empty_completion="grade")) as one,
        service(make_state(empty_completion="grade")) as other,
    ):
        findings = found(plan(one, other))
    assert failed(findings) == []
    assert findings["first sample"].detail.count("reward ") == 2


def test_the_wanted_reward_version(make_state: MakeState) -> None:
    state = make_state()
    version = state.scorer.reward_version
    with service(state) as netloc:
        for wanted in (version, version[:12]):
            assert found(plan(netloc, reward_version=wanted))["reward version"].passed
        for wanted in ("0" * 64, version[:11], version + "0"):
            finding = found(plan(netloc, reward_version=wanted))["reward version"]
            assert not finding.passed
            assert wanted in finding.remedy


@pytest.mark.parametrize("client", ["plain", "agent"])
def test_the_key_is_tried_as_it_will_be_sent(make_state: MakeState, client: str) -> None:
    """OpenRLHF's client sends a key from its URL, where letters beyond Latin-1 have no place."""
    for key, goes in (("a:key/with@marks", True), ("ключ-ключ", client == "agent")):
        with service(make_state(api_key=key)) as netloc:
            finding = found(plan(netloc, key=key, client=client))["first sample"]
        assert finding.passed is goes, finding
        assert key not in finding.detail + finding.remedy
        assert goes or "ASCII" in finding.remedy


class Held(FixedGrader):
    """Answers so many calls, and then nobody."""

    def __init__(self, answered: int) -> None:
        super().__init__()
        self.answered = answered

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        verdicts = await super().grade(requests)
        if self.calls > self.answered:
            await asyncio.Event().wait()
        return verdicts


@pytest.mark.parametrize("client", ["plain", "agent"])
@pytest.mark.parametrize("answered", [0, 3])
def test_a_service_too_slow(make_state: MakeState, answered: int, client: str) -> None:
    with service(make_state(Held(answered))) as netloc:
        findings = found(plan(netloc, answer_limit=1.0, client=client))
    assert failed(findings)[-1] == "latency"
    assert "0.8 s" in findings["latency"].detail
    assert "add replicas" in findings["latency"].remedy
    later = CHECKS[CHECKS.index("latency") + 1 : -1]
    assert not any(findings[name].made or findings[name].passed for name in later)


def test_a_service_that_refuses_under_load(make_state: MakeState) -> None:
    def refusing(request: GradeRequest) -> RequestError | None:
        return RequestError("not this one") if grader.calls == 3 else None

    grader = FixedGrader(refusing=refusing)
    with service(make_state(grader, empty_completion="grade")) as netloc:
        findings = found(plan(netloc))
    assert failed(findings) == ["latency"]
    assert "1 of 4 samples sent at once had no reward" in findings["latency"].detail
    assert "not this one" in findings["latency"].remedy


def test_more_at_once_than_is_sent_is_extrapolated(make_state: MakeState) -> None:
    with service(make_state()) as netloc:
        finding = found(plan(netloc, concurrency=10**9))["latency"]
    assert "512 at once" in finding.detail
    assert "extrapolated to 1000000000 at once" in finding.detail
    assert not finding.passed  # unless a thousandth of a millisecond is enough for an answer
    assert "1000000000 samples" in finding.remedy


@pytest.mark.parametrize(("client", "end"), [("plain", "five times"), ("agent", "at once")])
def test_low_label_mass_ends_a_run_unless_bounded(make_state: MakeState, client: str, end: str) -> None:
    for action in ("error", "lower_bound"):
        state = make_state(FixedGrader(), on_low_mass=action)
        state.scorer.grader.name = "llm"  # type: ignore[misc] # the lexical grader always answers
        with service(state) as netloc:
            finding = found(plan(netloc, client=client))["low label mass"]
        assert finding.passed is (action == "lower_bound")
        assert finding.passed or ("--on-low-mass lower_bound" in finding.remedy and end in finding.remedy)


def test_an_empty_completion_ends_a_run_unless_graded(make_state: MakeState) -> None:
    with service(make_state()) as one, service(make_state(empty_completion="grade")) as other:
        finding = found(plan(one, other))["empty completion"]
    assert not finding.passed
    assert f"{one}: refused" in finding.detail
    assert f"{other}: reward" in finding.detail
    assert "--empty-completion grade" in finding.remedy


def test_a_policy_model_that_is_none(make_state: MakeState, tmp_path: Path) -> None:
    with service(make_state()) as netloc:
        findings = found(plan(netloc, model=str(tmp_path)))
    assert not findings["chat template"].passed
    assert not findings["reasoning"].passed
    assert "transformers" in findings["chat template"].remedy


def test_the_table() -> None:
    findings = [
        Finding("one", True, "first\nsecond"),
        Finding("the other", False, "bad"),
        Finding("third", False, "", made=False),
    ]
    assert table(findings) == [
        "check      result  detail",
        "one        ok      first",
        "                   second",
        "the other  FAIL    bad",
        "third      -",
    ]
