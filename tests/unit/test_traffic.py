"""Open-loop load against a server that waits, fails and breaks off: every request is accounted for."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from rbr_service.bench import traffic
from rbr_service.bench.outcome import DEADLINE_MISSED, SCORED, Answer, Outcome
from rbr_service.bench.target import Target
from rbr_service.errors import RBRError, SettingsError

from .reward_servers import run
from .score_server import BROKEN, SOUND, ScoreServer

BODY = b'{"query": ["q"], "prompts": [""], "labels": [""]}'


async def ask(url: str, due: Sequence[float], deadline: float = 60.0) -> list[Outcome]:
    async with Target(url, None) as target:
        return await traffic.run(target, due, [BODY] * len(due), deadline, lambda done, total: None)


def faults(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(one.answer.fault for one in outcomes)


def test_no_request_waits_for_the_answer_to_another() -> None:
    async def scenario() -> None:
        server = ScoreServer()
        server.hold = asyncio.Event()
        async with server.served() as url:
            asking = asyncio.create_task(ask(url, [n / 1000 for n in range(300)]))
            await server.calls(300)
            server.hold.set()
            outcomes = await asking
        assert faults(outcomes) == {SCORED: 300}
        assert server.most_at_once == 300
        assert len(server.connections) == 300
        assert min(one.ended for one in outcomes) > max(one.sent for one in outcomes)
        assert all(one.sent >= one.due for one in outcomes)

    run(scenario())


def test_latency_counts_from_when_a_sample_was_due() -> None:
    late = Outcome(Answer(SCORED), due=1.0, sent=4.0, ended=5.5)
    assert (late.latency, late.late) == (4.5, 3.0)


def test_what_befalls_a_request_is_counted_by_its_code() -> None:
    script: list[tuple[int, Any] | str] = [
        *[(503, {"error": {"code": "grader_timeout", "message": "m"}})] * 3,
        *[(422, {"error": {"code": "unknown_response_type", "message": "m"}})] * 2,
        *[(502, "<html>")] * 4,
        *[(307, "")] * 2,
        (200, '{"rewards": [NaN], "reward_version": "v1"}'),
        (200, SOUND | {"rewards": [1.0, 2.0]}),
        (200, SOUND | {"rewards": ["1.0"]}),
        (200, {"rewards": [1.0]}),
        (200, "true"),
        *[BROKEN] * 6,
    ]

    async def scenario() -> None:
        server = ScoreServer()
        server.script = list(script)
        async with server.served() as url:
            outcomes = await ask(url, [0.0] * 50)
        assert faults(outcomes) == {
            "grader_timeout": 3, "unknown_response_type": 2, "http_502": 4, "http_307": 2,
            "unsound_answer": 5, "connection_broken": 6, SCORED: 28,
        }  # fmt: skip
        assert {one.answer.version for one in outcomes if not one.answer.fault} == {"v1"}
        assert len(server.bodies) == 50  # nothing is asked twice

    run(scenario())


def test_what_is_not_answered_by_the_deadline_is_given_up() -> None:
    async def scenario() -> None:
        server = ScoreServer()
        server.hold = asyncio.Event()
        async with server.served() as url:
            assert faults(await ask(url, [0.0] * 20, deadline=0.5)) == {DEADLINE_MISSED: 20}
            while server.at_once:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert server.dropped == len(server.bodies)  # each connection was closed

    run(scenario())


def test_a_closed_port_refuses() -> None:
    async def scenario() -> None:
        async with ScoreServer().served() as url:
            pass
        assert faults(await ask(url, [0.0] * 10)) == {"connection_refused": 10}

    run(scenario())


def test_the_key_goes_to_the_service_and_to_no_engine() -> None:
    async def scenario() -> None:
        server = ScoreServer()
        server.key = "the service's key"
        async with server.served() as url, Target(url, server.key) as target:
            assert (await target.service()).response_types == {"comply"}
            assert await target.score(BODY, 30) == Answer(SCORED, "v1")
            with pytest.raises(RBRError, match="answered 401"):
                await target.page(f"{url}/metrics")
            async with Target(url, None) as stranger:
                with pytest.raises(RBRError, match="RBR_API_KEY"):
                    await stranger.service()

    run(scenario())


def test_what_is_no_reward_service_is_refused() -> None:
    async def scenario() -> None:
        server = ScoreServer()
        server.strange = "/v1/policy"
        async with server.served() as url, Target(url, None) as target:
            with pytest.raises(RBRError, match="does not answer as a reward service"):
                await target.service()
        async with Target(url, None) as target:
            with pytest.raises(RBRError, match="nothing answers at"):
                await target.service()

    run(scenario())


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://host", "http://", "http://a b", "http://u:key@host"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="URL: ") as refusal:
        Target(url, None)
    assert "key@" not in refusal.value.message


def test_a_key_that_no_header_can_hold_is_refused() -> None:
    with pytest.raises(SettingsError, match="RBR_API_KEY"):
        Target("http://host", "key\n")


@pytest.mark.parametrize("path", ["", "/", "/score", "/get_reward", "/score/"])
def test_the_url_that_a_trainer_is_given_will_do(path: str) -> None:
    assert Target(f"http://host:8000/deep{path}", None).url == "http://host:8000/deep"
