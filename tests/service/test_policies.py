"""GET /v1/policies and /v1/policy/diff: names, what changed, what it voids here, files that are broken."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from rbr_service import policies
from rbr_service.app import create_app
from rbr_service.build import make_scorer, rules_folder
from rbr_service.encoder import Encoder
from rbr_service.graders import layout
from rbr_service.graders.cache import MemoryCache
from rbr_service.graders.llm import LLMGrader
from rbr_service.metrics import Metrics
from rbr_service.rbr import policy
from rbr_service.rbr.policy import Policy, load
from rbr_service.settings import Settings
from rbr_service.state import State
from tests import tokenizer
from tests.conftest import MakeState
from tests.engine import HashEngine
from tests.variants import QUESTION, RULE, put, variant

LIST, DIFF = "/v1/policies", "/v1/policy/diff"
TYPES = ["hard_refusal", "soft_refusal_1", "soft_refusal_2", "comply"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return variant(tmp_path, "mine")


@pytest.fixture
def state(make_state: MakeState, mine: Path) -> State:
    return make_state(policy=str(mine), policies=mine.parent)


@pytest.fixture
def served(state: State) -> Iterator[TestClient]:
    with TestClient(create_app(state), raise_server_exceptions=False) as client:
        yield client


def differs(client: TestClient, new: str, **old: str) -> Any:
    response = client.get(DIFF, params={"new": new, **old})
    assert response.status_code == 200, response.text
    return response.json()


def refused(client: TestClient, **names: str) -> Any:
    response = client.get(DIFF, params=names)
    assert response.status_code == 422, response.text
    return response.json()["error"]


def test_the_names_are_the_configured_one_those_of_the_folder_and_the_shipped(
    served: TestClient, mine: Path
) -> None:
    variant(mine.parent, "other")
    assert served.get(LIST).json() == {
        "in_force": "mine", "policies": ["assistant_style", "mine", "other", "safety"]
    }  # fmt: skip


def test_what_a_reload_would_change_is_told(served: TestClient, mine: Path) -> None:
    assert differs(served, "mine")["same"]
    variant(mine.parent, "mine", edit=QUESTION)
    told = differs(served, "mine")
    assert not told["same"]
    assert (told["old"]["name"], told["new"]["name"]) == (None, "mine")
    assert told["new"]["version"] == load(mine).version != told["old"]["version"]
    [question] = told["questions"]
    assert (question["name"], question["how"]) == ("apology", "changed")
    assert [QUESTION[0] in question["old"]["question"], QUESTION[1] in question["new"]["question"]] == [
        True
    ] * 2
    assert question["old"]["definition"] == question["new"]["definition"] != ""
    assert told["void"] == {"response_types": ["hard_refusal"], "because": []}
    assert [(kind["name"], kind["questions"]) for kind in told["response_types"]] == [
        ("hard_refusal", ["apology"])
    ]
    assert told["layout"] is None
    assert served.get("/v1/policy").json()["version"] == told["old"]["version"], "nothing was put in force"


def test_two_files_are_compared_as_they_are_on_disk(served: TestClient, mine: Path) -> None:
    variant(mine.parent, "other", edit=RULE)
    told = differs(served, "other", old="safety")
    assert (told["old"]["name"], told["new"]["name"]) == ("safety", "other")
    assert told["questions"] == []
    [derived] = told["derived"]
    assert derived["old"] == derived["new"].replace(
        "requests_information", "requests_information and not encourage_professional_help"
    )
    [kind] = told["response_types"]
    ideal = {"name": "ideal", "how": "changed", "old": "correct_refusal", "new": "correct_refusal"}
    assert kind["rules"][0] == {**ideal, "through": ["correct_refusal"]}
    assert told["graded_again"] == {"book": [], "conversation-first": [], "released": []}
    back = differs(served, "safety", old="other")
    assert back["derived"][0]["new"] == derived["old"]


def test_keys_are_told_by_their_place_whatever_stands_there(served: TestClient, mine: Path) -> None:
    variant(mine.parent, "other", edit=("\nunlabelled: out_of_scope", "\nunlabelled: comply"))
    told = differs(served, "other")
    assert told["other"] == [{"place": ["unlabelled"], "old": "out_of_scope", "new": "comply"}]
    assert told["void"] == {"response_types": [], "because": []}


def test_another_policys_weights_are_void_by_its_name(served: TestClient) -> None:
    told = differs(served, "assistant_style")
    assert told["void"]["response_types"] == TYPES
    assert "'safety' is not 'assistant_style'" in told["void"]["because"][0]
    assert told["needs_weights"] == ["chat", "data", "how_to"]
    assert {"place": ["policy"], "old": "safety", "new": "assistant_style"} in told["other"]


def test_other_cues_void_all_weights_of_the_lexical_grader(served: TestClient, mine: Path) -> None:
    cues = mine.with_suffix(".lexical.yaml")
    put(cues, cues.read_text(encoding="utf-8").replace("\n    bias: -", "\n    bias: -1", 1))
    told = differs(served, "mine")
    assert told["same"]
    assert told["void"]["response_types"] == TYPES
    assert told["void"]["because"] == ["the lexical grader has other cues for it"]


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_policy_without_cues_can_be_compared_and_no_weights_serve_it(
    served: TestClient, mine: Path, side: str
) -> None:
    variant(mine.parent, "other", edit=QUESTION).with_suffix(".lexical.yaml").unlink()
    told = differs(served, "other") if side == "new" else differs(served, "mine", old="other")
    assert [question["name"] for question in told["questions"]] == ["apology"]
    [because] = told["void"]["because"]
    assert because.startswith(f"the grader cannot judge the {side} policy: other.lexical.yaml")
    assert str(mine.parent) not in because


def test_a_calibrated_question_that_changes_voids_all(make_state: MakeState, mine: Path) -> None:
    safety = load(mine)
    fitted = json.loads(mine.with_suffix(".lexical.json").read_text())
    curve = {"slope": 1.5, "offset": 0.0, "n": 40, "positives": 20}
    put(
        mine.with_suffix(".lexical.calibration.json"),
        json.dumps(
            {
                "grader": fitted["grader"],
                "propositions": {"apology": curve},
                "questions": {"apology": safety.question_hashes["apology"]},
            }
        ),
    )
    client = TestClient(create_app(make_state(policy=str(mine), policies=mine.parent, accept_mismatch=True)))
    assert differs(client, "mine")["void"] == {"response_types": [], "because": []}
    variant(mine.parent, "other", edit=QUESTION)
    void = differs(client, "other")["void"]
    assert void["response_types"] == TYPES
    assert void["because"] == ["the calibration was fitted on the old wording of apology"]


@pytest.mark.parametrize(("name", "all_void"), [("book", True), ("conversation-first", False)])
def test_the_layout_in_force_decides_what_a_reworded_question_voids(
    mine: Path, safety: Policy, tmp_path: Path, name: str, all_void: bool
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer.save_tokenizer(folder)
    grader = LLMGrader(
        safety, Encoder.load(str(folder)), layout.load(name), HashEngine(), MemoryCache(1000), Metrics(),
        concurrency=8, deadline=None, min_label_mass=0.5,
    )  # fmt: skip
    variant(mine.parent, "other", edit=QUESTION)
    chosen = Settings(
        policy=str(mine), policies=mine.parent, weights=mine.with_suffix(".lexical.json"), layout=name,
        grader="openai", grader_model="m", grader_url="http://127.0.0.1:1", accept_mismatch=True,
    )  # fmt: skip
    metrics = Metrics()
    state = State(chosen, metrics, make_scorer(chosen, metrics, grader))
    told = differs(TestClient(create_app(state)), "other")
    assert told["layout"] == name
    assert told["void"]["response_types"] == (TYPES if all_void else ["hard_refusal"])
    assert [name in because for because in told["void"]["because"]] == [True] * all_void
    assert told["graded_again"]["book"] == list(safety.file.propositions)
    assert told["graded_again"]["conversation-first"] == ["apology"]


def test_a_broken_file_is_told_by_name_line_and_key(served: TestClient, mine: Path) -> None:
    text = mine.read_text(encoding="utf-8")
    put(mine, text.replace("unlabelled: out_of_scope", "unlabelled: maybe"))
    line = 1 + text.splitlines().index("unlabelled: out_of_scope")
    for names in ({"new": "mine"}, {"new": "safety", "old": "mine"}):
        error = refused(served, **names)
        assert error["code"] == "unreadable_policy"
        assert error["message"].startswith(f"mine.yaml:{line}: unlabelled: ")
        assert error["details"] == {"file": "mine.yaml", "line": line, "key": "unlabelled"}
    put(mine, text.replace("\nrules:", "\nrules: [", 1))
    assert "mine.yaml" in refused(served, new="mine")["message"]
    mine.unlink()
    assert "cannot be read" in refused(served, new="mine")["message"]
    assert served.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "name", ["", ".", "../safety", "/etc/passwd", "mine.yaml", "mine.lexical", "\x00", "é"]
)
def test_a_name_is_looked_up_and_never_a_path(served: TestClient, name: str) -> None:
    for names in ({"new": name}, {"new": "mine", "old": name}):
        error = refused(served, **names)
        assert error["code"] == "unknown_policy"
        assert "assistant_style, mine, safety" in error["message"]


def test_without_a_new_one_there_is_nothing_to_compare(served: TestClient) -> None:
    assert refused(served)["message"].startswith("new: ")


def test_both_need_the_key(make_state: MakeState) -> None:
    client = TestClient(create_app(make_state(api_key="the-callers-key")))
    for path in (LIST, f"{DIFF}?new=safety"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer the-callers-key"}).status_code == 200


def test_proving_a_policy_keeps_nobody_waiting(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def held(path: Path) -> Policy:
        reading.set()
        go_on.wait()
        return policy.load(path)

    monkeypatch.setattr(policies, "load", held)

    async def scenario() -> tuple[int, bool, int]:
        transport = httpx2.ASGITransport(create_app(state))
        async with httpx2.AsyncClient(transport=transport, base_url="http://here") as client:
            comparing = asyncio.create_task(client.get(DIFF, params={"new": "safety"}))
            await asyncio.to_thread(reading.wait)
            alive = await client.get("/healthz")
            waiting = not comparing.done()
            go_on.set()
            return alive.status_code, waiting, (await comparing).status_code

    assert asyncio.run(scenario()) == (200, True, 200)


def test_shipped_policies_are_read_from_the_package(client: TestClient) -> None:
    told = differs(client, "assistant_style", old="safety")
    assert told["new"]["version"] == load(rules_folder() / "assistant_style.yaml").version
