"""OpenRLHF's own `_fetch_rewards_via_http` against a running service: all that a PPO run does to it."""

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest

from .chats import ANSWERS, CHAT, CHATML, RENDERINGS, Rendering, messages
from .conftest import KEY
from .openrlhf import CharacterTokenizer, FixedEngine, OpenRLHF
from .serving import Service

LOGS = {"rbr_reward", "rbr_base", "rbr_p_best", "rbr_in_scope", "rbr_label_mass_min"}
PROMPT = CHATML.prompt(CHAT)


def query(answer: str) -> str:
    return PROMPT + answer + CHATML.end


def checked(body: dict[str, Any], length: int) -> dict[str, Any]:
    """The body, if it is one that OpenRLHF can train on."""
    columns = [body["rewards"], body["scores"], *body["extra_logs"].values()]
    assert set(body["extra_logs"]) == LOGS
    assert all(len(column) == length for column in columns)
    assert all(type(value) is float and math.isfinite(value) for column in columns for value in column)
    assert all(0 <= score <= 1 for score in body["scores"])
    return body


def fetch(trainer: OpenRLHF, url: str, answers: list[str], labels: list[Any]) -> dict[str, Any]:
    """What the client hands to the trainer for answers to the one PROMPT."""
    queries = [query(answer) for answer in answers]
    (body,) = asyncio.run(trainer.fetch(url, queries, [PROMPT] * len(queries), labels))
    return checked(body, len(queries))


@pytest.mark.parametrize("path", ["/score", "/get_reward"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_request_of_some_samples(trainer: OpenRLHF, service: Service, size: int, path: str) -> None:
    url = f"http://{service.netloc}{path}"
    body = fetch(trainer, url, list(ANSWERS[:size]), ["hard_refusal"] * size)
    assert len(set(body["rewards"])) == size
    assert max(body["rewards"]) == body["rewards"][0]


def test_no_samples_are_no_request(trainer: OpenRLHF, service: Service) -> None:
    assert asyncio.run(trainer.fetch(service.score, [], [], [])) == []


def test_empty_lists_as_0_11_0_posts_them_to_all_but_the_first_url(service: Service) -> None:
    checked(service.post("/score", {"query": [], "prompts": [], "labels": []}), 0)


LABELS: dict[str, Any] = {
    "response type": "hard_refusal",
    "alias": "Hard Refuse",
    "category": "K-R",
    "JSON text": '{"response_type": "hard_refusal"}',
    "JSON string": '"hard_refusal"',
    "object": {"response_type": "hard_refusal"},
    "object of a category": {"category": "K-R", "messages": messages(CHAT), "base_reward": 0.5},
    "object with nulls": {
        "response_type": "hard_refusal", "category": None, "messages": None, "base_reward": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_every_form_of_a_label(trainer: OpenRLHF, service: Service, label: Any) -> None:
    body = fetch(trainer, service.score, list(ANSWERS), [label] * 3)
    plain = fetch(trainer, service.score, list(ANSWERS), ["hard_refusal"] * 3)
    assert body["rewards"] == plain["rewards"]
    assert body["extra_logs"]["rbr_in_scope"] == [1.0] * 3


@pytest.mark.parametrize("label", ["", None, "None", {}, {"response_type": None, "messages": None}])
def test_a_label_that_names_nothing_is_out_of_scope(trainer: OpenRLHF, service: Service, label: Any) -> None:
    body = fetch(trainer, service.score, [ANSWERS[0]], [label])
    assert body["rewards"] == [0.0]
    assert body["extra_logs"]["rbr_in_scope"] == [0.0]
    assert 0 < body["scores"][0] < 1  # so that dynamic filtering keeps the prompt


def test_forms_of_labels_mixed_in_one_request(trainer: OpenRLHF, service: Service) -> None:
    labels = [*LABELS.values(), "", None]
    body = fetch(trainer, service.score, [ANSWERS[0]] * len(labels), labels)
    assert len(set(body["rewards"][:-2])) == 1
    assert body["rewards"][-2:] == [0.0, 0.0]


def test_the_base_reward_of_a_label_is_added(trainer: OpenRLHF, adding: Service, service: Service) -> None:
    label = {"response_type": "hard_refusal", "base_reward": 1.5, "messages": messages(CHAT)}
    body = fetch(trainer, adding.score, [ANSWERS[0]], [label])
    (alone,) = fetch(trainer, service.score, [ANSWERS[0]], [label])["rewards"]
    assert body["extra_logs"]["rbr_base"] == [1.5]
    assert body["rewards"] == [pytest.approx(1.5 + alone, abs=1e-6)]


def test_a_rollout_of_512_with_a_connection_each(trainer: OpenRLHF, service: Service) -> None:
    size = 512
    queries = [query(f"{ANSWERS[i % 3]} Number {i}. {'Sorry! ' * (i % 7)}") for i in range(size)]
    whole = checked(
        service.post("/score", {"query": queries, "prompts": [PROMPT] * size, "labels": ["K-R"] * size}), size
    )

    async def rollout() -> list[Any]:
        client = trainer.executor(service.score)
        calls = [client._fetch_rewards_via_http([text], [PROMPT], ["K-R"]) for text in queries]
        return list(await asyncio.gather(*calls))

    bodies = [checked(body, 1) for (body,) in asyncio.run(rollout())]
    assert [body["rewards"][0] for body in bodies] == whole["rewards"]
    assert len(set(whole["rewards"])) > 3


def test_a_whole_rollout_batch_with_padding_in_one_request(trainer: OpenRLHF, service: Service) -> None:
    """0.7.1 to 0.9.0: prompts padded on the left, answers after their end token on the right."""
    answers = [f"{ANSWERS[i % 3]} Number {i}." for i in range(1024)]
    pad = "<|endoftext|>"
    queries = [pad * (i % 40) + query(text) + pad * (i % 23) for i, text in enumerate(answers)]
    prompts, labels = [PROMPT] * 1024, ["hard_refusal"] * 1024
    (padded,) = asyncio.run(trainer.fetch(service.score, queries, prompts, labels))
    assert checked(padded, 1024)["rewards"] == fetch(trainer, service.score, answers, labels)["rewards"]


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "cut short"])
@pytest.mark.parametrize("rendering", RENDERINGS, ids=lambda r: r.name)
def test_a_sample_earns_the_same_as_text_and_as_messages(
    trainer: OpenRLHF, service: Service, rendering: Rendering, ended: bool
) -> None:
    prompt = rendering.prompt(CHAT)
    queries = [prompt + answer + (rendering.end if ended else "") for answer in ANSWERS]
    # plain text follows no template: only the label can tell its turns apart
    label: Any = "hard_refusal"
    if rendering.name == "plain":
        label = {"response_type": label, "messages": messages(CHAT)}
    (body,) = asyncio.run(trainer.fetch(service.score, queries, [prompt] * 3, [label] * 3))
    _same(service, checked(body, 3), [messages([*CHAT, ("assistant", answer)]) for answer in ANSWERS])


def test_plain_text_without_messages_is_one_user_message(trainer: OpenRLHF, service: Service) -> None:
    prompt = "How do I open my neighbour's lock without a key?\n"
    queries = [prompt + answer for answer in ANSWERS]
    (body,) = asyncio.run(trainer.fetch(service.score, queries, [prompt] * 3, ["hard_refusal"] * 3))
    _same(service, checked(body, 3), [messages([("user", prompt), ("assistant", a)]) for a in ANSWERS])


def _same(service: Service, body: dict[str, Any], chats: list[list[dict[str, str]]]) -> None:
    samples = [{"messages": chat, "response_type": "hard_refusal"} for chat in chats]
    results = service.post("/v1/score", {"samples": samples})["results"]
    assert body["rewards"] == [result["reward"] for result in results]
    assert body["scores"] == [result["score"] for result in results]
    assert len(set(body["rewards"])) == len(chats)


def test_a_key_in_the_url_opens_a_guarded_service(trainer: OpenRLHF, guarded: Service) -> None:
    fetch(trainer, f"http://user:{KEY}@{guarded.netloc}/score", [ANSWERS[0]], ["hard_refusal"])


REFUSED: dict[str, Any] = {
    "unknown type": "no_such_type", "wrong key": {"responsetype": "comply"}, "number": 3, "list": ["comply"],
}  # fmt: skip


@pytest.mark.parametrize("label", REFUSED.values(), ids=REFUSED)
def test_an_unanswerable_label_ends_in_an_error(
    trainer: OpenRLHF, service: Service, label: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = _hurry(trainer, monkeypatch)
    with pytest.raises(RuntimeError, match="5 times"):
        fetch(trainer, service.score, [ANSWERS[0]], [label])
    assert waits == [1] * 5


def test_one_unanswerable_label_spoils_its_whole_request(
    trainer: OpenRLHF, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(trainer, monkeypatch)
    with pytest.raises(RuntimeError, match="5 times"):
        fetch(trainer, service.score, list(ANSWERS), ["hard_refusal", "no_such_type", "hard_refusal"])


@pytest.mark.parametrize("user", ["", "user:not-the-key-at-all@"], ids=["no key", "wrong key"])
def test_a_guarded_service_fails_the_client_without_the_key(
    trainer: OpenRLHF, guarded: Service, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(trainer, monkeypatch)
    with pytest.raises(RuntimeError, match="5 times"):
        fetch(trainer, f"http://{user}{guarded.netloc}/score", [ANSWERS[0]], ["hard_refusal"])


def _hurry(trainer: OpenRLHF, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Take out the client's waits between its tries; they are noted in the list."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    hurried = SimpleNamespace(**{**vars(asyncio), "sleep": sleep})
    monkeypatch.setattr(trainer.module, "asyncio", hurried)
    return waits


def executed(trainer: OpenRLHF, url: str, label: Any, max_length: int) -> tuple[dict[str, Any], str]:
    """The whole of the client's `execute` around a stub engine: its output and the prompt generated from."""
    engine = FixedEngine(ANSWERS[0] + CHATML.end)
    params = SimpleNamespace(max_tokens=100, logprobs=None)
    output = asyncio.run(
        trainer.executor(url).execute(PROMPT, label, params, max_length, CharacterTokenizer(), engine)
    )
    return output, engine.prompts[0]


@pytest.mark.parametrize("kept", [10_000, 90], ids=["whole", "truncated on the left"])
def test_a_generation_is_rewarded(trainer: OpenRLHF, service: Service, kept: int) -> None:
    output, prompt = executed(trainer, service.score, "hard_refusal", 100 + kept)
    assert prompt == PROMPT[-kept:]
    assert output["reward"] == fetch(trainer, service.score, [ANSWERS[0]], ["hard_refusal"])["rewards"]
    assert set(output["extra_logs"]) == LOGS


def test_a_failed_generation_has_no_reward(
    trainer: OpenRLHF, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(trainer, monkeypatch)
    output, _ = executed(trainer, service.score, "no_such_type", 10_000)
    assert output["reward"] is None
    assert output["scores"] is None
