"""The dataset's check: every label asked of the real service, once, and faults by file and line."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbr_service.graders.fixed import FixedGrader
from rbr_trainer.address import Address
from rbr_trainer.preflight import Finding, Plan, examine
from rbr_trainer.preflight.labels import MOST, labels
from rbr_trainer.service import Range
from tests.conftest import MakeState
from tests.trainer.serving import service

ASKED = [{"role": "user", "content": "Why do locks have pins?"}]


def plan(netloc: str, path: Path, **given: Any) -> Plan:
    return Plan((Address(f"http://{netloc}"),), Range(-10.0, 10.0), dataset=path, concurrency=1, **given)


def looked(netloc: str, path: Path, base_reward: str = "none", **given: Any) -> Finding:
    return asyncio.run(labels(plan(netloc, path, **given), path, base_reward))


def written(tmp_path: Path, *found: Any) -> Path:
    """A dataset of these labels; bytes are lines as they are."""
    path = tmp_path / "prompts.jsonl"
    lines = [one if isinstance(one, bytes) else row(one) for one in found]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def row(label: Any) -> bytes:
    return json.dumps({"messages": ASKED, "label": label}).encode()


def test_each_distinct_label_is_asked_once(make_state: MakeState, tmp_path: Path) -> None:
    grader = FixedGrader()
    forms = [
        "hard_refusal",
        "K-R",
        {"category": "K-R"},
        '{"category": "K-R", "messages": null}',
        {"response_type": "comply", "messages": ASKED},
        {"response_type": "comply", "messages": [*ASKED, *ASKED]},
        None,
        "",
    ]
    path = written(tmp_path, *forms * 50)
    with service(make_state(grader)) as netloc:
        finding = looked(netloc, path)
    assert finding.passed, finding
    assert "400 rows with 5 distinct labels" in finding.detail
    assert grader.calls <= 4  # not the empty label, which is out of the policy's scope


def test_an_unknown_label_is_told_by_file_and_line(make_state: MakeState, tmp_path: Path) -> None:
    path = written(tmp_path, "comply", "hard_refusal", "no_such_type", "comply", "no_such_type")
    with service(make_state()) as netloc:
        finding = asyncio.run(examine(plan(netloc, path)))[5]
    assert finding.name == "dataset"
    assert not finding.passed
    assert f"{path}:3: " in finding.remedy
    assert "unknown_response_type" in finding.remedy
    assert "so do 1 more rows" in finding.remedy
    assert finding.remedy.count("\n") == 0


NO_NUMBERS = [
    b'{"messages": "Hi", "label": {"response_type": "comply", "base_reward": NaN}}',
    b'{"messages": "Hi", "label": {"response_type": "comply", "base_reward": -Infinity}}',
    b'{"messages": "Hi", "label": {"response_type": "comply", "base_reward": 1e999}}',
    rb'{"messages": "Hi", "label": "{\"response_type\": \"comply\", \"base_reward\": NaN}"}',
]


@pytest.mark.parametrize("line", NO_NUMBERS)
def test_a_base_reward_that_is_no_number(make_state: MakeState, tmp_path: Path, line: bytes) -> None:
    sound = {"response_type": "comply", "base_reward": 0.5}
    path = written(tmp_path, sound, line, sound)
    with service(make_state(base_reward="given", accept_mismatch=True)) as netloc:
        finding = looked(netloc, path, "given")
    assert not finding.passed
    assert f"{path}:2: the label's base_reward: input should be a finite number" in finding.remedy


def test_nan_in_parquet(make_state: MakeState, tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    found = [{"response_type": "comply", "base_reward": value} for value in (0.5, float("nan"))]
    pq.write_table(pa.table({"messages": [ASKED, ASKED], "label": found}), path)
    with service(make_state(base_reward="given", accept_mismatch=True)) as netloc:
        finding = looked(netloc, path, "given")
    assert finding.remedy.startswith(f"{path}:2: the label's base_reward: input should be a finite number")


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("comply", "no_base_reward"),
        ({"response_type": "comply", "base_reward": 2e6}, "less than or equal to 1000000"),
    ],
)
def test_base_rewards_that_a_service_for_given_ones_refuses(
    make_state: MakeState, tmp_path: Path, label: Any, code: str
) -> None:
    path = written(tmp_path, {"response_type": "comply", "base_reward": -3}, label)
    with service(make_state(base_reward="given", accept_mismatch=True)) as netloc:
        finding = looked(netloc, path, "given")
    assert not finding.passed
    assert f"{path}:2: " in finding.remedy
    assert code in finding.remedy


def test_base_rewards_that_the_service_would_not_use(make_state: MakeState, tmp_path: Path) -> None:
    path = written(tmp_path, "comply", {"response_type": "comply", "base_reward": 0.5})
    with service(make_state()) as netloc:
        finding = looked(netloc, path)
    assert f"{path}:2: the label brings a base_reward" in finding.remedy
    assert "--base-reward given" in finding.remedy


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"messages": "Hi"}', "has no 'label'"),
        (b'{"label": "comply"}', "has no 'messages'"),
        (b'{"messages": [], "label": "comply"}', "'messages' is not a text or messages"),
        (b'{"messages": [{"role": "user"}], "label": "comply"}', "is not a text or messages"),
        (b'{"messages": "Hi", "label": 3}', "neither text nor an object"),
        (b'{"messages": "Hi", "label": "{"}', "is not sound"),
        (b'{"messages": "Hi", "label": {"responsetype": "comply"}}', "responsetype: is not known here"),
        (
            b'{"messages": "Hi", "label": {"messages": [{"role": 1, "content": ""}]}}',
            "messages.0.role: input should be",
        ),
        (b'{"messages": "\\ud800", "label": "comply"}', "surrogate"),
    ],
)
def test_a_row_that_cannot_be_used(make_state: MakeState, tmp_path: Path, line: bytes, told: str) -> None:
    path = written(tmp_path, "comply", line, "hard_refusal")
    with service(make_state()) as netloc:
        finding = looked(netloc, path)
    assert not finding.passed
    assert finding.remedy.startswith(f"{path}:2: ")
    assert told in finding.remedy


def test_messages_need_a_chat_template(make_state: MakeState, tmp_path: Path) -> None:
    with service(make_state()) as netloc:
        finding = looked(netloc, written(tmp_path, "comply"), apply_chat_template=False)
    assert "no chat template is applied" in finding.remedy


def test_many_faults_are_counted(make_state: MakeState, tmp_path: Path) -> None:
    path = written(tmp_path, *[b"{"] * 12)
    with service(make_state()) as netloc:
        finding = looked(netloc, path)
    assert finding.remedy.splitlines()[-1] == f"{path}: and 7 more faults"


def test_a_column_that_holds_no_labels(make_state: MakeState, tmp_path: Path) -> None:
    grader = FixedGrader()
    path = written(tmp_path, *(f"text {number}" for number in range(MOST + 50)))
    with service(make_state(grader)) as netloc:
        finding = asyncio.run(examine(plan(netloc, path)))[5]
    assert f"{path}:{MOST + 1}: over {MOST} distinct labels" in finding.remedy


def test_a_dataset_without_rows(make_state: MakeState, tmp_path: Path) -> None:
    with service(make_state()) as netloc:
        assert looked(netloc, written(tmp_path)).remedy.endswith("has no rows")
