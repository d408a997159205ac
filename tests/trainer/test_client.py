"""The client against real servers: what it tries again, what it takes for an answer, and where it ends."""

import asyncio
import logging
import pickle
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_trainer.address import Address
from rbr_trainer.client import ASKING, SERVER_ERRORS, TRAINING, Client, Patience
from rbr_trainer.errors import InputError, Refused, TrainerError, Unavailable, Unsound

from .replica import DROPPED, GOOD, SILENT, VERSION, Replica, Said, Time, failed, free_port


def most(_: float, high: float) -> float:
    """The longest wait there can be."""
    return high


def least(low: float, _: float) -> float:
    return low


def client(time: Time, *addresses: Address, patience: Patience = TRAINING, draw: Any = least) -> Client:
    return Client(addresses, patience, clock=time.clock, sleep=time.sleep, draw=draw)


def asked(*answers: Said, patience: Patience = TRAINING, draw: Any = least) -> tuple[Replica, Time, Any]:
    """One reward asked of one replica: it, the time it took, and what came of it."""

    async def ask() -> tuple[Replica, Time, Any]:
        time = Time()
        async with (
            Replica(*answers) as replica,
            client(time, replica.address, patience=patience, draw=draw) as calls,
        ):
            try:
                outcome: Any = await calls.rewards("ab", "a", "comply")
            except TrainerError as error:
                outcome = error
        return replica, time, outcome

    return asyncio.run(ask())


def test_a_reward() -> None:
    replica, time, reward = asked(GOOD)
    assert (reward.reward, reward.score, reward.version) == (5.5, 0.75, VERSION)
    assert reward.extra_logs == {"rbr_base": 0.5}
    ((request, body),) = replica.requests
    assert (request.method, request.path) == ("POST", "/get_reward")
    assert body == {"query": ["ab"], "prompts": ["a"], "labels": ["comply"]}
    assert time.waits == []


@pytest.mark.parametrize("fault", [DROPPED, *map(failed, (408, 429, 500, 502, 503, 504, 521))], ids=repr)
def test_what_may_pass_is_tried_again(fault: Said) -> None:
    replica, time, reward = asked(fault, fault, GOOD)
    assert reward.reward == 5.5
    assert len(replica.requests) == 3
    assert len(time.waits) == 2


@pytest.mark.parametrize("status", [301, 400, 403, 404, 405, 413, 415, 422])
def test_a_final_answer_ends_it_at_once(status: int) -> None:
    replica, time, error = asked(failed(status, "bad_label"))
    assert isinstance(error, Refused)
    assert (error.status, error.code) == (status, "bad_label")
    assert str(error).endswith(f"/get_reward answered {status} bad_label: what to do")
    assert (len(replica.requests), time.waits) == (1, [])


def test_an_answer_that_is_no_service_s() -> None:
    _, _, error = asked(Said(404, "<h1>Not here</h1>"))
    assert isinstance(error, Refused)
    assert "does not answer as a reward service (status 404)" in str(error)


def test_a_fault_of_this_very_request_is_not_tried_for_ever() -> None:
    replica, _, error = asked(failed(500, "internal_error"))
    assert isinstance(error, Refused)
    assert error.status == 500
    assert "internal_error: what to do" in str(error)
    assert len(replica.requests) == SERVER_ERRORS + 1


def test_the_waits_double_up_to_the_longest() -> None:
    patience = Patience(total=100, first=1, longest=5)
    _, time, error = asked(failed(503), patience=patience, draw=most)
    assert isinstance(error, Unavailable)
    assert time.waits[:4] == [1, 2, 4, 5]
    assert set(time.waits[4:-1]) == {5}
    assert time.now == 100


@settings(deadline=None, max_examples=50)
@given(st.integers(), st.floats(0, 300), st.floats(0.01, 2), st.floats(5, 60))
def test_waits_are_jittered_within_bounds_and_end(
    seed: int, total: float, first: float, longest: float
) -> None:
    time, port = Time(), free_port()
    patience = Patience(total=total, first=first, longest=longest)

    async def ask() -> None:
        async with client(
            time, Address(f"http://127.0.0.1:{port}"), patience=patience, draw=Random(seed).uniform
        ) as calls:
            await calls.get("/readyz")

    with pytest.raises(Unavailable):
        asyncio.run(ask())
    bound = first
    for wait in time.waits:
        assert 0 <= wait <= bound
        bound = min(2 * bound, longest)
    assert time.now == pytest.approx(total)


@pytest.mark.parametrize(
    ("said", "waited"),
    [("7", 7), ("0", 0), ("", 0), ("-3", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("³", 0)],
)
def test_retry_after_is_honoured(said: str, waited: float) -> None:
    _, time, reward = asked(Said(429, {}, {"Retry-After": said.encode().decode("latin-1")}), GOOD)
    assert reward.reward == 5.5
    assert time.waits == [waited]


def test_retry_after_does_not_outlast_the_patience() -> None:
    _, time, reward = asked(failed(503, **{"Retry-After": "5000"}), GOOD)
    assert reward.reward == 5.5
    assert time.waits == [TRAINING.total]


def test_a_dead_replica_costs_no_wait_and_no_reward(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()

    async def ask() -> int:
        dead = Address(f"http://127.0.0.1:{free_port()}")
        async with Replica(GOOD) as live, client(time, dead, live.address) as calls:
            for _ in range(4):
                assert (await calls.rewards("ab", "a", "comply")).reward == 5.5
            return len(live.requests)

    assert asyncio.run(ask()) == 4
    assert time.waits == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]  # once, not for every call


def test_equal_replicas_take_turns() -> None:
    async def ask() -> list[int]:
        async with (
            Replica(GOOD) as one,
            Replica(GOOD) as two,
            client(Time(), one.address, two.address) as calls,
        ):
            for _ in range(6):
                await calls.rewards("ab", "a", "comply")
            return [len(one.requests), len(two.requests)]

    assert asyncio.run(ask()) == [3, 3]


def test_a_service_that_comes_back_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def ask() -> float:
        replica = Replica(GOOD, port=free_port())

        async def restarts(_: float) -> None:
            await replica.__aenter__()

        async with Client([replica.address], sleep=restarts) as calls:
            try:
                return (await calls.rewards("ab", "a", "comply")).reward
            finally:
                await replica.__aexit__()

    assert asyncio.run(ask()) == 5.5
    first, last = (record.message for record in caplog.records if record.name == "rbr.client")
    assert first.endswith("; trying on")
    assert last.endswith(" answers again")


def test_the_end_names_every_address_and_what_was_seen_there() -> None:
    async def ask() -> tuple[Address, Address]:
        async with Replica(failed(503, "grader_dead")) as ill:
            dead = Address(f"http://127.0.0.1:{free_port()}")
            with pytest.raises(Unavailable) as caught:
                async with client(Time(), dead, ill.address, draw=most) as calls:
                    await calls.rewards("ab", "a", "comply")
        message = str(caught.value)
        assert f"nothing answers at {dead.root}: " in message
        assert f"{ill.address.root}/get_reward answered 503 grader_dead: what to do" in message
        assert "given up after 900 s and " in message
        assert set(caught.value.seen) == {dead.root, ill.address.root}
        return dead, ill.address

    asyncio.run(ask())


def test_one_try_at_each_address_for_a_person_who_waits() -> None:
    replica, time, error = asked(failed(503, "grader_failed"), patience=ASKING)
    assert isinstance(error, Unavailable)
    assert (len(replica.requests), time.waits) == (1, [])
    assert str(error).endswith("; start it with `rbr serve`, or mend the URL")


def test_a_silent_replica_is_left_for_the_next() -> None:
    async def ask() -> float:
        async with Replica(SILENT) as silent, Replica(GOOD) as live:
            patience = Patience(answer=0.2)
            async with client(Time(), silent.address, live.address, patience=patience) as calls:
                return (await calls.rewards("ab", "a", "comply")).reward

    assert asyncio.run(ask()) == 5.5


def knows(replica: Replica, key: str | None) -> Client:
    return Client([Address(replica.address.root, key)])


@pytest.mark.parametrize("key", [None, "a key: of/this test", "schlüssel"])
def test_the_key_goes_as_a_bearer_and_nowhere_else(key: str | None) -> None:
    async def ask() -> None:
        async with Replica(GOOD) as elsewhere:
            moved = Said(307, "", {"Location": f"{elsewhere.address.root}/get_reward"})
            async with Replica(GOOD, moved) as replica, knows(replica, key) as calls:
                await calls.rewards("ab", "a", "comply")
                with pytest.raises(Refused, match="status 307"):
                    await calls.rewards("ab", "a", "comply")
        sent = replica.requests[0][0].headers.get("Authorization")
        assert sent == (f"Bearer {key}" if key else None)
        assert elsewhere.requests == []

    asyncio.run(ask())


@pytest.mark.parametrize(("key", "told"), [(None, "none was given"), ("wrong", "refuses the one given")])
def test_a_locked_service_says_what_to_set(key: str | None, told: str) -> None:
    async def ask() -> None:
        async with Replica(failed(401, "unauthorized")) as replica, knows(replica, key) as calls:
            await calls.rewards("ab", "a", "comply")

    with pytest.raises(Refused, match=f"{told}: set RBR_API_KEY") as caught:
        asyncio.run(ask())
    assert caught.value.status == 401
    assert "wrong" not in str(caught.value)


def test_a_proxy_of_the_environment_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert asked(GOOD)[2].reward == 5.5


def test_a_service_that_is_not_ready_answers_and_one_that_fails_does_not() -> None:
    async def ask(said: Said) -> tuple[int, Any]:
        async with Replica(said) as replica, Client([replica.address], ASKING) as calls:
            return await calls.get("/readyz")

    assert asyncio.run(ask(Said(503, {"status": "not_ready"}))) == (503, {"status": "not_ready"})
    with pytest.raises(Unavailable):
        asyncio.run(ask(failed(503, "grader_failed")))


def test_each_event_loop_has_connections_of_its_own() -> None:
    async def ask(calls: Client, replica: Replica) -> float:
        async with replica:
            try:
                return (await calls.rewards("ab", "a", "comply")).reward
            finally:
                await calls.close()

    port = free_port()
    calls = Client([Address(f"http://127.0.0.1:{port}")])
    assert [asyncio.run(ask(calls, Replica(GOOD, port=port))) for _ in range(2)] == [5.5, 5.5]


def test_a_large_body() -> None:
    async def ask() -> int:
        async with Replica(GOOD) as replica, Client([replica.address]) as calls:
            await calls.rewards("a" * 3_000_000, "a", None)
            return len(replica.requests[0][1]["query"][0])

    assert asyncio.run(ask()) == 3_000_000


def test_what_is_no_json_is_the_callers_fault() -> None:
    with pytest.raises(InputError, match="/get_reward is not JSON"):
        asyncio.run(Client([Address("http://127.0.0.1:1")]).rewards("ab", "a", {"base_reward": object()}))


@pytest.mark.parametrize(
    "error", [Refused("said", 422, "bad_label"), Unavailable("said", {"a": "b"}), Unsound("x")]
)
def test_a_failure_travels_between_processes(error: TrainerError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_no_address_is_no_client() -> None:
    with pytest.raises(InputError, match="no reward service is named"):
        Client([])
