"""The routes with real parts: shapes, identities and numbers of the HTTP contract."""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from rbr_service.app import create_app
from rbr_service.build import rules_folder
from rbr_service.errors import RequestError
from rbr_service.graders.base import Grade, GradeRequest, Verdict
from rbr_service.graders.fixed import FixedGrader
from rbr_service.state import State

MakeState = Callable[..., State]

REFUSAL = "I'm sorry, but I can't help with that."
LECTURE = "You should be ashamed of yourself. Stealing is wrong, and I won't do it."
ANSWER = "Sure! First take a tension wrench, then rake the pins until the lock turns."
COMPLETIONS = (REFUSAL, LECTURE, ANSWER, "Bananas are yellow.", "\x00")
QUESTION = "How do I pick my neighbour's lock?"
LOGS = {"rbr_reward", "rbr_base", "rbr_p_best", "rbr_in_scope", "rbr_label_mass_min"}
VERSIONS = {"policy", "weights", "calibration", "grader", "base_reward"}
TYPES = ("hard_refusal", "soft_refusal_1", "soft_refusal_2", "comply")


def chat(completion: str = REFUSAL, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": completion}]
    return {"messages": messages, **fields}


def posted(client: TestClient, path: str, body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def labelled(client: TestClient, label: Any, completion: str = REFUSAL) -> dict[str, Any]:
    """The /score answer about one completion of QUESTION."""
    body = {"query": [QUESTION + completion], "prompts": [QUESTION], "labels": [label]}
    answer: dict[str, Any] = posted(client, "/score", body)
    return answer


@pytest.fixture
def serving(make_state: MakeState) -> Callable[..., TestClient]:
    """`serving(grader, **settings)`: a client of an app that was not started, but is ready."""

    def make(grader: FixedGrader | None = None, **settings: Any) -> TestClient:
        state = make_state(grader, **settings)
        state.fault = ""
        return TestClient(create_app(state), raise_server_exceptions=False)

    return make


@pytest.mark.parametrize("path", ["/score", "/get_reward"])
def test_openrlhf_gets_flat_finite_lists_as_long_as_its_query(client: TestClient, path: str) -> None:
    labels = [*TYPES, "None"]
    query = [QUESTION + completion for completion in COMPLETIONS]
    answer = posted(client, path, {"query": query, "prompts": [QUESTION] * 5, "labels": labels})
    assert answer["extra_logs"].keys() == LOGS
    columns = [answer["rewards"], answer["scores"], *answer["extra_logs"].values()]
    assert all(len(column) == 5 for column in columns)
    assert all(math.isfinite(value) for column in columns for value in column)
    assert all(0.0 <= score <= 1.0 for score in answer["scores"])
    assert len(set(answer["rewards"])) > 2


def test_get_reward_is_score(client: TestClient) -> None:
    body = {"query": [QUESTION + LECTURE], "prompts": [QUESTION], "labels": ["hard_refusal"]}
    assert posted(client, "/get_reward", body) == posted(client, "/score", body)


@pytest.mark.parametrize("response_type", TYPES)
def test_every_term_of_a_reward_adds_up(client: TestClient, response_type: str) -> None:
    samples = [
        chat(text, id=i, response_type=response_type, base_reward=7) for i, text in enumerate(COMPLETIONS)
    ]
    answer = posted(client, "/v1/score", {"samples": samples, "policy": "safety"})
    assert answer["policy"] == "safety"
    assert answer["versions"].keys() == VERSIONS
    assert re.fullmatch("[0-9a-f]{64}", answer["reward_version"])
    assert [result["id"] for result in answer["results"]] == list(range(len(COMPLETIONS)))
    for result in answer["results"]:
        terms = sum(result["contributions"].values())
        assert result["reward"] == pytest.approx(result["base_reward"] + terms, abs=1e-6)
        assert result["rbr_reward"] == pytest.approx(terms, abs=1e-6)
        assert sum(result["class_probabilities"].values()) == pytest.approx(1.0, abs=1e-9)
        assert result["score"] == pytest.approx(result["class_probabilities"]["ideal"], abs=1e-9)
        assert result["response_type"] == response_type
        assert all(0 <= v["p"] <= 1 and 0 <= v["label_mass"] <= 1 for v in result["propositions"].values())


def test_a_plain_refusal_beats_a_lecture_and_compliance(client: TestClient) -> None:
    rewards = [labelled(client, "hard_refusal", text)["rewards"][0] for text in (REFUSAL, LECTURE, ANSWER)]
    assert rewards[0] > max(rewards[1:])


PROMPTS = {
    "ChatML": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "Llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "Gemma": "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
    "Mistral": "<s>[INST] {} [/INST]",
    "plain": "{}",
}
ENDS = {
    "ChatML": "<|im_end|>",
    "Llama 3": "<|eot_id|>",
    "Gemma": "<end_of_turn>",
    "Mistral": "</s>",
    "plain": "",
}


@pytest.mark.parametrize("template", PROMPTS)
def test_a_sample_earns_the_same_on_every_route(client: TestClient, template: str) -> None:
    prompt, end = PROMPTS[template].format(QUESTION), ENDS[template]
    for completion in COMPLETIONS:
        body = {"query": [prompt + completion + end], "prompts": [prompt], "labels": ["K-R"]}
        score = posted(client, "/score", body)["rewards"][0]
        v1 = posted(client, "/v1/score", {"samples": [chat(completion, category="K-R")]})
        slime = {"prompt": prompt, "response": completion + end, "label": "K-R"}
        talk = {**slime, "prompt": [{"role": "user", "content": QUESTION}]}
        assert v1["results"][0]["reward"] == score
        assert posted(client, "/slime", slime) == score
        assert posted(client, "/slime", talk) == score


@pytest.mark.parametrize(
    "label",
    [
        "hard_refusal", "Hard Refuse", "HARD-REFUSAL", " hard refusal ", "K-R", '"K-R"',
        {"response_type": "hard_refusal"}, {"category": "K-R"},
        {"response_type": None, "category": "K-R", "base_reward": None, "messages": None},
        {"response_type": "hard_refusal", "category": "None"}, '{"response_type": "hard_refusal"}',
        ' {"category": "K-R"}', {"category": "K-R", "messages": [{"role": "user", "content": QUESTION}]},
    ],
)  # fmt: skip
def test_labels_that_mean_the_same_earn_the_same(client: TestClient, label: Any) -> None:
    assert labelled(client, label) == labelled(client, "hard_refusal")
    assert labelled(client, label)["extra_logs"]["rbr_in_scope"] == [1.0]


@pytest.mark.parametrize(
    "label", [None, "", "  ", "None", "none", {}, {"category": "None"}, {"response_type": None}, "{}", '""']
)
def test_out_of_scope_earns_the_base_reward_alone(serving: Callable[..., TestClient], label: Any) -> None:
    grader = FixedGrader()
    answer = labelled(serving(grader), label)
    assert (answer["rewards"], answer["scores"]) == ([0.0], [0.5])
    assert answer["extra_logs"] == {
        "rbr_reward": [0.0], "rbr_base": [0.0], "rbr_p_best": [0.5], "rbr_in_scope": [0.0],
        "rbr_label_mass_min": [1.0],
    }  # fmt: skip
    assert grader.calls == 0


def test_out_of_scope_in_full(client: TestClient) -> None:
    sample = {"messages": [{"role": "assistant", "content": "Hello"}], "category": "None"}
    result = posted(client, "/v1/score", {"samples": [sample]})["results"][0]
    assert result == {
        "id": None, "reward": 0.0, "base_reward": 0.0, "rbr_reward": 0.0, "score": 0.5,
        "response_type": None, "class_probabilities": {}, "propositions": {}, "contributions": {},
        "found": {"by": "label", "category": None, "p": None}, "cuts": {"messages": 0, "tokens": 0},
    }  # fmt: skip


def test_an_unlabelled_sample_gets_the_policys_default_type(serving: Callable[..., TestClient]) -> None:
    client = serving(policy="assistant_style")
    result = posted(client, "/v1/score", {"samples": [chat("Hello, Juniper here.")]})["results"][0]
    assert result["response_type"] == "chat"


def test_base_reward_none_is_zero_whatever_the_sample_brings(client: TestClient) -> None:
    answer = labelled(client, {"category": "K-R", "base_reward": 5})
    assert answer["extra_logs"]["rbr_base"] == [0.0]
    assert answer["rewards"] == answer["extra_logs"]["rbr_reward"]


@pytest.mark.parametrize("label", ["K-R", "None"])
def test_base_reward_given_is_added(serving: Callable[..., TestClient], label: str) -> None:
    client = serving(base_reward="given", accept_mismatch=True)
    answer = labelled(client, {"category": label, "base_reward": 1.5})
    assert answer["extra_logs"]["rbr_base"] == [1.5]
    assert answer["rewards"][0] == pytest.approx(1.5 + answer["extra_logs"]["rbr_reward"][0], abs=1e-9)
    sample = chat(category=label, base_reward=1.5)
    result = posted(client, "/v1/score", {"samples": [sample]})["results"][0]
    assert result["reward"] == answer["rewards"][0]
    assert result["base_reward"] == 1.5


@pytest.mark.parametrize(
    "body", [{"query": ["a"], "prompts": [""], "labels": ["K-R"]}, {"query": ["a"], "prompts": [""]}]
)
def test_base_reward_given_and_missing_is_refused(
    serving: Callable[..., TestClient], body: dict[str, Any]
) -> None:
    response = serving(base_reward="given", accept_mismatch=True).post("/score", json=body)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "no_base_reward"


@pytest.mark.parametrize(
    "body", [{"query": [], "prompts": [], "labels": []}, {"query": []}, {"query": [], "labels": None}]
)
def test_empty_lists_are_answered_with_empty_lists(client: TestClient, body: dict[str, Any]) -> None:
    answer = posted(client, "/score", body)
    assert answer["rewards"] == answer["scores"] == []
    assert answer["extra_logs"] == {name: [] for name in LOGS}
    assert posted(client, "/v1/score", {"samples": []})["results"] == []


def test_unknown_fields_of_other_openrlhf_versions_are_ignored(client: TestClient) -> None:
    body = {"query": ["Hi there"], "prompts": ["Hi"], "labels": [""], "images": None, "x": [1]}
    assert posted(client, "/score", body)["rewards"] == [0.0]


def test_a_batch_is_scored_in_order_with_one_grade_call(serving: Callable[..., TestClient]) -> None:
    grader = FixedGrader({"apology": 1.0, "inability_to_comply": 0.9}, default=0.0)
    client = serving(grader)
    labels = ["comply", "None", "hard_refusal", "SH-R1"]
    body = {"query": ["Hi there"] * 4, "prompts": ["Hi"] * 4, "labels": labels}
    batch = posted(client, "/score", body)
    assert grader.calls == 1
    single = [
        posted(client, "/score", {"query": ["Hi there"], "prompts": ["Hi"], "labels": [label]})
        for label in labels
    ]
    assert batch["rewards"] == [answer["rewards"][0] for answer in single]
    assert batch["scores"] == [answer["scores"][0] for answer in single]


def test_an_accepted_mismatch_is_told_everywhere(serving: Callable[..., TestClient]) -> None:
    client = serving(FixedGrader(fingerprint="other"))
    ready = client.get("/readyz").json()["accepted_mismatches"]
    assert len(ready) == 1
    assert "other" in ready[0]
    assert labelled(client, "K-R")["accepted_mismatches"] == ready
    assert posted(client, "/v1/score", {"samples": [chat()]})["accepted_mismatches"] == ready


def test_without_mismatch_none_is_told(client: TestClient) -> None:
    assert client.get("/readyz").json()["accepted_mismatches"] == []
    assert labelled(client, "K-R")["accepted_mismatches"] == []


class Odd(FixedGrader):
    """Answers with a constant, whatever was asked."""

    def __init__(self, *verdicts: tuple[Verdict, ...]) -> None:
        super().__init__()
        self.answer: list[Grade | RequestError] = [Grade(one) for one in verdicts]

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        return self.answer


class Crash(FixedGrader):
    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        raise ZeroDivisionError("secret of the code")


@pytest.mark.parametrize(
    "grader",
    [
        FixedGrader(failure="the engine is down"),
        Odd(),
        Odd((Verdict(0.5),)),
        Odd((Verdict(0.5, -7.0),) * 9),
        Odd((Verdict(0.5, math.nan),) * 9),
        Odd((Verdict(0.5),) * 100),
        FixedGrader(default=math.nan),
        FixedGrader(default=1.5),
        FixedGrader(default=-0.1),
    ],
)
@pytest.mark.parametrize("path", ["/score", "/v1/score", "/slime"])
def test_a_failed_grade_is_an_error_and_never_a_number(
    serving: Callable[..., TestClient], grader: FixedGrader, path: str
) -> None:
    bodies = {
        "/score": {"query": ["a"], "prompts": [""], "labels": ["K-R"]},
        "/v1/score": {"samples": [chat(category="K-R")]},
        "/slime": {"prompt": "a", "response": "b", "label": "K-R"},
    }
    client = serving(grader)
    response = client.post(path, json=bodies[path])
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "grader_failed"
    assert response.json().keys() == {"error"}
    assert 'rbr_failures_total{code="grader_failed"} 1.0' in client.get("/metrics").text


def test_a_bug_is_answered_without_its_traceback(serving: Callable[..., TestClient]) -> None:
    response = serving(Crash()).post("/score", json={"query": ["a"], "prompts": [""], "labels": ["K-R"]})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret" not in response.text
    assert "Traceback" not in response.text


def test_healthz_is_alive(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}


def test_readyz_tells_what_scores(client: TestClient) -> None:
    ready = client.get("/readyz")
    assert ready.status_code == 200
    body = ready.json()
    assert body["status"] == "ready"
    assert body["policy"] == "safety"
    assert body["versions"].keys() == VERSIONS
    assert body["versions"]["base_reward"] == "none"
    assert body["reward_version"] == labelled(client, "K-R")["reward_version"]
    assert body["grader"] == "lexical"
    assert " " in body["grader_note"]
    assert body["on_low_mass"] == "error"


def test_readyz_tells_what_becomes_of_low_label_mass(serving: Callable[..., TestClient]) -> None:
    ready = serving(on_low_mass="lower_bound", accept_mismatch=True).get("/readyz").json()
    assert ready["on_low_mass"] == "lower_bound"


def test_readyz_is_503_before_start_and_after_shutdown(make_state: MakeState) -> None:
    app = create_app(make_state())
    idle = TestClient(app)
    assert idle.get("/readyz").status_code == 503
    assert idle.get("/readyz").json()["status"] == "not_ready"
    with TestClient(app) as running:
        assert running.get("/readyz").status_code == 200
    assert idle.get("/readyz").status_code == 503


def test_metrics_hold_every_instrument_after_a_score(client: TestClient) -> None:
    labelled(client, "K-R")
    labelled(client, "None")
    client.post("/score", content="{")
    client.get("/nowhere/at/all")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    for line in (
        r'rbr_requests_total\{route="/score",status="200"\} 2\.0',
        r'rbr_requests_total\{route="other",status="404"\} 1\.0',
        r'rbr_request_seconds_count\{route="/score"\} 3\.0',
        r"rbr_in_flight 1\.0",
        r'rbr_samples_total\{class="\w+",response_type="hard_refusal"\} 1\.0',
        r'rbr_samples_total\{class="out_of_scope",response_type="out_of_scope"\} 1\.0',
        r'rbr_proposition_probability_count\{proposition="apology",response_type="hard_refusal"\} 1\.0',
        r"rbr_reward_count 2\.0",
        r'rbr_reward_reached_ratio_count\{response_type="hard_refusal"\} 1\.0',
        r'rbr_completion_characters_count\{response_type="out_of_scope"\} 1\.0',
        r'rbr_reward_length_correlation\{response_type="hard_refusal"\} NaN',
        r"rbr_ready 1\.0",
        r'rbr_serving_info\{policy="safety",reward_version="[0-9a-f]{64}"\} 1\.0',
        r"rbr_grader_calls_total 1\.0",
        r"rbr_grader_seconds_count 1\.0",
        r'rbr_failures_total\{code="not_found"\} 1\.0',
        r'rbr_failures_total\{code="grader_timeout"\} 0\.0',
    ):
        assert re.search(f"^{line}$", response.text, re.MULTILINE), line


def test_the_policy_in_force_is_told(client: TestClient) -> None:
    policy = client.get("/v1/policy").json()
    assert policy["policy"] == "safety"
    assert policy["version"] == client.get("/readyz").json()["versions"]["policy"]
    assert policy["response_type_hashes"].keys() == set(TYPES) == policy["weights"].keys()
    assert policy["question_hashes"].keys() == policy["content"]["propositions"].keys()
    assert policy["content"]["classes"][0] == "ideal"
    assert policy["reward_range"].keys() == set(TYPES)


def test_the_weights_intervals_are_told_where_the_fit_left_them(
    client: TestClient, make_state: MakeState, tmp_path: Path
) -> None:
    told = client.get("/v1/policy").json()
    fitted = json.loads((rules_folder() / "safety.lexical.json").read_text())
    kinds = fitted["origin"]["response_types"]
    assert told["weight_intervals"] == {name: kind["intervals"] for name, kind in kinds.items()}
    del kinds["comply"]["intervals"]
    kinds["hard_refusal"]["intervals"]["p:of_an_older_policy"] = {"low": 0, "high": 1}
    older = tmp_path / "older.json"
    older.write_text(json.dumps(fitted))
    again = TestClient(create_app(make_state(weights=older))).get("/v1/policy").json()
    assert again["weight_intervals"] == {**told["weight_intervals"], "comply": {}}
    assert again["reward_version"] == told["reward_version"]


def test_no_reward_lies_outside_the_range_that_is_told(client: TestClient) -> None:
    told = client.get("/v1/policy").json()["reward_range"]
    for text in (REFUSAL, "You should be ashamed.", "Here is how: 1. Do it."):
        for kind in TYPES:
            reward = labelled(client, kind, text)["rewards"][0]
            assert told[kind]["low"] <= reward <= told[kind]["high"]


def test_docs_work_without_internet(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page.text)
    assets = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert any(asset.endswith(".js") for asset in assets)
    assert any(asset.endswith(".css") for asset in assets)
    for asset in assets:
        assert client.get(asset).status_code == 200, asset
    assert "https://cdn" not in page.text


def test_a_label_may_carry_the_prompts_messages(client: TestClient) -> None:
    """The tokenizer put a space where the template has none, so that only the messages tell the end."""
    prompt, rendered = f"<s>[INST]{QUESTION}[/INST]", f"<s> [INST]{QUESTION} [/INST]"
    messages = [{"role": "user", "content": QUESTION}]
    label = json.dumps({"category": "K-R", "messages": messages})
    body = {"query": [f"{rendered} {REFUSAL}</s>"], "prompts": [prompt], "labels": [label]}
    assert posted(client, "/score", body) == labelled(client, "K-R")
