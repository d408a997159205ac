"""Rows of JSONL and Parquet files, told apart by the file's name.

    path -> (number, row) ... -> SampleIn, or PromptIn where answers are still to be written

A row holds `messages` (the last one the completion), or `prompt` and `completion`, each a text or
messages; and any of id, response_type, category, base_reward and label (as a trainer's dataset has
it). Other columns are passed over.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from rbr_service import jsontext, labels
from rbr_service.errors import DataError, RequestError
from rbr_service.labels import describe
from rbr_service.schemas import PromptIn, SampleIn

Row = dict[str, Any] | RequestError  # the row, or why it is none
Model = TypeVar("Model", bound=BaseModel)

# A column that nobody reads may hold what Python cannot, such as nanoseconds.
READ = ("messages", "prompt", "completion", "completions", "propositions", "label",
        "id", "response_type", "category", "base_reward")  # fmt: skip
COLUMNS = ("id", "response_type", "category", "base_reward")


def is_parquet(path: Path) -> bool:
    """Whether the name says Parquet; everything else is JSONL."""
    return path.suffix.lower() in (".parquet", ".pq")


def read(path: Path, columns: Sequence[str] = ()) -> Iterator[tuple[int, Row]]:
    """(line or row number from 1, row). Blank lines are passed over. Raises DataError for the file.

    `columns` are wanted beside those that are always read; those that the file lacks are passed over.
    """
    with _readable(path):
        yield from _parquet(path, columns) if is_parquet(path) else _jsonl(path)


def count(path: Path) -> int:
    """How many rows `read` finds. Raises DataError for the file."""
    with _readable(path):
        if is_parquet(path):
            return int(pq.read_metadata(path).num_rows)
        with path.open("rb") as lines:
            return sum(1 for line in lines if line.strip())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise DataError(f"{path}: is not Parquet: {error}") from error


def _jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _object(line)


def _object(line: bytes) -> Row:
    try:
        row = jsontext.loads(line)
    except JSONDecodeError as error:
        return RequestError(f"is not JSON: {error.msg} at character {error.pos + 1}")
    except ValueError as error:
        return RequestError(f"is not JSON: {error}")
    return row if isinstance(row, dict) else RequestError("is not a JSON object")


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    number = 0
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        wanted = [name for name in dict.fromkeys((*READ, *columns)) if name in schema.names]
        for name in columns:
            if name in wanted and pa.types.is_temporal(schema.field(name).type):
                raise DataError(f"{path}: {name}: holds times: give it as text or numbers")
        for batch in file.iter_batches(batch_size=256, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield number, row


@contextmanager
def placed(path: Path, number: int) -> Iterator[None]:
    """Turns what is wrong with a row into the DataError of a file, for those to whom it is fatal."""
    try:
        yield
    except ValidationError as error:
        raise DataError(f"{path}:{number}: {describe(error)}") from error
    except RequestError as error:
        raise DataError(f"{path}:{number}: {error.message}") from error


def whole(row: Row) -> dict[str, Any]:
    """The row. Raises the RequestError that stands in for one that could not be read."""
    if isinstance(row, RequestError):
        raise row
    return row


def sample(row: dict[str, Any]) -> SampleIn:
    """A row as a sample. Raises RequestError."""
    messages = row.get("messages")
    if messages is None:
        if row.get("completion") is None:
            raise RequestError("has neither messages nor prompt and completion")
        messages = _turns(row.get("prompt") or [], "user") + _turns(row["completion"], "assistant")
    return validated(SampleIn, {"messages": messages, **_fields(row)})


def prompt(row: dict[str, Any]) -> PromptIn:
    """A row's prompt, whatever answers it. Raises RequestError."""
    if row.get("prompt") is None:
        raise RequestError("has no prompt: give a text or messages")
    fields = _fields(row)
    fields.pop("base_reward", None)
    return validated(PromptIn, {"messages": _turns(row["prompt"], "user"), **fields})


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    """The columns that are filled; where the label says the same, the column wins."""
    fields = {name: row[name] for name in COLUMNS if row.get(name) is not None}
    if row.get("label") is not None:
        label = labels.parse(row["label"])
        said = {"response_type": label.name, "base_reward": label.base_reward}
        fields = {name: value for name, value in said.items() if value is not None} | fields
    return fields


def validated(model: type[Model], fields: Any) -> Model:
    """A value as the model says. Raises RequestError."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise RequestError(describe(error)) from error


def _turns(value: Any, role: str) -> list[Any]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return value if isinstance(value, list) else [value]
