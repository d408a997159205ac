"""Scored samples to Parquet files, in a thread of its own: no score waits for a disk, none fails by one.

    put: sampled by content -> entries in memory, bounded -> thread -> DIR/date=DAY/part-TIME-RUN-N.parquet

A file is there whole or not at all. Each writer's names are its own, so several services may share a
folder. Rows that find no room in memory, or no disk to go to, are dropped and counted.
"""

import asyncio
import errno
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile

import pyarrow as pa
import pyarrow.parquet as pq

from rbr_service.conversation import Conversation
from rbr_service.errors import SettingsError
from rbr_service.metrics import Metrics
from rbr_service.scorelog.columns import COLUMNS, Entry, content_hash, row
from rbr_service.scorer import Result, Sample, Scorer

INTERVAL = 60.0  # seconds between files: what a kill -9 loses
ROWS = 4096  # rows that are written without waiting for it
ROOM = 64 << 20  # bytes of entries in memory
ENTRY = 8 << 10  # bytes of one without texts: 4.1 kB with 19 propositions, traced, and as much for its row
PATIENCE = 10.0  # seconds for the last file
CHUNK = 16  # rows made at a time: more would keep the interpreter from the event loop for too long

WRITTEN, NO_ROOM, NOT_WRITTEN = FATES = ("written", "no_room", "not_written")
FULL = (errno.ENOSPC, errno.EDQUOT)

_log = logging.getLogger("rbr.scorelog")


class ScoreLog:
    """A folder of scored samples."""

    def __init__(
        self, folder: Path, metrics: Metrics, *, share: float, texts: bool = False,
        interval: float = INTERVAL, rows: int = ROWS, room: int = ROOM,
    ) -> None:  # fmt: skip
        """`share` in (0, 1] of all samples; `room` in bytes. See the constants.

        Raises SettingsError for a folder in which no file can be made, unless only its disk is full.
        """
        self._folder, self._metrics = folder, metrics
        self._least_left_out, self._texts = share * 2**64, texts
        self._interval, self._rows, self._room = interval, rows, room
        self._run = secrets.token_hex(8)
        self._files = 0
        self._changed = threading.Condition()
        self._pending: list[Entry] = []
        self._held = 0  # bytes, of pending entries and of those being written
        self._closing = False
        self._losing = False  # since some rows were lost, until all of a file's time were kept
        self._lost_rows = self._lost_before = 0
        self._thread: threading.Thread | None = None
        for fate in FATES:
            metrics.logged_rows.labels(fate)  # 0 is a figure, none would be a gap
        _require_usable(folder)

    def put(
        self,
        samples: Sequence[Sample],
        results: Sequence[Result],
        scorer: Scorer,
        ids: Sequence[str | int | None] = (),
    ) -> None:
        """Log those of the answered samples that the share takes; returns at once and never fails.

        `ids`: the callers', one per sample, or none. What is taken depends on the content alone, so that all
        replicas agree.
        """
        now = time.time()
        for i, (sample, result) in enumerate(zip(samples, results, strict=True)):
            content = content_hash(sample.conversation)
            if int(content[:16], 16) < self._least_left_out:
                texts = sample.conversation if self._texts else None
                given = ids[i] if ids else None
                self._keep(Entry(now, content, given, sample.label, result, scorer, texts))

    async def start(self) -> None:
        """Begin to write."""
        self._closing = False
        self._thread = threading.Thread(target=self._write_on, name="score log", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what is pending, for PATIENCE seconds at most: a disk that hangs does not keep a process."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            await asyncio.to_thread(self._thread.join, PATIENCE)
            if self._thread.is_alive():
                _log.error(
                    "%s: the score log's last rows were not written within %g s", self._folder, PATIENCE
                )

    def _keep(self, entry: Entry) -> None:
        size = _size(entry)
        with self._changed:
            fits = not self._closing and self._held + size <= self._room
            if fits:
                self._pending.append(entry)
                self._held += size
            if self._due():
                self._changed.notify()
        if not fits:
            self._lost(1, NO_ROOM, "they come faster than they can be written")

    def _due(self) -> bool:
        return self._closing or len(self._pending) >= self._rows or 2 * self._held >= self._room

    def _write_on(self) -> None:
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(self._due, self._interval)
                entries, self._pending, closing = self._pending, [], self._closing
            for day, group in groupby(sorted(entries, key=_day), key=_day):
                self._write(day, list(group))
            written = sum(map(_size, entries))
            with self._changed:
                self._held -= written

    def _write(self, day: str, entries: list[Entry]) -> None:
        self._files += 1
        began = f"{datetime.fromtimestamp(entries[0].time, UTC):%Y%m%dT%H%M%S}"
        path = self._folder / f"date={day}" / f"part-{began}-{self._run}-{self._files:06}.parquet"
        try:
            _place(path, _parquet(entries))
        except (OSError, ValueError, pa.ArrowException) as error:
            self._lost(len(entries), NOT_WRITTEN, getattr(error, "strerror", None) or str(error))
            return
        self._metrics.logged_rows.labels(WRITTEN).inc(len(entries))
        if self._losing and self._lost_rows == self._lost_before:
            self._losing = False
            _log.warning("%s: the score log is kept whole again", self._folder)
        self._lost_before = self._lost_rows

    def _lost(self, rows: int, fate: str, why: str) -> None:
        self._metrics.logged_rows.labels(fate).inc(rows)
        self._lost_rows += rows
        if not self._losing:
            _log.error(
                "%s: rows of the score log are dropped: %s; scoring goes on, rbr_score_log_rows_total counts "
                "them", self._folder, why,
            )  # fmt: skip
        self._losing = True


def _require_usable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        if error.errno not in FULL:  # a service that starts anew beside a full disk has to score
            raise SettingsError(
                f"score_log: {folder}: no file can be made there: {error.strerror}: name a folder that this "
                "user may write to"
            ) from error


def _day(entry: Entry) -> str:
    return f"{datetime.fromtimestamp(entry.time, UTC):%Y-%m-%d}"


def _size(entry: Entry) -> int:
    return ENTRY + (_text_size(entry.conversation) if entry.conversation else 0)


def _text_size(conversation: Conversation) -> int:
    return sys.getsizeof(conversation.completion) + sum(sys.getsizeof(m.content) for m in conversation.prompt)


def _parquet(entries: Sequence[Entry]) -> pa.Buffer:
    batches = []
    for begin in range(0, len(entries), CHUNK):
        batches.append(pa.RecordBatch.from_pylist(list(map(row, entries[begin : begin + CHUNK])), COLUMNS))
        time.sleep(0)  # gives the interpreter to the event loop
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches(batches), sink, compression="zstd")
    return sink.getvalue()


def _place(path: Path, content: pa.Buffer) -> None:
    path.parent.mkdir(exist_ok=True)
    # Readers of whole folders pass over names that begin with a dot.
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
