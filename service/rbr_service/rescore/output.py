"""Changes as a file: .parquet, or JSONL by any other name. It appears when all of them are in it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rbr_service import jsontext, rows
from rbr_service.files import replacing
from rbr_service.rescore.changes import Change, row

Write = Callable[[Sequence[Change]], None]

_OUTCOME = pa.struct(
    {"response_type": pa.string(), "class": pa.string(), "rbr_reward": pa.float64(), "reward": pa.float64(),
     "reward_version": pa.string()}
)  # fmt: skip
_COLUMNS = pa.schema(
    {"content": pa.string(), "id": pa.string(), "time": pa.string(), "before": _OUTCOME, "after": _OUTCOME,
     "change": pa.float64(), "error": pa.struct({"code": pa.string(), "message": pa.string()})}
)  # fmt: skip


@contextmanager
def writing(path: Path | None) -> Iterator[Write]:
    """What takes changes for the file; None: nowhere. Raises OutputError."""
    if path is None:
        yield lambda _: None
        return
    with replacing(path) as partial:
        if rows.is_parquet(path):
            with pq.ParquetWriter(partial, _COLUMNS) as writer:
                yield lambda found: writer.write_table(pa.Table.from_pylist(list(map(row, found)), _COLUMNS))
        else:
            with partial.open("wb") as file:
                yield lambda found: file.writelines(jsontext.line(row(change)) for change in found)
