"""Rows of the files that hold prompts and answers: JSONL, Parquet, or a folder of `save_to_disk`.

    path -> (place, row) ... -> whoever reads them makes something of each -> all faults told at once

A row is a dict; its place is `file:line`, or `file:row` counted from 1. The folder's Arrow shards are read
by its state.json, so that Hugging Face's `datasets` is not needed.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from rbr_trainer.errors import InputError

T = TypeVar("T")
Row = dict[str, Any]
TOLD = 10  # so many bad rows are told one by one
BATCH = 256  # rows of a Parquet file at once


def each(path: Path, columns: Sequence[str], make: Callable[[str, Row], T]) -> Iterator[T]:
    """What `make(place, row)` makes of every row, the rows for which it raises InputError left out.

    `columns`: those that are read; a file need not have them all. Raises InputError: for the file at once,
    for bad rows when all have been read, the first TOLD of them a line each.
    """
    faults: list[str] = []
    for number, row in read(path, columns):
        place = f"{path}:{number}"
        try:
            if isinstance(row, InputError):
                raise row
            made = make(place, row)
        except InputError as error:
            faults.append(f"{place}: {error}")
        else:
            yield made
    if faults:
        more = [f"{path}: and {len(faults) - TOLD} more bad rows"] if len(faults) > TOLD else []
        raise InputError("\n".join([*faults[:TOLD], *more]))


def read(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row | InputError]]:
    """(line or row number from 1, the row or why it is none). Blank lines are passed over.

    Raises InputError for the file.
    """
    with _readable(path):
        _regular(path)
        if path.is_dir():
            yield from _rows((batch for shard in _shards(path) for batch in _arrow(shard)), columns)
        elif is_parquet(path):
            with pq.ParquetFile(path) as file:
                wanted = [name for name in columns if name in file.schema_arrow.names]
                yield from _rows(file.iter_batches(batch_size=BATCH, columns=wanted), columns)
        else:
            with path.open("rb") as lines:
                yield from ((i, _object(line)) for i, line in enumerate(lines, 1) if line.strip())


def count(path: Path) -> int:
    """How many rows `read` finds. Raises InputError for the file."""
    with _readable(path):
        _regular(path)
        if path.is_dir():
            return sum(batch.num_rows for shard in _shards(path) for batch in _arrow(shard))
        if is_parquet(path):
            return int(pq.read_metadata(path).num_rows)
        with path.open("rb") as lines:
            return sum(1 for line in lines if line.strip())


def is_parquet(path: Path) -> bool:
    """Whether the name says Parquet."""
    return path.suffix.lower() in (".parquet", ".pq")


def loads(text: str | bytes) -> Any:
    """The value of a JSON text that can be read in one way only. Raises ValueError."""
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(text, object_pairs_hook=_distinct)
        if "\\u" in text:  # the only way in for half a pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair, which is no character") from error
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> Row:
    value = dict(pairs)
    if len(value) != len(pairs):
        name = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {name[:80]!r} stands twice in one object")
    return value


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not sound: {error}") from error


def _regular(path: Path) -> None:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: is a device or a pipe, and is read more than once: save it as a file")


def _object(line: bytes) -> Row | InputError:
    try:
        row = loads(line)
    except ValueError as error:
        return InputError(f"is not JSON: {error}")
    return row if isinstance(row, dict) else InputError("is not a JSON object")


def _rows(batches: Iterator[Any], columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    number = 0
    for batch in batches:
        names = [name for name in columns if name in batch.schema.names]
        for row in batch.select(names).to_pylist():
            number += 1
            yield number, row


def _arrow(shard: Path) -> Iterator[Any]:
    with pa.memory_map(str(shard)) as source, ipc.open_stream(source) as batches:
        yield from batches


def _shards(folder: Path) -> list[Path]:
    """The Arrow files of a saved dataset in their order. Raises InputError."""
    splits, state = folder / "dataset_dict.json", folder / "state.json"
    if splits.is_file():
        names = _described(splits).get("splits") or ["train"]
        listed = ", ".join(str(folder / str(name)) for name in names)
        raise InputError(f"{folder}: holds the splits of a dataset: name one of {listed}")
    if not state.is_file():
        raise InputError(
            f"{folder}: is a folder without state.json: name a file, or a folder that save_to_disk wrote"
        )
    described = _described(state)
    if described.get("_indices_data_files") or described.get("_indices_files"):
        raise InputError(f"{folder}: chooses its rows by an index: save it after flatten_indices()")
    try:
        return [folder / shard["filename"] for shard in described["_data_files"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{state}: _data_files names no files: save the dataset again") from error


def _described(path: Path) -> Row:
    try:
        return dict(loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
