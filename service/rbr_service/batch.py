"""`rbr score`: a file of samples to a file of rewards, whatever kills it on the way.

    input rows -> batches -> scorer -> journal (one line a row, synced a batch) -> output, renamed in

The output appears only when all rows are in it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rbr_service import answers, rows
from rbr_service.errors import DataError, RequestError
from rbr_service.files import replacing
from rbr_service.journal import Journal, journal, journal_path
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
        "found": pa.struct({"by": pa.string(), "category": pa.string(), "p": pa.float64()}),
        "propositions": pa.map_(
            pa.string(),
            pa.struct({"p": pa.float64(), "label_mass": pa.float64(), "lower_bound": pa.bool_()}),
        ),
        "contributions": pa.map_(pa.string(), pa.float64()),
        "cuts": pa.struct({"messages": pa.int64(), "tokens": pa.int64()}),
        "reward_version": pa.string(),
        "error": pa.struct({"code": pa.string(), "message": pa.string()}),
    }
)


@dataclass
class Summary:
    """What became of the rows."""

    rows: int = 0
    bad: int = 0
    out_of_scope: int = 0


async def score_file(
    source: Path, output: Path, scorer: Scorer, reader: Reader, *, strict: bool,
    progress: Callable[[int, int], None], report: Callable[[str], None],
) -> Summary:  # fmt: skip
    """Score every row of `source` into `output`.

    `progress` is told (rows done, rows in all) at the start and after every batch, `report` of bad
    rows. Raises DataError for a bad row when `strict`, before any is graded; GraderError and
    OutputError where grader or disk fails (run again to go on).
    """
    binding = {
        "input": _sha256(source),
        "reward_version": scorer.reward_version,
        "reading": reader.settings.model_dump(
            include={"strip_reasoning", "empty_completion", "max_completion_chars"}
        ),
    }
    if strict:
        _refuse_bad(source, scorer, reader)
    total = rows.count(source)
    with journal(journal_path(output), binding) as kept:
        done = kept.done
        progress(done, total)
        pending = islice(rows.read(source), done, None)
        while batch := list(islice(pending, BATCH)):
            lines = await _score(batch, scorer, reader)
            for line in lines:
                if "error" in line:
                    report(f"{source}:{line['line']}: {line['error']['message']}")
            kept.append([(json.dumps(line) + "\n").encode() for line in lines])
            done += len(batch)
            progress(done, total)
        summary = _finish(kept, output)
        kept.path.unlink()  # the output is there for good
    return summary


def _refuse_bad(source: Path, scorer: Scorer, reader: Reader) -> None:
    for number, row in rows.read(source):
        with rows.placed(source, number):
            _sample(row, scorer, reader)


def _sample(row: rows.Row, scorer: Scorer, reader: Reader) -> Sample:
    sample = reader.row(rows.sample(rows.whole(row)))
    scorer.check(sample)
    return sample


async def _score(batch: list[tuple[int, rows.Row]], scorer: Scorer, reader: Reader) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    good: list[tuple[dict[str, Any], Sample]] = []
    for number, row in batch:
        line: dict[str, Any] = {"line": number, "id": _id(row)}
        lines.append(line)
        try:
            good.append((line, _sample(row, scorer, reader)))
        except RequestError as error:
            line["error"] = {"code": error.code, "message": error.message}
    results = await scorer.score_each([sample for _, sample in good])
    for (line, _), result in zip(good, results, strict=True):
        if isinstance(result, RequestError):
            line["error"] = {"code": result.code, "message": result.message}
            continue
        line |= answers.result(line["id"], result).model_dump()
        line["reward_version"] = scorer.reward_version
    return lines


def _id(row: rows.Row) -> str | int | None:
    given = None if isinstance(row, RequestError) else row.get("id")
    return given if isinstance(given, str | int) and not isinstance(given, bool) else None


def _finish(kept: Journal, output: Path) -> Summary:
    summary = Summary()
    writer = _parquet if rows.is_parquet(output) else _jsonl
    with replacing(output) as partial:
        writer(_counted(kept.lines(), summary), partial)
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
                row["id"] = None if row["id"] is None else str(row["id"])
                for name in ("class_probabilities", "propositions", "contributions"):
                    row[name] = list(row[name].items()) if name in row else None
            writer.write_table(pa.Table.from_pylist(chunk, _PARQUET))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
