"""`rbr score`: a file of samples to a file of rewards, whatever kills it on the way.

    input rows -> batches -> scorer -> journal (one line a row, synced a batch) -> output, renamed in

The journal's first line binds it to the input and the reward function. A run that finds a journal
of its own goes on behind the last whole line; the output appears only when all rows are in it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rbr_service import answers, rows
from rbr_service.errors import DataError, RequestError
from rbr_service.reading import Reader
from rbr_service.scorer import Sample, Scorer

BATCH = 64

_PARQUET = pa.schema(
    {
        "line": pa.int64(),
        "id": pa.string(),
        "reward": pa.float64(),
        "base_reward": pa.float64(),
        "rbr_reward": pa.float64(),
        "score": pa.float64(),
        "response_type": pa.string(),
        "class_probabilities": pa.map_(pa.string(), pa.float64()),
        "propositions": pa.map_(pa.string(), pa.struct({"p": pa.float64(), "label_mass": pa.float64()})),
        "contributions": pa.map_(pa.string(), pa.float64()),
        "error": pa.struct({"code": pa.string(), "message": pa.string()}),
    }
)


@dataclass
class Summary:
    """What became of the rows."""

    rows: int = 0
    bad: int = 0
    out_of_scope: int = 0


class Journal:
    """The rows done so far, on disk."""

    def __init__(self, path: Path, binding: dict[str, Any]) -> None:
        """`binding` is what a resumed run must share. Raises DataError if `path` is another's."""
        self.path = path
        self._header = (json.dumps({"journal": binding}, sort_keys=True) + "\n").encode()
        self.done = self._recover()

    def _recover(self) -> int:
        """Rows that are whole; a torn tail is cut off."""
        if not self.path.exists() or self.path.stat().st_size < len(self._header):
            self.path.write_bytes(self._header)
            return 0
        with self.path.open("r+b") as file:
            if file.readline() != self._header:
                raise DataError(
                    f"{self.path}: is the journal of another input, policy, grader or setting: "
                    "finish that run, or delete the journal to begin anew"
                )
            count, end = 0, file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                count, end = count + 1, end + len(line)
            file.truncate(end)
        return count

    def append(self, lines: list[bytes]) -> None:
        """Add rows; they survive a crash when this returns."""
        with self.path.open("ab") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())

    def lines(self) -> Iterator[bytes]:
        """The rows, in order."""
        with self.path.open("rb") as file:
            file.readline()
            yield from file


async def score_file(
    source: Path, output: Path, scorer: Scorer, reader: Reader, *, strict: bool,
    progress: Callable[[int], None], report: Callable[[str], None],
) -> Summary:  # fmt: skip
    """Score every row of `source` into `output`; `progress` is told of rows done, `report` of bad ones.

    Raises DataError for a bad row when `strict`, GraderError when the grader fails (run again to
    go on).
    """
    binding = {
        "input": _sha256(source),
        "reward_version": scorer.reward_version,
        "reading": reader.settings.model_dump(
            include={"strip_reasoning", "empty_completion", "max_completion_chars"}
        ),
    }
    journal = Journal(output.with_name(output.name + ".journal"), binding)
    progress(journal.done)
    pending = islice(rows.read(source), journal.done, None)
    while batch := list(islice(pending, BATCH)):
        lines = await _score(batch, scorer, reader)
        for (number, _), line in zip(batch, lines, strict=True):
            if "error" in line:
                message = f"{source}:{number}: {line['error']['message']}"
                if strict:
                    raise DataError(message)
                report(message)
        journal.append([_encode(line) for line in lines])
        progress(len(batch))
    summary = _finish(journal, output)
    journal.path.unlink()
    return summary


async def _score(
    batch: list[tuple[int, dict[str, Any] | RequestError]], scorer: Scorer, reader: Reader
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    good: list[tuple[dict[str, Any], Sample]] = []
    for number, row in batch:
        line: dict[str, Any] = {"line": number}
        lines.append(line)
        try:
            if isinstance(row, RequestError):
                raise row
            given = rows.sample(row)
            line["id"] = given.id
            sample = reader.row(given)
            scorer.check(sample)
        except RequestError as error:
            line["error"] = {"code": error.code, "message": error.message}
        else:
            good.append((line, sample))
    results = await scorer.score([sample for _, sample in good])
    for (line, _), result in zip(good, results, strict=True):
        line |= answers.result(line["id"], result).model_dump()
    return lines


def _finish(journal: Journal, output: Path) -> Summary:
    partial = output.with_name(output.name + ".partial")
    summary = Summary()
    writer = _parquet if rows.is_parquet(output) else _jsonl
    writer(_counted(journal.lines(), summary), partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, output)
    return summary


def _counted(lines: Iterator[bytes], summary: Summary) -> Iterator[bytes]:
    for line in lines:
        row = json.loads(line)
        summary.rows += 1
        summary.bad += "error" in row
        summary.out_of_scope += "error" not in row and row["response_type"] is None
        yield line


def _jsonl(lines: Iterator[bytes], path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(lines)


def _parquet(lines: Iterator[bytes], path: Path) -> None:
    with pq.ParquetWriter(path, _PARQUET) as writer:
        while chunk := [json.loads(line) for line in islice(lines, 1024)]:
            for row in chunk:
                row["id"] = None if row.get("id") is None else str(row["id"])
                for name in ("class_probabilities", "propositions", "contributions"):
                    row[name] = list(row[name].items()) if name in row else None
            writer.write_table(pa.Table.from_pylist(chunk, _PARQUET))


def _encode(line: dict[str, Any]) -> bytes:
    return (json.dumps(line) + "\n").encode()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
