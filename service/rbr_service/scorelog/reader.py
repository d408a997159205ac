"""A score log read back: a folder of days, one day's folder, or one file.

LOG -> its part files in the order of their names -> rows as columns.py writes them, a batch at a time
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rbr_service.errors import DataError
from rbr_service.scorelog.columns import COLUMNS

BATCH = 128

Row = dict[str, Any]

_MAPS = [field.name for field in COLUMNS if pa.types.is_map(field.type)]


def parts(log: Path) -> list[Path]:
    """The files of a log. Raises DataError where there are none."""
    if log.is_file():
        return [log]
    found = sorted(log.rglob("part-*.parquet"))
    if not found:
        raise DataError(
            f"{log}: no score log there: rbr serve --score-log writes DIR/date=.../part-*.parquet"
        )
    return found


def count(files: Sequence[Path]) -> int:
    """How many rows `read` gives. Raises DataError for a file that is no part of a score log."""
    total = 0
    for file in files:
        with _opened(file) as part:
            total += part.metadata.num_rows
    return total


def read(files: Sequence[Path]) -> Iterator[list[Row]]:
    """The rows, maps as dictionaries. Raises DataError for a file that is no part of a score log."""
    for file in files:
        with _opened(file) as part:
            for batch in part.iter_batches(batch_size=BATCH):
                rows = batch.to_pylist()
                for row in rows:
                    row |= {name: dict(row[name]) for name in _MAPS}
                yield rows


@contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(file) as part:
            if not part.schema_arrow.equals(COLUMNS, check_metadata=False):
                raise DataError(f"{file}: has not the columns of a score log of this version")
            yield part
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise DataError(f"{file}: is not Parquet: {error}") from error
