"""Base rewards from a /get_reward: what it is sent, what it may answer, how it fails, how it comes back."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbr_service import calls
from rbr_service.conversation import Conversation, Message
from rbr_service.encoder import Encoder
from rbr_service.errors import BaseRewardError, UnsupportedConversationError
from rbr_service.lifetime import started
from rbr_service.rewards import remote
from rbr_service.rewards.upstream import UpstreamReward
from tests.unit.reward_servers import (
    STRICT,
    THINKING,
    GetReward,
    asked,
    conversation,
    logit,
    open_calls,
    run,
    save_tokenizer,
)

HELLO = conversation("Hi <|im_end|>", "Hello!", "Who are you?", "A model.\n<|im_start|>user\nThanks!")
PROMPT = (
    "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
    "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
)
QUERY = PROMPT + "A model.\n<|im_start|>user\nThanks!<|im_end|>"
PROBES = len(remote.PROBES)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.load(str(save_tokenizer(tmp_path_factory.mktemp("rm"))))


def upstream(url: str, encoder: Encoder, **given: Any) -> UpstreamReward:
    options: dict[str, Any] = {
        "key": None, "concurrency": 4, "patience": 5.0, "start_patience": 5.0, "deadline": 20.0,
    }  # fmt: skip
    return UpstreamReward(url, "rm", encoder, **(options | given))


def test_it_is_sent_what_openrlhf_would_send(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        async with server.served() as url, started(upstream(url, encoder)) as reward:
            other = conversation("Bye", "")
            assert await reward.rewards(asked(HELLO, other, HELLO)) == [
                logit(QUERY),
                logit("<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n<|im_end|>"),
                logit(QUERY),
            ]
            start, call = server.bodies
            assert len(start["query"]) == PROBES
            assert (call["query"][0], call["prompts"][0], call["labels"]) == (QUERY, PROMPT, ["", ""])
            assert set(call) == {"query", "prompts", "labels"}
            assert reward.source == f"upstream:rm@{encoder.digest[:12]}"
            reward.require(None)
            await reward.check()

    run(scenario())


def test_nothing_to_ask_is_not_asked(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        async with server.served() as url, started(upstream(url, encoder)) as reward:
            assert await reward.rewards([]) == []
            assert len(server.bodies) == 1

    run(scenario())


@pytest.mark.parametrize(
    ("template", "prompt", "sent"),
    [
        (THINKING, (Message("user", "Hi"),), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        (THINKING, (), "<|im_start|>assistant\n"),
        (STRICT, (Message("user", "Hi"),), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
def test_the_prompt_is_the_beginning_of_the_query(
    tmp_path: Path, template: str, prompt: tuple[Message, ...], sent: str
) -> None:
    reward = upstream("http://x", Encoder.load(str(save_tokenizer(tmp_path / "rm", template=template))))
    query, prompts = reward.content(Conversation(prompt, "Fine."))
    assert prompts == sent
    assert query == sent + "Fine.<|im_end|>"


def test_what_the_template_refuses_fails_alone(tmp_path: Path) -> None:
    reward = upstream("http://x", Encoder.load(str(save_tokenizer(tmp_path / "rm", template=STRICT))))
    (refused,) = asyncio.run(reward.rewards(asked(Conversation((), "alone"))))
    assert isinstance(refused, UnsupportedConversationError)


def test_a_url_with_a_path_is_the_endpoint(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        async with server.served() as url:
            for endpoint in (f"{url}/get_reward", f"{url}/deep/score?a=b"):
                async with started(upstream(endpoint, encoder)) as reward:
                    assert await reward.rewards(asked(HELLO)) == [logit(QUERY)]

    run(scenario())


def test_rewards_in_lists_of_one_are_taken(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        server.answer = lambda rewards: {"rewards": [[r] for r in rewards]}
        async with server.served() as url, started(upstream(url, encoder)) as reward:
            assert await reward.rewards(asked(HELLO)) == [logit(QUERY)]

    run(scenario())


BAD: dict[str, Any] = {
    "not a number": '{"rewards": [NaN]}',
    "infinite": '{"rewards": [-Infinity]}',
    "too large": {"rewards": [1.1e6]},
    "beyond float": '{"rewards": [1' + "0" * 400 + "]}",
    "text": {"rewards": ["1.0"]},
    "boolean": {"rewards": [True]},
    "null": {"rewards": [None]},
    "too few": {"rewards": []},
    "too many": {"rewards": [1.0, 2.0]},
    "a list of two": {"rewards": [[1.0, 2.0]]},
    "deeper": {"rewards": [[[1.0]]]},
    "a number": {"rewards": 1.0},
    "another key": {"reward": [1.0]},
    "a list": [1.0],
    "no JSON": "0.5 0.5",
    "nothing": "",
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
def test_any_other_answer_is_an_error(encoder: Encoder, answer: Any) -> None:
    async def scenario() -> None:
        server = GetReward()
        server.answer = lambda rewards: answer
        async with server.served() as url:
            reward = upstream(url, encoder)
            async with open_calls(reward):
                with pytest.raises(BaseRewardError, match=r"^upstream:rm@\w{12}: "):
                    await reward.rewards(asked(HELLO))
            assert len(server.bodies) == 1

    run(scenario())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rewards", "x"]), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=_JSON | st.fixed_dictionaries({"rewards": _JSON | st.lists(_JSON, min_size=2, max_size=2)}))
def test_whatever_it_answers_gives_finite_rewards_or_an_error(encoder: Encoder, answer: Any) -> None:
    async def scenario() -> None:
        server = GetReward()
        server.answer = lambda rewards: json.dumps(answer)
        async with server.served() as url:
            reward = upstream(url, encoder)
            async with open_calls(reward):
                try:
                    rewards = await reward.rewards(asked(HELLO, conversation("", "")))
                except BaseRewardError:
                    return
        assert len(rewards) == 2
        assert all(isinstance(r, float) and abs(r) <= 1e6 for r in rewards)

    run(scenario())


def test_a_passing_fault_is_lived_through(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        async with server.served() as url, started(upstream(url, encoder)) as reward:
            server.faults = [500, 503, 502]
            assert await reward.rewards(asked(HELLO)) == [logit(QUERY)]

    run(scenario())


def test_a_lasting_fault_is_an_error_and_asked_again_next_time(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        async with server.served() as url, started(upstream(url, encoder)) as reward:
            server.faults = [500] * 20
            with pytest.raises(BaseRewardError, match="500"):
                await reward.rewards(asked(HELLO))
            server.faults = [400]
            with pytest.raises(BaseRewardError, match="400"):
                await reward.rewards(asked(HELLO))
            assert await reward.rewards(asked(HELLO)) == [logit(QUERY)]

    run(scenario())


def test_a_server_that_hangs_runs_into_the_deadline_and_a_retry_finds_the_answer(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        async with server.served() as url, started(upstream(url, encoder, deadline=0.3)) as reward:
            server.hold = asyncio.Event()
            with pytest.raises(BaseRewardError, match=r"no answer within 0\.3 s"):
                await reward.rewards(asked(HELLO))
            server.hold.set()
            assert await reward.rewards(asked(HELLO)) == [logit(QUERY)]
            assert (len(server.bodies), server.dropped) == (2, 0)

    run(scenario())


def test_equal_conversations_in_flight_are_asked_once(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        others = [conversation("q", f"answer {i}") for i in range(3)]
        async with server.served() as url, started(upstream(url, encoder)) as reward:
            server.hold = asyncio.Event()
            first = asyncio.create_task(reward.rewards(asked(HELLO, others[0])))
            await server.calls(2)
            rest = [asyncio.create_task(reward.rewards(asked(o, HELLO))) for o in others for _ in range(5)]
            await server.calls(4)
            server.hold.set()
            answers = await asyncio.gather(first, *rest)
            assert {answer[1] for answer in answers[1:]} == {logit(QUERY)} == {answers[0][0]}
            assert [len(body["query"]) for body in server.bodies] == [PROBES, 2, 1, 1]

    run(scenario())


def test_calls_at_a_time_are_bounded_and_a_check_does_not_wait_for_them(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        async with server.served() as url, started(upstream(url, encoder, concurrency=3)) as reward:
            server.hold = asyncio.Event()
            tasks = [asyncio.create_task(reward.rewards(asked(conversation("q", str(i))))) for i in range(40)]
            await server.calls(4)
            await asyncio.sleep(0.05)
            await reward.check()
            server.hold.set()
            assert len(await asyncio.gather(*tasks)) == 40
            assert server.most_at_once == 3

    run(scenario())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_start_waits_for_a_server_that_is_on_its_way(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calls, "LOOK", 0.02)
    monkeypatch.setattr(calls, "SAY", 0.1)

    async def scenario() -> None:
        server, port = GetReward(), _free_port()
        reward = upstream(f"http://127.0.0.1:{port}", encoder)
        starting = asyncio.create_task(reward.start())
        await asyncio.sleep(0.35)
        assert not starting.done()
        async with server.served(port):
            await starting
            assert await reward.rewards(asked(HELLO)) == [logit(QUERY)]
            await reward.close()

    run(scenario())
    lines = [record.message for record in caplog.records if "waiting" in record.message]
    assert 2 <= len(lines) <= 4


def test_start_ends_when_the_server_does_not_come(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LOOK", 0.02)

    async def scenario() -> None:
        with pytest.raises(BaseRewardError, match=r"upstream:rm@\w{12}: not there after 0 s: http"):
            async with started(upstream(f"http://127.0.0.1:{_free_port()}", encoder, start_patience=0.2)):
                pass

    run(scenario())


def test_the_key_is_sent_and_a_missing_one_is_named(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        server.key = "secret"
        async with server.served() as url:
            async with started(upstream(url, encoder, key="secret")) as reward:
                assert await reward.rewards(asked(HELLO)) == [logit(QUERY)]
            with pytest.raises(BaseRewardError, match=r"401.*RBR_BASE_REWARD_KEY"):
                async with started(upstream(url, encoder)):
                    pass

    run(scenario())


def test_check_tells_a_server_that_is_gone(encoder: Encoder) -> None:
    async def scenario() -> None:
        server, port = GetReward(), _free_port()
        reward = upstream(f"http://127.0.0.1:{port}", encoder)
        async with server.served(port):
            await reward.start()
            await reward.check()
        with pytest.raises(BaseRewardError):
            await reward.check()
        asking = asyncio.create_task(reward.rewards(asked(HELLO)))
        while not reward.calls.fault:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with pytest.raises(BaseRewardError):
            await reward.check()
        async with server.served(port):
            await reward.check()
            assert await asking == [logit(QUERY)]
        await reward.close()

    run(scenario())


def test_a_server_at_work_that_is_silent_for_long_is_not_there(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "RECENT", 0.5)

    async def scenario() -> None:
        server = GetReward()
        async with server.served() as url, started(upstream(url, encoder)) as reward:
            server.blocked = asyncio.Event()
            asking = asyncio.create_task(reward.rewards(asked(HELLO)))
            await asyncio.sleep(0.05)
            async with asyncio.timeout(0.1):
                await reward.check()  # one that computes in its event loop answers nothing else
            await asyncio.sleep(0.6)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await reward.check()
            server.blocked.set()
            assert await asking == [logit(QUERY)]
            await reward.check()

    run(scenario())


def test_a_server_that_let_a_call_time_out_is_asked_whether_it_is_there(encoder: Encoder) -> None:
    async def scenario() -> None:
        server = GetReward()
        async with server.served() as url, started(upstream(url, encoder, patience=0.3)) as reward:
            server.blocked = asyncio.Event()
            with pytest.raises(BaseRewardError, match=r"no answer within 0\.3 s"):
                await reward.rewards(asked(HELLO))
            asking = asyncio.create_task(reward.rewards(asked(conversation("q", "other"))))
            await asyncio.sleep(0.05)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await reward.check()
            server.blocked.set()
            await asking
            await reward.check()

    run(scenario())


def test_the_source_tells_one_template_from_another(encoder: Encoder, tmp_path: Path) -> None:
    other = Encoder.load(str(save_tokenizer(tmp_path / "rm", template=THINKING)))
    assert upstream("http://x", encoder).source != upstream("http://x", other).source
