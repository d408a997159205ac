"""Rows of JSONL and Parquet files, told apart by the file's name.

    path -> (number, row) ... -> SampleIn

A row holds `messages` (the last one the completion), or `prompt` and `completion`, each a text or
messages; and any of id, response_type, category, base_reward. Other columns are passed over.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from rbr_service.errors import DataError, RequestError
from rbr_service.labels import describe
from rbr_service.schemas import SampleIn

COLUMNS = ("id", "response_type", "category", "base_reward")


def is_parquet(path: Path) -> bool:
    """Whether the name says Parquet; everything else is JSONL."""
    return path.suffix.lower() in (".parquet", ".pq")


def read(path: Path) -> Iterator[tuple[int, dict[str, Any] | RequestError]]:
    """(line or row number from 1, the row or why it is none). Blank lines are passed over.

    Raises DataError when the file itself cannot be read.
    """
    try:
        yield from _parquet(path) if is_parquet(path) else _jsonl(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: is not Parquet: {error}") from error


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any] | RequestError]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _object(line)


def _object(line: bytes) -> dict[str, Any] | RequestError:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return RequestError(f"is not JSON: {error}")
    return row if isinstance(row, dict) else RequestError("is not a JSON object")


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any] | RequestError]]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def sample(row: dict[str, Any]) -> SampleIn:
    """A row as a sample. Raises RequestError."""
    messages = row.get("messages")
    if messages is None:
        if row.get("completion") is None:
            raise RequestError("has neither messages nor prompt and completion")
        messages = _turns(row.get("prompt") or [], "user") + _turns(row["completion"], "assistant")
    fields = {name: row[name] for name in COLUMNS if row.get(name) is not None}
    try:
        return SampleIn.model_validate({"messages": messages, **fields})
    except ValidationError as error:
        raise RequestError(describe(error)) from error


def _turns(value: Any, role: str) -> list[Any]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return value if isinstance(value, list) else [value]
