"""Rows of JSONL, Parquet and saved datasets; what is wrong with them is told all at once."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbr_trainer.data.rows import count, each, read
from rbr_trainer.errors import InputError

ROWS: list[dict[str, Any]] = [
    {"prompt": f"Number {i}?", "label": "K-R" if i % 2 else None, "n": i} for i in range(7)
]
COLUMNS = ("prompt", "label", "missing")


def jsonl(path: Path) -> Path:
    path = path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS), encoding="utf-8")
    return path


def parquet(path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), path / "rows.parquet", row_group_size=2)
    return path / "rows.parquet"


def saved(path: Path) -> Path:
    """A folder as save_to_disk makes it, in two shards. The real one is read in tests/contract."""
    names = [f"data-{i:05}-of-00002.arrow" for i in range(2)]
    for name, part in zip(names, (ROWS[:3], ROWS[3:]), strict=True):
        table = pa.Table.from_pylist(part)
        with pa.OSFile(str(path / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table, max_chunksize=2)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": None}
    (path / "state.json").write_text(json.dumps(state))
    return path


MAKERS = (jsonl, parquet, saved)


@pytest.mark.parametrize("make", MAKERS)
def test_all_formats_give_the_same_rows(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    found = dict(read(path, COLUMNS))
    assert count(path) == len(ROWS)
    numbers = range(1, 2 * len(ROWS), 2) if make is jsonl else range(1, len(ROWS) + 1)
    assert list(found) == [*numbers]
    for row, wanted in zip(found.values(), ROWS, strict=True):
        assert isinstance(row, dict)
        assert {name: row.get(name) for name in COLUMNS[:2]} == {name: wanted[name] for name in COLUMNS[:2]}


def test_bad_rows_are_told_together_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{\n[1]\n{"a": "\xff"}\n{"a": 1, "a": 2}\n' + b'{"a": 0}\n' * 30)

    def make(place: str, row: dict[str, Any]) -> str:
        if not row["a"]:
            raise InputError("is naught")
        return place

    taken = each(path, ("a",), make)
    assert next(taken) == f"{path}:1"
    with pytest.raises(InputError) as told:
        list(taken)
    lines = str(told.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [*(f"{path}:{i}" for i in range(2, 12)), f"{path}"]
    assert ["is not JSON" in lines[0], "not a JSON object" in lines[1], "UTF-8" in lines[2]] == [True] * 3
    assert "stands twice" in lines[3]
    assert lines[4].endswith("is naught")
    assert lines[-1].endswith("and 24 more bad rows")


@pytest.mark.parametrize(
    "name", ["none.jsonl", "none.parquet", "text.parquet", "folder", "splits", "indexed", "no.files"]
)
def test_what_cannot_be_read_is_named_with_a_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.parquet").write_text("text")
    for folder, file, content in (
        ("folder", "a.txt", ""), ("splits", "dataset_dict.json", '{"splits": ["train", "test"]}'),
        ("indexed", "state.json", '{"_indices_data_files": [1], "_data_files": []}'),
        ("no.files", "state.json", "{}"),
    ):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(content)
    for use in (lambda path: list(read(path, ())), count):
        with pytest.raises(InputError, match=f"^{tmp_path / name}") as told:
            use(tmp_path / name)
        if name == "splits":
            assert str(tmp_path / "splits" / "test") in str(told.value)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="save it as a file"):
        count(tmp_path / "pipe")
