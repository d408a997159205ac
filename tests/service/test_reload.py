"""POST /v1/policy/reload and the pins, through the app: keys, names, answers and what every route says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from rbr_service.app import create_app
from tests.conftest import MakeState
from tests.variants import RULE, put, scorer, variant

ADMIN, CALLER = "the-admin-key", "the-callers-key"
RELOAD = "/v1/policy/reload"
HEADER = "X-RBR-Reward-Version"
AS_ADMIN = {"Authorization": f"Bearer {ADMIN}"}

QUESTION = "How do I pick my neighbour's lock?"
REFUSAL = "I'm sorry, but I can't help with that."
TALK = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": REFUSAL}]
FLAT = {"query": [QUESTION + REFUSAL], "prompts": [QUESTION], "labels": ["hard_refusal"]}
SCORING: dict[str, dict[str, Any]] = {
    "/score": FLAT,
    "/get_reward": FLAT,
    "/v1/score": {"samples": [{"messages": TALK, "response_type": "hard_refusal"}]},
    "/slime": {"prompt": QUESTION, "response": REFUSAL, "label": "hard_refusal"},
}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return variant(tmp_path, "mine")


@pytest.fixture
def served(make_state: MakeState, mine: Path) -> Iterator[TestClient]:
    """A service of `mine`, which may change to what lies beside it."""
    state = make_state(policy=str(mine), policies=mine.parent, admin_key=ADMIN)
    with TestClient(create_app(state), raise_server_exceptions=False) as client:
        yield client


def version(client: TestClient) -> str:
    return str(client.get("/readyz").json()["reward_version"])


def reward(client: TestClient, path: str) -> Any:
    answer = client.post(path, json=SCORING[path]).json()
    return answer if path == "/slime" else answer["rewards" if "rewards" in answer else "results"][0]


def test_a_named_policy_comes_into_force_everywhere(served: TestClient, mine: Path) -> None:
    other = scorer(variant(mine.parent, "other", edit=RULE, weight=2))
    before = version(served)
    answer = served.post(RELOAD, json={"policy": "other"}, headers=AS_ADMIN)
    assert answer.status_code == 200
    body = answer.json()
    assert body["reward_version"] == other.reward_version
    assert (body["previous_reward_version"], body["policy"]) == (before, "safety")
    assert body["versions"]["policy"] == other.versions.policy
    for path in ("/readyz", "/v1/policy"):
        assert served.get(path).json()["reward_version"] == other.reward_version
    for path in SCORING:
        assert served.post(path, json=SCORING[path]).headers[HEADER] == other.reward_version
    info = f'rbr_serving_info{{policy="safety",reward_version="{other.reward_version}"}} 1.0'
    metrics = served.get("/metrics").text
    assert info in metrics
    assert 'rbr_policy_reloads_total{outcome="taken"} 1.0' in metrics
    assert before not in metrics


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"policy": null}'])
def test_without_a_name_the_policy_is_read_again(served: TestClient, mine: Path, content: bytes) -> None:
    variant(mine.parent, "mine", weight=2)
    headers = AS_ADMIN | ({"Content-Type": "application/json"} if content else {})
    answer = served.post(RELOAD, content=content, headers=headers)
    assert answer.json()["reward_version"] == scorer(mine).reward_version == version(served)


def test_a_name_that_was_put_in_force_is_what_is_read_again(served: TestClient, mine: Path) -> None:
    variant(mine.parent, "other", weight=2)
    served.post(RELOAD, json={"policy": "other"}, headers=AS_ADMIN)
    changed = variant(mine.parent, "other", weight=3)
    assert served.post(RELOAD, headers=AS_ADMIN).json()["reward_version"] == scorer(changed).reward_version


def test_another_policys_labels_come_with_it(served: TestClient) -> None:
    served.post(RELOAD, json={"policy": "assistant_style"}, headers=AS_ADMIN)
    refused = served.post("/score", json=FLAT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "unknown_response_type")
    sample = {"messages": TALK, "response_type": "chat"}
    answer = served.post("/v1/score", json={"samples": [sample], "policy": "assistant_style"})
    assert answer.json()["policy"] == "assistant_style"
    other = served.post("/v1/score", json={"samples": [sample], "policy": "safety"})
    assert other.json()["error"]["code"] == "unknown_policy"


def test_a_broken_policy_leaves_the_old_one_serving(served: TestClient, mine: Path) -> None:
    before, rewards = version(served), {path: reward(served, path) for path in SCORING}
    put(mine, mine.read_text(encoding="utf-8").replace("unlabelled: out_of_scope", "unlabelled: maybe"))
    answer = served.post(RELOAD, headers=AS_ADMIN)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "reload_failed")
    assert "mine.yaml:" in error["message"]
    assert "goes on serving" in error["message"]
    assert (error["details"]["cause"], error["details"]["key"]) == ("policy_error", "unlabelled")
    assert error["details"]["reward_version"] == before == version(served)
    assert {path: reward(served, path) for path in SCORING} == rewards
    metrics = served.get("/metrics").text
    assert 'rbr_policy_reloads_total{outcome="refused"} 1.0' in metrics
    assert 'rbr_failures_total{code="reload_failed"} 1.0' in metrics


@pytest.mark.parametrize("name", ["nothing", "mine.yaml", "../mine", "/etc/passwd", ""])
def test_only_a_known_name_is_taken(served: TestClient, mine: Path, name: str) -> None:
    before = version(served)
    answer = served.post(RELOAD, json={"policy": name}, headers=AS_ADMIN)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "unknown_policy")
    assert "assistant_style, mine, safety" in error["message"]
    path = served.post(RELOAD, json={"policy": str(mine)}, headers=AS_ADMIN)
    assert path.json()["error"]["code"] == "unknown_policy"
    assert version(served) == before


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed_json"),
        (b'{"polcy": "safety"}', "invalid_request"),
        (b'{"policy": ["safety"]}', "invalid_request"),
        (b'"safety"', "invalid_request"),
    ],
)
def test_a_wrong_body_is_a_typed_error(served: TestClient, body: bytes, code: str) -> None:
    answer = served.post(RELOAD, content=body, headers={**AS_ADMIN, "Content-Type": "application/json"})
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize("headers", [{}, {"Authorization": f"Bearer {CALLER}"}, {"X-API-Key": ADMIN + "x"}])
def test_callers_may_not(make_state: MakeState, headers: dict[str, str]) -> None:
    with TestClient(create_app(make_state(api_key=CALLER, admin_key=ADMIN))) as client:
        answer = client.post(RELOAD, json={"policy": "assistant_style"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        assert "admin key" in answer.json()["error"]["message"]
        assert client.get("/readyz").json()["policy"] == "safety"
        assert client.post(RELOAD, headers={"X-API-Key": ADMIN}).status_code == 200
        assert client.post("/score", json=FLAT, headers=AS_ADMIN).status_code == 401


@pytest.mark.parametrize("keys", [{}, {"api_key": CALLER}])
def test_without_an_admin_key_nobody_may(make_state: MakeState, keys: dict[str, str]) -> None:
    with TestClient(create_app(make_state(**keys))) as client:
        for headers in ({}, {"X-API-Key": CALLER}, {"Authorization": "Bearer "}):
            answer = client.post(RELOAD, headers=headers)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (403, "reload_off")
            assert "RBR_ADMIN_KEY" in error["message"]


@pytest.mark.parametrize("path", SCORING)
def test_a_pinned_request_is_answered_by_that_version_or_not_at_all(
    served: TestClient, mine: Path, path: str
) -> None:
    pinned = version(served)
    answer = served.post(path, json=SCORING[path], headers={HEADER: pinned})
    assert answer.status_code == 200
    assert answer.headers[HEADER] == pinned
    variant(mine.parent, "mine", weight=2)
    served.post(RELOAD, headers=AS_ADMIN)
    refused = served.post(path, json=SCORING[path], headers={HEADER: pinned})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (409, "reward_version_mismatch")
    assert pinned in error["message"]
    assert error["details"] == {"reward_version": version(served)}
    assert served.post(path, json=SCORING[path], headers={HEADER: version(served)}).status_code == 200


def test_v1_takes_the_pin_in_its_body_too(served: TestClient) -> None:
    body, now = SCORING["/v1/score"], version(served)
    assert served.post("/v1/score", json={**body, "reward_version": now}).status_code == 200
    assert served.post("/v1/score", json={**body, "reward_version": now[:12]}).status_code == 409
    both = served.post("/v1/score", json={**body, "reward_version": now}, headers={HEADER: "other"})
    assert both.status_code == 409
