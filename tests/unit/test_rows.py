"""Rows of JSONL and Parquet files: the same samples from both, bad rows told one by one."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbr_service.errors import DataError, RequestError
from rbr_service.rows import is_parquet, read, sample

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("name", ["a.parquet", "a.PQ", "b/c.Parquet"])
def test_parquet_is_told_by_name(name: str) -> None:
    assert is_parquet(Path(name))
    assert not is_parquet(Path(name).with_suffix(".jsonl"))


def test_both_formats_give_the_same_samples(tmp_path: Path, jsonl: Path) -> None:
    rows = [
        {"id": "a", "messages": TALK, "category": "K-R", "base_reward": 1.5},
        {"id": None, "messages": TALK, "category": None, "base_reward": None},
    ]
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    parquet = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    taken = [
        [(n, sample(row)) for n, row in read(path) if isinstance(row, dict)] for path in (jsonl, parquet)
    ]
    assert taken[0] == taken[1]
    assert [number for number, _ in taken[0]] == [1, 2]
    assert taken[0][0][1].base_reward == 1.5


def test_lines_are_counted_over_blank_ones(jsonl: Path) -> None:
    jsonl.write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n\n  \n{"id": 2}')
    assert list(read(jsonl)) == [(1, {"id": 1}), (4, {"id": 2})]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "is not JSON"), (b"[1]", "is not a JSON object"), (b"5", "is not a JSON object"),
        (b'{"id": "\xff"}', "UTF-8"), (b'{"id": "\\ud800"}', "surrogate"), (b'{"id": 1, "id": 2}', "twice"),
        (b"[" * 99_999, "too deeply"), (b'{"id": 1' + b"0" * 5000 + b"}", "is not JSON"),
    ],
)  # fmt: skip
def test_a_bad_line_is_told_and_the_next_is_read(jsonl: Path, line: bytes, told: str) -> None:
    jsonl.write_bytes(line + b'\n{"id": 2}\n')
    (number, bad), good = read(jsonl)
    assert number == 1
    assert isinstance(bad, RequestError)
    assert told in bad.message
    assert good == (2, {"id": 2})


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TALK},
        {"prompt": "Hi", "completion": "Hello"},
        {"prompt": TALK[:1], "completion": TALK[1:]},
        {"prompt": TALK[:1], "completion": TALK[1]},
        {"prompt": "Hi", "completion": "Hello", "messages": None, "reward": 5},
    ],
)
def test_shapes_of_a_row(row: dict[str, Any]) -> None:
    assert [m.model_dump() for m in sample(row).messages] == TALK


@pytest.mark.parametrize("prompt", [None, "", []])
def test_a_row_may_have_no_prompt(prompt: Any) -> None:
    assert len(sample({"prompt": prompt, "completion": "Hello"}).messages) == 1


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({}, "neither messages nor prompt and completion"),
        ({"prompt": "Hi"}, "neither messages nor prompt and completion"),
        ({"messages": "Hi"}, "messages: "),
        ({"messages": []}, "messages: "),
        ({"messages": TALK[:1]}, "content: the last message must be the assistant's"),
        ({"prompt": "Hi", "completion": 5}, r"messages\.1: "),
        ({"prompt": 5, "completion": "Hello"}, r"messages\.0: "),
        ({"messages": TALK, "base_reward": float("nan")}, "base_reward: "),
        ({"messages": TALK, "category": 5}, "category: "),
    ],
)
def test_bad_rows_say_what_is_wrong(row: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        sample(row)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 but not really")
    for path in (tmp_path / "none.jsonl", tmp_path / "none.parquet", tmp_path, broken):
        with pytest.raises(DataError, match=path.name):
            list(read(path))


def test_columns_nobody_reads_may_hold_what_python_cannot(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    when = pa.array([1], pa.timestamp("ns"))
    pq.write_table(pa.table({"prompt": ["Hi"], "completion": ["Yes"], "when": when}), path)
    [(_, row)] = read(path)
    assert isinstance(row, dict)
    assert sample(row).messages[-1].content == "Yes"


def test_a_trainers_label_column_is_read() -> None:
    row = {"prompt": "Hi", "completion": "No.", "label": '{"category": "K-R", "base_reward": 2}'}
    assert (sample(row).response_type, sample(row).base_reward) == ("K-R", 2)
    assert sample(row | {"response_type": "comply"}).response_type == "comply"
