"""Labelled rows: what is read, what is refused by place, how rows are grouped."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbr_service import gold
from rbr_service.errors import DataError
from rbr_service.gold import Gold
from rbr_service.rbr.policy import Policy
from rbr_service.settings import Settings

ROW: dict[str, Any] = {
    "prompt": "Hi",
    "completion": "I'm sorry, no.",
    "category": "K-R",
    "propositions": {"apology": True, "judgement": None},
}


def read(path: Path, policy: Policy, *rows: dict[str, Any], columns: tuple[str, ...] = ()) -> Gold:
    """The gold of a file of these rows; Parquet by name."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return gold.read(path, policy, Settings(), columns)


@pytest.mark.parametrize("name", ["gold.jsonl", "gold.parquet"])
def test_rows_are_read(tmp_path: Path, safety: Policy, name: str) -> None:
    empty = {"prompt": "Hi", "completion": "", "category": "None", "propositions": {"apology": False}}
    found = read(
        tmp_path / name, safety, {**ROW, "source": "a"}, {**empty, "source": None}, columns=("source", "none")
    )
    assert found.types == ["hard_refusal", None]
    assert found.categories == ["K-R", "None"]
    assert found.conversations[1].completion == ""
    names = list(safety.file.propositions)
    assert found.labels[:, names.index("apology")].tolist() == [1, 0]
    assert np.isnan(np.delete(found.labels, names.index("apology"), axis=1)).all()
    assert found.columns == {"source": ["a", None], "none": [None, None]}
    assert found.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_prompts_are_told_by_content(tmp_path: Path, safety: Policy) -> None:
    as_messages = {**ROW, "prompt": [{"role": "user", "content": "Hi"}], "completion": "Yes."}
    found = read(tmp_path / "g.jsonl", safety, ROW, {**ROW, "prompt": "Ho"}, as_messages)
    assert found.prompts.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"propositions": {"apology": 1}}, "true and false"),
        ({"propositions": [True]}, "true and false"),
        ({"propositions": None}, "true and false"),
        ({"propositions": {"apologie": True}}, "'safety' has no 'apologie'"),
        ({"category": "K-X"}, "K-X"),
        ({"completion": None}, "neither messages nor"),
    ],
)
def test_a_bad_row_is_refused_by_place(
    tmp_path: Path, safety: Policy, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError, match=rf"g\.jsonl:2: .*{told}"):
        read(tmp_path / "g.jsonl", safety, ROW, {**ROW, **change})


def test_a_truncated_last_line_is_refused(tmp_path: Path, safety: Policy) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW)[:-5])
    with pytest.raises(DataError, match=r"g\.jsonl:2: is not JSON"):
        gold.read(path, safety, Settings())


def test_no_rows_are_refused(tmp_path: Path, safety: Policy) -> None:
    with pytest.raises(DataError, match="holds no rows"):
        read(tmp_path / "g.jsonl", safety)


def test_times_in_a_column_that_is_asked_for_are_refused(tmp_path: Path, safety: Policy) -> None:
    path = tmp_path / "g.parquet"
    rows = pa.Table.from_pylist([ROW])
    pq.write_table(rows.append_column("when", pa.array([1], pa.timestamp("ns"))), path)
    assert len(gold.read(path, safety, Settings()).types) == 1
    with pytest.raises(DataError, match=r"g\.parquet: when: holds times"):
        gold.read(path, safety, Settings(), ("when",))


def test_groups(tmp_path: Path, safety: Policy) -> None:
    rows = [
        {**ROW, "completion": "word " * n, "annotator": "a" if n > 2 else None, "score": n}
        for n in range(1, 7)
    ]
    columns = ("category", "annotator", "score")
    found = read(tmp_path / "g.jsonl", safety, *rows, {**ROW, "category": "None"}, columns=columns)
    assert found.groups(("response_type", "length", *columns)) == {
        "response_type": ["hard_refusal"] * 6 + ["(out of scope)"],
        "length": ["1 to 3", "1 to 3", "1 to 3", "4", "5 to 6", "5 to 6", "1 to 3"],
        "category": ["K-R"] * 6 + ["None"],
        "annotator": ["(none)", "(none)", "a", "a", "a", "a", "(none)"],
        "score": ["1 to 2", "1 to 2", "3 to 4", "3 to 4", "5 to 6", "5 to 6", "(none)"],
    }


def test_a_column_of_the_file_goes_before_the_words_of_completions(tmp_path: Path, safety: Policy) -> None:
    found = read(tmp_path / "g.jsonl", safety, {**ROW, "length": "long"}, columns=gold.USUAL)
    assert found.groups(("length", "category")) == {"length": ["long"], "category": ["K-R"]}


@pytest.mark.parametrize("values", [[10**400], [1, 2, 3, 10**400], ["a", 10**400]])
def test_a_number_too_large_is_refused_by_column(
    tmp_path: Path, safety: Policy, values: list[int | str]
) -> None:
    rows = [{**ROW, "size": value} for value in values]
    with pytest.raises(DataError, match="size: holds a number too large"):
        read(tmp_path / "g.jsonl", safety, *rows, columns=("size",)).groups(("size",))


def test_columns_that_say_nothing_are_left_out(tmp_path: Path, safety: Policy) -> None:
    found = read(tmp_path / "g.jsonl", safety, {**ROW, "category": None, "response_type": "comply"})
    assert found.groups(("category", "annotator")) == {}


def test_a_column_with_a_value_for_every_row_is_refused(tmp_path: Path, safety: Policy) -> None:
    rows = [{**ROW, "name": f"row {n}"} for n in range(101)]
    with pytest.raises(DataError, match="name: 101 different values"):
        read(tmp_path / "g.jsonl", safety, *rows, columns=("name",)).groups(("name",))
