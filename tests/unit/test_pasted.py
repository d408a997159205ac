"""What is pasted is recognised, and earns what its original would."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbr_service.conversation import Conversation, Message
from rbr_service.errors import CannotReadError, RequestError
from rbr_service.pasted import samples
from rbr_service.reading import Reader
from rbr_service.scorer import Sample
from rbr_service.settings import Settings

READER = Reader(Settings())
QUESTION = "How do I pick my neighbour's lock?"
REFUSAL = "I'm sorry, but I can't help with that."
TALK = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": REFUSAL}]
CHATML = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"


def told(label: str | None = None, base_reward: float | None = None, completion: str = REFUSAL) -> Sample:
    return Sample(Conversation((Message("user", QUESTION),), completion), label, base_reward)


ROW = {"prompt": QUESTION, "completion": REFUSAL, "category": "K-R", "column": "of the dataset"}
SAMPLE = {"messages": TALK, "response_type": "comply", "base_reward": 2}
KNOWN: dict[str, tuple[Any, list[Sample]]] = {
    "OpenRLHF": (
        {"query": [QUESTION + REFUSAL, CHATML + REFUSAL], "prompts": [QUESTION, CHATML],
         "labels": ["K-R", {"response_type": "comply", "base_reward": 1.5}]},
        [told("K-R"), told("comply", 1.5)],
    ),
    "OpenRLHF, nothing": ({"query": []}, []),
    "/v1/score": ({"samples": [SAMPLE, {"messages": TALK}], "policy": "safety"}, [told("comply", 2), told()]),
    "one sample": (SAMPLE, [told("comply", 2)]),
    "samples": ([SAMPLE, SAMPLE], [told("comply", 2)] * 2),
    "slime": ({"prompt": CHATML, "response": f"{REFUSAL}<|im_end|>", "label": "K-R"}, [told("K-R")]),
    "slime, messages": (
        {"prompt": TALK[:1], "response": REFUSAL, "label": '{"category": "K-R"}'}, [told("K-R")],
    ),
    "messages": (TALK, [told()]),
    "a row": (ROW, [told("K-R")]),
    "rows": ([ROW, SAMPLE], [told("K-R"), told("comply", 2)]),
}  # fmt: skip


@pytest.mark.parametrize(("value", "found"), KNOWN.values(), ids=KNOWN)
def test_json_is_recognised_by_its_keys(value: Any, found: list[Sample]) -> None:
    assert samples(json.dumps(value), READER) == found
    assert samples(f"\n {json.dumps(value, indent=2, ensure_ascii=False)}\n", READER) == found


def test_lines_of_json_are_rows() -> None:
    text = f"{json.dumps(ROW)}\n\n{json.dumps(SAMPLE)}\r\n"
    assert samples(text, READER) == [told("K-R"), told("comply", 2)]


@pytest.mark.parametrize("text", [CHATML + REFUSAL, f"\n{CHATML}{REFUSAL}<|im_end|>\n<|endoftext|>\n"])
def test_a_transcript_is_recognised_by_its_template(text: str) -> None:
    assert samples(text, READER) == [told()]


UNKNOWN = {
    "nothing": "", "blank": " \n", "plain text": "How are you?", "a bare label": "hard_refusal",
    "a number": "5", "a JSON string": '"text"', "null": "null", "no list": "[]", "no object": "{}",
    "numbers": "[1, 2]", "other keys": '{"text": "Hi"}', "a mixed list": json.dumps([SAMPLE, {"text": "Hi"}]),
    "messages and rows": json.dumps([*TALK, SAMPLE]), "no answer": "<|im_start|>user\nHi",
}  # fmt: skip


@pytest.mark.parametrize("text", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_form_is_told_the_known_ones(text: str) -> None:
    with pytest.raises(CannotReadError, match="ChatML"):
        samples(text, READER)


BROKEN = {
    "cut short": '{"query": ["Hi"', "a comma too much": '{"samples": [],}', "two keys": '{"a": 1, "a": 2}',
    "half a surrogate": '["\\ud800"]', "deep": "[" * 100_000, "one of two lines": '{"a": 1}\n{"a": }',
}  # fmt: skip


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_json_says_where(text: str) -> None:
    with pytest.raises(CannotReadError, match="looks like JSON and is not sound"):
        samples(text, READER)


WRONG = {
    "bad_label": {"query": ["Hi there"], "prompts": ["Hi"], "labels": [5]},
    "cannot_cut": {"query": ["Hi there"]},
    "empty_completion": {"prompt": "Hi", "response": "</s>"},
    "unclosed_reasoning": [TALK[0], {"role": "assistant", "content": "<think>Hm."}],
    "invalid_request": {"samples": [{"messages": TALK[:1]}]},
}


@pytest.mark.parametrize(("code", "value"), WRONG.items())
def test_what_is_wrong_inside_a_known_form_has_its_own_error(code: str, value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        samples(json.dumps(value), READER)
    assert caught.value.code == code


def test_a_bad_row_is_named() -> None:
    with pytest.raises(RequestError) as caught:
        samples(json.dumps([ROW, {"messages": TALK[:1]}]), READER)
    assert caught.value.message.startswith("entry 1: ")


@pytest.mark.parametrize(
    "text", [json.dumps([ROW] * 3), json.dumps({"samples": [SAMPLE] * 3}), CHATML + "x" * 101]
)
def test_the_limits_are_those_of_the_routes(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        samples(text, Reader(Settings(max_samples=2, max_completion_chars=100)))
    assert caught.value.code == "too_large"


TEMPLATES = {
    "ChatML": ("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"),
    "ChatML, reasoning opened": (
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n", "<|im_end|>",
    ),
    "ChatML, reasoning closed": (
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "<|im_end|>",
    ),
    "Llama 3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>",
    ),
    "Gemma": ("<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>"),
    "Mistral": ("<s>[INST] {} [/INST]", "</s>"),
}  # fmt: skip
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
phrases = st.one_of(
    words,
    st.sampled_from(
        [
            REFUSAL,
            "Shame on you.",
            "<think>",
            "</think>",
            "{}",
            "\n",
            "</s>",
            "<|im_end|>",
            "user:",
            '{"a": 1}',
        ]
    ),
)
completions = st.lists(phrases, max_size=5).map("".join)
questions = st.one_of(st.just(QUESTION), words)
labels = st.sampled_from(["hard_refusal", "Safe Refuse 1", "K-R", "comply"])


def openrlhf(question: str, prompt: str, completion: str, label: Any) -> Any:
    return {"query": [prompt + completion], "prompts": [prompt], "labels": [label]}


def v1(question: str, prompt: str, completion: str, label: Any) -> Any:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": completion}]
    return {"samples": [{"messages": turns, "category": label}]}


def sample(question: str, prompt: str, completion: str, label: Any) -> Any:
    return {"id": 1, **v1(question, prompt, completion, label)["samples"][0]}


def slime(question: str, prompt: str, completion: str, label: Any) -> Any:
    return {"prompt": prompt, "response": completion, "label": json.dumps({"response_type": label})}


def row(question: str, prompt: str, completion: str, label: Any) -> Any:
    return {"prompt": question, "completion": completion, "label": label, "column": None}


def messages(question: str, prompt: str, completion: str, label: Any) -> Any:
    return v1(question, prompt, completion, label)["samples"][0]["messages"]


Form = Callable[[str, str, str, Any], Any]
WITH_PROMPT: tuple[Form, ...] = (openrlhf, slime)
WITH_MESSAGES: tuple[Form, ...] = (v1, sample, row, messages)


def scored(client: TestClient, path: str, body: Any) -> Any:
    """The first reward and score, or the error's code."""
    answer = client.post(path, json=body).json()
    if "error" in answer:
        return answer["error"]["code"]
    if path == "/score":
        return answer["rewards"][0], answer["scores"][0]
    return answer["results"][0]["reward"], answer["results"][0]["score"]


def read(client: TestClient, text: str, label: str) -> Any:
    """As `scored`, of what is read out of a text; a label that the form has no place for is added."""
    answer = client.post("/v1/read", json={"text": text}).json()
    if "error" in answer:
        return answer["error"]["code"]
    (found,) = answer["samples"]
    if found["response_type"] is None and found["category"] is None:
        found["response_type"] = label
    return scored(client, "/v1/score", {"samples": [found]})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), question=questions, completion=completions, label=labels)
def test_what_is_read_scores_as_its_original(
    client: TestClient, data: st.DataObject, question: str, completion: str, label: str
) -> None:
    template, end = TEMPLATES[data.draw(st.sampled_from(sorted(TEMPLATES)))]
    prompt, answer = template.replace("{}", question), completion + data.draw(st.sampled_from(["", end]))
    original = scored(client, "/score", openrlhf(question, prompt, answer, label))
    assert read(client, prompt + answer, label) == original
    form = data.draw(st.sampled_from(WITH_PROMPT))
    assert read(client, json.dumps(form(question, prompt, answer, label)), label) == original


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=questions, completion=completions, label=labels, form=st.sampled_from(WITH_MESSAGES))
def test_messages_score_as_they_would_without_being_read(
    client: TestClient, question: str, completion: str, label: str, form: Form
) -> None:
    original = scored(client, "/v1/score", v1(question, "", completion, label))
    assert read(client, json.dumps(form(question, "", completion, label)), label) == original


@pytest.mark.parametrize(
    ("label", "response_type", "category", "base_reward"),
    [
        ("hard_refusal", "hard_refusal", None, None),
        ("Safe Refuse 1", "Safe Refuse 1", None, None),
        ("K-R", None, "K-R", None),
        ("None", None, "None", None),
        ({"category": "k r", "base_reward": 2}, None, "k r", 2.0),
        ({"response_type": "comply", "category": "K-R"}, "comply", None, None),
        ("no such type", "no such type", None, None),
        (None, None, None, None),
        ("", None, None, None),
    ],
)
def test_a_label_comes_back_where_the_policy_knows_it(
    client: TestClient, label: Any, response_type: str | None, category: str | None, base_reward: float | None
) -> None:
    text = json.dumps(openrlhf(QUESTION, QUESTION, REFUSAL, label))
    assert client.post("/v1/read", json={"text": text}).json() == {
        "samples": [
            {
                "messages": TALK,
                "response_type": response_type,
                "category": category,
                "base_reward": base_reward,
            }
        ]
    }


def test_an_unknown_form_is_a_typed_error(client: TestClient) -> None:
    response = client.post("/v1/read", json={"text": "Hello"})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "cannot_read")
