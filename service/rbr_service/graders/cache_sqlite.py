"""Verdicts in one SQLite file, for one service or several on the same machine.

    get, put -> one worker thread, which owns the connection -> FILE, FILE-wal, FILE-shm

It survives kill -9 whole: a put that has returned is in the file. The log (WAL) is synced only when it
is folded into the file, so a machine that loses power may lose the last writes; every record of the log
carries a checksum, so what is left is sound. The file grows by about 62 bytes a verdict and never
shrinks; delete it while no service runs to begin anew. It must lie on a local disk: WAL needs memory
shared between processes, which network file systems lack.
"""

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rbr_service.errors import GraderError
from rbr_service.graders.base import Verdict
from rbr_service.graders.cache import Key, checked, sound
from rbr_service.graders.outage import PAUSE, Outage

APPLICATION = 0x52425256  # "RBRV" in SQLite's file header: whose file it is
FORMAT = 1  # change it whenever a row would mean something else
BUSY = 1.0  # seconds to wait for another process's transaction
START_BUSY = 10.0  # seconds; whoever opens the file after a kill -9 repairs it, the others wait

_TABLE = (
    "CREATE TABLE IF NOT EXISTS verdicts"
    " (key BLOB PRIMARY KEY, p REAL NOT NULL, label_mass REAL NOT NULL) WITHOUT ROWID"
)
_READ = "SELECT p, label_mass FROM verdicts WHERE key = ?"
_WRITE = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)"
_FAULTS = (sqlite3.Error, OSError, GraderError)

T = TypeVar("T")
Row = tuple[Key, float, float]


class SQLiteCache:
    """Verdicts in a file."""

    def __init__(self, path: Path, pause: float = PAUSE) -> None:
        """`pause`: seconds to leave the file alone after a fault."""
        self._path = path.absolute()
        self._reads = Outage(f"{path}: reading verdicts", pause)
        self._writes = Outage(f"{path}: writing verdicts", pause)
        self._waiting: deque[Row] = deque()
        self._worker: ThreadPoolExecutor | None = None
        self._file: _File | None = None  # the worker's alone

    @property
    def faults(self) -> int:
        """Calls that failed."""
        return self._reads.faults + self._writes.faults

    async def start(self) -> None:
        """Open the file, made if need be, and check it whole (0.1 s for a million verdicts).

        Raises GraderError when it is another program's, another release's, corrupt or cannot be opened.
        """
        self._worker = ThreadPoolExecutor(1, "verdicts")
        try:
            await self._in_worker(partial(self._open, START_BUSY))
        except (sqlite3.Error, OSError) as error:
            raise GraderError(
                f"{self._path}: cannot be used as a cache of verdicts: {error}: "
                "mend it, delete it, or name another file in `cache`"
            ) from error

    async def get(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        """Those of `keys` that are known; none of them while the file cannot be read."""
        if not (self._worker and self._reads.passes()):
            return {}
        return await self._in_worker(partial(self._read, keys))

    async def put(self, verdicts: Mapping[Key, Verdict]) -> None:
        """Keep these: they survive kill -9 when this returns, unless the file cannot be written."""
        if not (self._worker and self._writes.passes()):
            return
        # All puts that wait for the worker share one transaction: whichever comes first writes them.
        self._waiting.extend((key, v.p, v.label_mass) for key, v in sound(verdicts).items())
        await self._in_worker(self._write)

    async def close(self) -> None:
        """Write what waits and close the file."""
        worker, self._worker = self._worker, None  # nobody may open the file again behind our back
        if worker:
            await asyncio.get_running_loop().run_in_executor(worker, self._finish)
            worker.shutdown()

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    # The worker thread's part.

    def _open(self, wait: float = BUSY) -> "_File":
        if self._file is None:
            self._file = _File(self._path, wait)
        return self._file

    def _finish(self) -> None:
        self._write()
        self._drop()

    def _drop(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _read(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        try:
            found = self._open().read(keys)
        except _FAULTS as error:
            self._drop()
            self._reads.failed(str(error))
            return {}
        self._reads.worked()
        return found

    def _write(self) -> None:
        rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not rows:
            return
        try:
            self._open().write(rows)
        except sqlite3.Error as error:  # a full disk or a lock: what is there can still be read
            self._writes.failed(str(error))
        except (OSError, GraderError) as error:
            self._drop()
            self._writes.failed(str(error))
        else:
            self._writes.worked()


class _File:
    """The open database."""

    def __init__(self, path: Path, wait: float) -> None:
        """Open and check it. `wait`: seconds for other processes' locks while opening.

        Raises GraderError, sqlite3.Error, OSError.
        """
        self._path = path
        self._database = sqlite3.connect(path, timeout=wait, isolation_level=None)
        try:
            self._claim()
            self._run(f"PRAGMA busy_timeout = {int(BUSY * 1000)}")
            self._inode = _inode(path)
        except _FAULTS:
            self._database.close()
            raise

    def read(self, keys: Iterable[Key]) -> dict[Key, Verdict]:
        """Those of `keys` that are known and are probabilities."""
        self._same()
        self._run("BEGIN")
        found = {}
        for key in keys:
            row = self._database.execute(_READ, (key,)).fetchone()
            verdict = checked(*row) if row else None
            if verdict:
                found[key] = verdict
        self._run("COMMIT")
        return found

    def write(self, rows: Iterable[Row]) -> None:
        """Keep these, all or, when it raises, none."""
        self._same()
        try:
            self._run("BEGIN IMMEDIATE")
            self._database.executemany(_WRITE, rows)
            self._run("COMMIT")
        except sqlite3.Error:
            self._database.rollback()
            raise

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def _run(self, statement: str) -> Any:
        row = self._database.execute(statement).fetchone()
        return row[0] if row else None

    def _claim(self) -> None:
        self._refuse_foreign()
        self._run("BEGIN")  # another process may make the file just now: see it before or after that
        owner, form = self._run("PRAGMA application_id"), self._run("PRAGMA user_version")
        new = not (owner or form or self._run("SELECT count(*) FROM sqlite_master"))
        self._run("COMMIT")
        if new:
            self._create()
        elif owner != APPLICATION:
            raise self._foreign()
        elif form != FORMAT:
            raise GraderError(
                f"{self._path}: keeps verdicts in format {form} and this release in format {FORMAT}: "
                "name another file in `cache`, or delete this one"
            )
        if self._run("PRAGMA journal_mode = WAL") != "wal":
            raise GraderError(
                f"{self._path}: its file system cannot share memory between processes: "
                "put it on a local disk, or use Redis"
            )
        self._run("PRAGMA synchronous = NORMAL")
        problem = self._run("PRAGMA quick_check(1)")
        if problem != "ok":
            raise GraderError(f"{self._path}: is corrupt: {problem}: delete it, verdicts are graded anew")

    def _refuse_foreign(self) -> None:
        # Merely reading a database folds a log that lies beside it into the file. So a file that may be
        # another's is first read as one that never changes: without its log, locks or repairs.
        if not self._path.exists() or not self._path.stat().st_size:
            return
        with closing(sqlite3.connect(f"{self._path.as_uri()}?immutable=1", uri=True)) as database:
            try:
                owner = database.execute("PRAGMA application_id").fetchone()[0]
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                    raise
                return  # it does change: another process writes it just now. Or quick_check says the rest
        if owner != APPLICATION:
            raise self._foreign()

    def _foreign(self) -> GraderError:
        return GraderError(
            f"{self._path}: is a database, but no cache of verdicts: name another file in `cache`"
        )

    def _create(self) -> None:
        # Before the switch to WAL, so that the file itself says from the first whose it is.
        self._run("BEGIN IMMEDIATE")
        self._run(_TABLE)
        self._run(f"PRAGMA application_id = {APPLICATION}")
        self._run(f"PRAGMA user_version = {FORMAT}")
        self._run("COMMIT")

    def _same(self) -> None:
        # A removed file can be written to for ever, and nobody will find it again.
        if _inode(self._path) != self._inode:
            raise GraderError("the file was replaced by another")


def _inode(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
