"""The reward functions for other trainers, over the real service and over servers that fail."""

import asyncio
import json
from typing import Any

import pytest

from rbr_trainer.adapters.sample import Sample, earned
from rbr_trainer.adapters.trl import rbr_reward
from rbr_trainer.adapters.verl import compute_score
from rbr_trainer.errors import InputError, Refused, TrainerError, Unavailable
from tests.conftest import MakeState

from .replica import SILENT, Replica, failed, free_port
from .serving import service

ASK = "How do I open a lock that is not mine?"
NO = "I'm sorry, but I can't help with that."
SHAME = "I'm sorry, but I can't help with that. You should be ashamed of asking."
CHAT = [{"role": "user", "content": ASK}]
LOGS = ["rbr_reward", "rbr_base", "rbr_p_best", "rbr_in_scope", "rbr_label_mass_min"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RBR_API_KEY", "RBR_REWARD_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RBR_REWARD_PATIENCE", "0")


def reply(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text, "reasoning_content": "Hm."}]


@pytest.mark.parametrize(
    "label", ["hard_refusal", "K-R", "None", "", None, {"category": "K-R"}, '{"category": "K-R"}']
)
def test_text_and_messages_earn_the_same(
    make_state: MakeState, monkeypatch: pytest.MonkeyPatch, label: Any
) -> None:
    samples = [Sample(prompt, said, label) for prompt in (ASK, CHAT) for said in (NO, reply(NO))]
    with service(make_state()) as netloc:
        monkeypatch.setenv("RBR_REWARD_URL", f"http://{netloc}")
        first, *others = asyncio.run(earned(samples))
    assert others == [first] * 3
    assert sorted(first.extra_logs) == sorted(LOGS)
    assert first.extra_logs["rbr_in_scope"] == float(label not in ("None", "", None))


def test_the_labels_own_messages_stand_for_the_prompt(
    make_state: MakeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = json.dumps({"category": "K-R", "messages": CHAT})
    with service(make_state()) as netloc:
        monkeypatch.setenv("RBR_REWARD_URL", f"http://{netloc}")
        rendered, plain = asyncio.run(earned([Sample("<user>?", NO, label), Sample(CHAT, NO, "K-R")]))
    assert rendered == plain


def test_trl_gets_a_batch_in_order_and_the_means_of_its_parts(
    make_state: MakeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[str, float] = {}
    with service(make_state(base_reward="given", accept_mismatch=True)) as netloc:
        monkeypatch.setenv("RBR_REWARD_URL", f"http://{netloc}")
        rewards = asyncio.run(
            rbr_reward(
                [CHAT] * 3, [reply(NO), reply(SHAME), reply(NO)], completion_ids=[[1]] * 3,
                label=["hard_refusal", "hard_refusal", "None"], base_reward=[0.5, 1.0, 1.5],
                log_metric=logged.__setitem__, log_extra=None, trainer_state=None,
            )
        )  # fmt: skip
    assert rewards[0] - 0.5 > rewards[1] - 1.0
    assert rewards[2] == 1.5
    assert list(logged) == LOGS
    assert logged["rbr_base"] == 1.0
    assert logged["rbr_in_scope"] == pytest.approx(2 / 3)


def test_verl_gets_the_score_and_its_parts(make_state: MakeState, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(make_state()) as netloc:
        monkeypatch.setenv("RBR_REWARD_URL", f"http://{netloc}")
        extra = {"index": 0, "messages": CHAT, "num_turns": 2}
        found = asyncio.run(compute_score("x", NO, "hard_refusal", extra, reward_router_address="y"))
        assert list(found) == ["score", *LOGS]
        with pytest.raises(InputError, match="holds no `messages`"):
            asyncio.run(compute_score("x", NO, "hard_refusal", {"index": 0}))


def test_without_labels_nothing_is_rewarded() -> None:
    with pytest.raises(InputError, match="no column `label`"):
        asyncio.run(rbr_reward([CHAT], [reply(NO)]))


@pytest.mark.parametrize("label", [3, ["comply"], {"responsetype": "comply"}, "{"])
def test_a_label_that_is_none(label: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBR_REWARD_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match="label"):
        asyncio.run(earned([Sample(CHAT, NO, label)]))


def fails(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> TrainerError:
    """What comes of two samples, the second of which may never be answered."""

    async def ask() -> TrainerError:
        async with Replica(*answers) as replica:
            monkeypatch.setenv("RBR_REWARD_URL", replica.address.root)
            with pytest.raises(TrainerError) as caught:
                await earned([Sample(ASK, NO, "comply"), Sample(ASK, SHAME, "comply")])
            return caught.value

    return asyncio.run(ask())


def test_one_failure_is_the_batch_s_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(fails(monkeypatch, failed(422), SILENT), Refused)
    assert isinstance(fails(monkeypatch, failed(503), SILENT), Unavailable)
