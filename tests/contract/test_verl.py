"""verl's real reward managers, which load the adapter as a run's configuration names it."""

import asyncio
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from rbr_trainer.errors import InputError, Refused, Unavailable

from . import verl
from .chats import ANSWERS, CHAT, messages
from .policy import tokenizer
from .serving import ROOT, Service, free_port

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:There is no current event loop:DeprecationWarning"
    ),  # verl asks for it
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def rewards() -> Iterator[ModuleType]:
    path = verl.folder(ROOT)
    if not (path / "verl/trainer/ppo/reward.py").is_file():
        pytest.fail(
            f"verl {verl.VERSION} is not unpacked at {path}: run `make test-trainer`, or set "
            f"{verl.VARIABLE} to the folder that holds it"
        )
    with verl.loaded(path) as module:
        yield module


def configured(manager: str) -> verl.Config:
    function = {"path": "pkg://rbr_trainer.adapters.verl", "name": "compute_score", "reward_kwargs": {}}
    kind = verl.Config(source="register", name=manager)
    return verl.Config(reward=verl.Config(custom_reward_function=function, reward_manager=kind))


def row(words: Any, answer: str, label: Any, extra: dict[str, Any]) -> verl.Batch:
    """A generation as verl holds it: padded tokens, and the dataset's columns."""
    import torch

    tokens = words(answer + words.eos_token)["input_ids"]
    padding = 7
    batch = {
        "responses": torch.tensor(tokens + [words.pad_token_id] * padding),
        "attention_mask": torch.tensor([1] * (5 + len(tokens)) + [0] * padding),  # 5: the prompt's
    }
    columns = {"data_source": "comply", "reward_model": {"style": "rule", "ground_truth": label}}
    return verl.Batch([(batch, {**columns, "extra_info": {"index": 0, **extra}})])


def run(
    rewards: ModuleType, answers: list[str], label: Any, extra: dict[str, Any], manager: str = "naive"
) -> Any:
    """What verl makes of each answer, all asked for at the same time."""

    async def scored() -> Any:
        words = tokenizer()
        made = rewards.load_reward_manager(configured(manager), words)
        return await asyncio.gather(
            *(made.run_single(row(words, answer, label, extra)) for answer in answers)
        )

    return asyncio.run(scored())


@pytest.mark.parametrize("manager", ["naive", "dapo"])
@pytest.mark.parametrize("label", ["hard_refusal", "K-R", json.dumps({"category": "K-R"}), "None"])
def test_a_reward_is_the_service_s(asking: Service, rewards: ModuleType, manager: str, label: str) -> None:
    found = run(rewards, list(ANSWERS), label, {"messages": messages(CHAT)}, manager)
    named = "K-R" if label.startswith("{") else label
    samples = [
        {"messages": messages([*CHAT, ("assistant", answer)]), "response_type": named} for answer in ANSWERS
    ]
    results = asking.post("/v1/score", {"samples": samples})["results"]
    assert [one["reward_score"] for one in found] == [result["reward"] for result in results]
    for one, result in zip(found, results, strict=True):
        extra = one["reward_extra_info"]
        assert extra["score"] == one["reward_score"]
        assert extra["rbr_reward"] == result["rbr_reward"]
        assert extra["rbr_p_best"] == result["score"]
        assert extra["rbr_in_scope"] == float(label != "None")


def test_every_sample_has_the_same_keys(asking: Service, rewards: ModuleType) -> None:
    """verl takes the keys of the first for those of all."""
    extra = {"messages": messages(CHAT)}
    found = [run(rewards, [ANSWERS[0]], label, extra)[0] for label in ("comply", "None", "hard_refusal", "")]
    keys = {tuple(one["reward_extra_info"]) for one in found}
    assert keys == {
        ("score", "rbr_reward", "rbr_base", "rbr_p_best", "rbr_in_scope", "rbr_label_mass_min"),
    }


def test_the_logs_are_those_of_openrlhf(asking: Service, rewards: ModuleType) -> None:
    (found,) = run(rewards, [ANSWERS[1]], "hard_refusal", {"messages": messages(CHAT)})
    label = {"response_type": "hard_refusal", "messages": messages(CHAT)}
    text = f"{CHAT[-1][1]}\nAssistant:"
    body = asking.post("/score", {"query": [text + ANSWERS[1]], "prompts": [text], "labels": [label]})
    logs = {name: value for name, (value,) in body["extra_logs"].items()}
    assert found["reward_extra_info"] == {"score": body["rewards"][0], **logs}


def test_a_base_reward_in_the_label_is_added(
    adding: Service, asking: Service, rewards: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RBR_REWARD_URL", adding.url)
    label = json.dumps({"category": "None", "base_reward": 1.5})
    (found,) = run(rewards, [ANSWERS[0]], label, {"messages": messages(CHAT)})
    assert found["reward_score"] == found["reward_extra_info"]["rbr_base"] == 1.5


def test_a_failure_is_raised(asking: Service, rewards: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"messages": messages(CHAT)}
    with pytest.raises(Refused, match="unknown_response_type"):
        run(rewards, list(ANSWERS), "no_such_type", extra)
    with pytest.raises(InputError, match="holds no `messages`"):
        run(rewards, list(ANSWERS), "comply", {})
    monkeypatch.setenv("RBR_REWARD_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("RBR_REWARD_PATIENCE", "0.2")
    with pytest.raises(Unavailable, match="nothing answers"):
        run(rewards, list(ANSWERS), "comply", extra)
