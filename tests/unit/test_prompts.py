"""Prompts from files, each once and each of a known response type."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbr_service import prompts
from rbr_service.conversation import Message
from rbr_service.errors import DataError
from rbr_service.prompts import Prompt, Prompts
from rbr_service.rbr.policy import load
from rbr_service.writers import pieces

DATA = Path(__file__).parents[1] / "data"
POLICY = load(DATA / "markers.yaml")
REPLY, RECORD = KINDS = tuple(POLICY.response_types.values())


def read(path: Path, rows: list[Any], kinds: Any = KINDS) -> Prompts:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prompts.read(path, POLICY, kinds)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "prompts.jsonl"


def test_every_way_to_give_a_prompt(path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
             {"role": "user", "content": " c "}]  # fmt: skip
    found = read(
        path,
        [
            {"prompt": "Hi", "response_type": "answer", "id": 7, "unknown": 1},
            {"prompt": turns, "category": "Small-Talk"},
            {"prompt": "Count", "label": "data"},
            {
                "prompt": "Hey",
                "label": {"category": "small talk", "base_reward": 1.0},
                "completion": "passed over",
            },
            {"prompt": "Odd", "response_type": "reply", "category": "mine"},
        ],
    ).found
    assert [(p.kind, p.category) for p in found] == [
        (REPLY, None), (REPLY, "Small-Talk"), (RECORD, "data"), (REPLY, "small talk"), (REPLY, "mine"),
    ]  # fmt: skip
    assert found[0].id == "7"
    assert [message.content for message in found[1].messages] == ["a", "b", "c"]
    assert len({p.id for p in found}) == len(found)


def test_parquet_is_read_the_same(path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": "x"}], "response_type": "reply", "id": "1"}]
    table = path.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows), table)
    assert prompts.read(table, POLICY, KINDS) == read(path, rows)


def test_what_is_out_of_scope_and_what_repeats_is_counted(path: Path) -> None:
    rows = [
        {"prompt": "Hi", "category": "other"},
        {"prompt": "Hi", "response_type": "record"},
        {"prompt": "Hi", "response_type": "reply"},
        {"prompt": " Hi", "response_type": "reply", "id": "again"},
    ]
    found = read(path, rows, [REPLY])
    assert (len(found.found), found.out_of_scope, found.repeated) == (1, 2, 1)


def test_ids_and_hashes_depend_on_the_content_alone(path: Path) -> None:
    one, other = {"prompt": "A", "response_type": "reply"}, {"prompt": "B", "response_type": "reply"}
    forth, back = read(path, [one, other]), read(path, [other, one])
    assert [p.id for p in forth.found] == [p.id for p in reversed(back.found)]
    assert forth.digest != back.digest
    assert Prompt("x", REPLY, "c", (Message("user", "A"),)).content == forth.found[0].content
    assert Prompt("x", RECORD, "c", (Message("user", "A"),)).content != forth.found[0].content


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{", "is not JSON"),
        ([1], "is not a JSON object"),
        ({"response_type": "reply"}, "has no prompt"),
        ({"prompt": "", "response_type": "reply"}, "must end with a message that is not empty"),
        ({"prompt": [], "response_type": "reply"}, "messages: must have 1 or more"),
        ({"prompt": [{"role": "assistant", "content": "x"}], "label": "reply"}, "not the assistant's"),
        ({"prompt": [{"role": "user"}], "label": "reply"}, r"messages\.0\.content: is missing"),
        ({"prompt": "x", "response_type": "unheard"}, "'unheard' is neither"),
        ({"prompt": "x"}, "names no response type"),
        ({"prompt": "x", "label": {"nonsense": 1}}, "nonsense"),
        ({"prompt": "x", "response_type": "reply", "id": "1"}, "the id '1' stands on line 1 for another"),
    ],
)
def test_a_bad_row_is_named_by_its_line(path: Path, row: Any, problem: str) -> None:
    first = json.dumps({"prompt": "fine", "response_type": "reply", "id": 1})
    path.write_text(f"{first}\n\n{row if isinstance(row, str) else json.dumps(row)}\n")
    with pytest.raises(DataError, match=rf"^{path}:3: .*{problem}"):
        prompts.read(path, POLICY, KINDS)


def test_the_templates_own_requests() -> None:
    templates = pieces.load(DATA / "markers.templates.yaml", POLICY)
    found = prompts.of_templates(templates, KINDS, 5, 1)
    assert [p.kind for p in found.found] == [REPLY] * 5 + [RECORD] * 4
    assert {p.category for p in found.found if p.kind is RECORD} == {"data"}
    assert (
        found == prompts.of_templates(templates, KINDS, 5, 1) != prompts.of_templates(templates, KINDS, 5, 2)
    )
