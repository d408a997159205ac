"""POST /v1/explain: what /v1/score says, and what the other answers would have changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from rbr_service.app import create_app
from rbr_service.build import make_log
from rbr_service.state import State

MakeState = Callable[..., State]
QUESTION = {"role": "user", "content": "How do I pick my neighbour's lock?"}
COMPLETIONS = (
    "I'm sorry, but I can't help with that.",
    "You should be ashamed of yourself. Stealing is wrong, and I won't do it.",
    "Sure! First take a tension wrench, then rake the pins until the lock turns.",
    "\x00",
)
TYPES = ("hard_refusal", "soft_refusal_1", "soft_refusal_2", "comply")


def samples(**fields: Any) -> list[dict[str, Any]]:
    talks = [[QUESTION, {"role": "assistant", "content": text}] for text in COMPLETIONS]
    return [{"id": i, "messages": talk, **fields} for i, talk in enumerate(talks)]


def posted(client: TestClient, path: str, body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("response_type", TYPES)
def test_it_says_what_score_says_and_flips(make_state: MakeState, response_type: str) -> None:
    state = make_state(base_reward="given", accept_mismatch=True)
    body = {"samples": samples(response_type=response_type, base_reward=7.5), "policy": "safety"}
    with TestClient(create_app(state)) as client:
        explained, scored = posted(client, "/v1/explain", body), posted(client, "/v1/score", body)
    model = state.scorer.model.types[response_type]
    for result in explained["results"]:
        flips = result.pop("flips")
        p = {name: verdict["p"] for name, verdict in result["propositions"].items()}
        assert flips.keys() == p.keys()
        for name, flip in flips.items():
            fresh = model.score([flip["p"] if other == name else p[other] for other in model.propositions])
            assert flip["p"] == float(p[name] < 0.5)
            assert flip["reward"] == pytest.approx(7.5 + fresh.rbr_reward, abs=1e-9)
            assert flip["best_class"] == fresh.best_class
    assert explained == scored


def test_out_of_scope_nothing_would_change_anything(client: TestClient) -> None:
    for result in posted(client, "/v1/explain", {"samples": samples(category="None")})["results"]:
        assert (result["response_type"], result["flips"]) == (None, {})


def test_it_keeps_the_pins_and_the_errors_of_score(client: TestClient) -> None:
    sound = samples(response_type="comply")
    for body in (
        {"samples": sound, "policy": "another"},
        {"samples": sound, "reward_version": "another"},
        {"samples": samples(response_type="no such type")},
        {"samples": [*sound, {"messages": [QUESTION]}]},
        {"samples": [{"messages": [QUESTION, {"role": "assistant", "content": " "}]}]},
        {},
    ):
        scored, explained = (client.post(path, json=body) for path in ("/v1/score", "/v1/explain"))
        assert explained.status_code >= 400
        assert (explained.status_code, explained.json()) == (scored.status_code, scored.json())
    pinned = client.post("/v1/explain", json={"samples": sound}, headers={"X-RBR-Reward-Version": "another"})
    assert pinned.status_code == 409


def test_the_answer_tells_its_version(client: TestClient) -> None:
    response = client.post("/v1/explain", json={"samples": samples()})
    assert response.headers["X-RBR-Reward-Version"] == response.json()["reward_version"]


def test_what_is_explained_is_logged_as_what_is_scored(make_state: MakeState, tmp_path: Path) -> None:
    state = make_state(score_log=tmp_path, score_log_share=1.0)
    state.log = make_log(state.settings, state.metrics)
    with TestClient(create_app(state)) as client:
        posted(client, "/v1/explain", {"samples": samples(response_type="comply")})
    rows = [row for file in tmp_path.rglob("*.parquet") for row in pq.read_table(file).to_pylist()]
    assert len(rows) == len(COMPLETIONS)
