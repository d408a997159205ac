"""The file of verdicts: whole after kill -9, shared by processes, and never the cause of a failed grade."""

import asyncio
import itertools
import logging
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rbr_service.errors import GraderError
from rbr_service.graders import cache_sqlite
from rbr_service.graders.base import Verdict
from rbr_service.graders.cache import Key
from rbr_service.graders.cache_sqlite import SQLiteCache
from tests.unit import verdict_writer
from tests.unit.verdict_writer import BATCH, of, verdict

ROUNDS = 10
Scenario = Callable[[SQLiteCache], Coroutine[Any, Any, None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "verdicts.db"


@pytest.fixture
def changes(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Tells what was logged: the part of each line that says what changed."""
    caplog.set_level(logging.DEBUG, "rbr.cache")
    return lambda: [record.message.split(": ", 1)[1].split(": ")[0] for record in caplog.records]


def run(path: Path, scenario: Scenario) -> None:
    async def opened() -> None:
        cache = SQLiteCache(path, pause=0)
        await cache.start()
        try:
            await scenario(cache)
        finally:
            await cache.close()

    asyncio.run(opened())


def some(first: int, count: int = 5) -> dict[Key, Verdict]:
    return dict(map(verdict, range(first, first + count)))


def rows(path: Path) -> dict[Key, Verdict]:
    """All that the file holds, read without the cache, after a check of every page."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {key: Verdict(p, mass) for key, p, mass in database.execute("SELECT * FROM verdicts")}


def writer(path: Path, first: int, puts: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.unit.verdict_writer", str(path), str(first), str(puts)]
    root = Path(verdict_writer.__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def test_kill_9_at_any_moment_loses_no_put_that_has_returned(path: Path) -> None:
    source, told, first = random.Random(9), set[int](), 0
    for _ in range(ROUNDS):
        with writer(path, first, 100_000) as process:
            assert process.stdout
            for line in itertools.islice(process.stdout, source.randrange(1, 300)):
                told.add(int(line))
            process.kill()
            told |= {int(line) for line in process.stdout if line.endswith("\n")}
        first = max(told) + 1000
        found = rows(path)
        expected = [verdict(n)[0] for put in told for n in range(put * BATCH, (put + 1) * BATCH)]
        assert found.keys() >= set(expected)
        assert all(value == of(key) for key, value in found.items())
        assert len(found) % BATCH == 0  # what was put but not told of is there whole or not at all

    async def scenario(cache: SQLiteCache) -> None:
        verdicts = some(min(told) * BATCH, BATCH)
        assert await cache.get(list(verdicts)) == verdicts
        await cache.put(some(-5))
        assert await cache.get(list(some(-5))) == some(-5)
        assert cache.faults == 0

    run(path, scenario)


def test_kill_9_while_the_file_is_made_leaves_nothing_that_is_refused(tmp_path: Path) -> None:
    source = random.Random(10)
    for number in range(ROUNDS):
        path = tmp_path / str(number) / "verdicts.db"
        path.parent.mkdir()
        with writer(path, 0, 100_000) as process:
            while not path.exists():
                time.sleep(0.001)
            time.sleep(source.random() / 500)
            process.kill()

        async def scenario(cache: SQLiteCache) -> None:
            await cache.put(some(0))
            assert await cache.get(list(some(0))) == some(0)

        run(path, scenario)


def test_processes_that_make_and_fill_the_file_at_the_same_time(path: Path) -> None:
    puts = 150
    processes = [writer(path, index * puts, puts) for index in range(4)]
    ends = [process.communicate()[0].splitlines()[-1:] for process in processes]
    assert ends == [["faults 0"]] * 4
    assert [process.returncode for process in processes] == [0] * 4
    assert rows(path) == some(0, 4 * puts * BATCH)


def test_a_service_starts_while_others_write(path: Path) -> None:
    filled(path)
    with writer(path, 1000, 100_000) as process:
        assert process.stdout
        for _ in range(30):
            process.stdout.readline()

            async def scenario(cache: SQLiteCache) -> None:
                assert await cache.get(list(some(0))) == some(0)

            run(path, scenario)
        process.kill()


def test_a_reader_sees_what_another_connection_has_put(path: Path) -> None:
    async def scenario(cache: SQLiteCache) -> None:
        other = SQLiteCache(path)
        await other.start()
        await other.put(some(0))
        assert await cache.get(list(some(0))) == some(0)
        await other.close()
        await cache.put(some(5))
        assert await cache.get(list(some(0, 10))) == some(0, 10)

    run(path, scenario)


def test_close_keeps_the_file_alone_without_its_log(path: Path) -> None:
    async def scenario(cache: SQLiteCache) -> None:
        await cache.put(some(0))

    run(path, scenario)
    assert os.listdir(path.parent) == [path.name]
    assert rows(path) == some(0)


def test_after_close_nothing_is_known_and_nothing_raises(path: Path) -> None:
    async def scenario() -> None:
        cache = SQLiteCache(path)
        await cache.start()
        await cache.close()
        await cache.put(some(0))
        assert await cache.get(list(some(0))) == {}
        await cache.close()

    asyncio.run(scenario())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program's transaction is open meanwhile."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def test_the_event_loop_goes_on_and_waiting_puts_share_a_transaction(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_sqlite, "BUSY", 300)
    written = []
    write = cache_sqlite._File.write

    def watched(file: cache_sqlite._File, rows: list[cache_sqlite.Row]) -> None:
        written.append(len(rows))
        write(file, rows)

    monkeypatch.setattr(cache_sqlite._File, "write", watched)

    async def scenario(cache: SQLiteCache) -> None:
        with locked(path):
            puts = [asyncio.create_task(cache.put(some(5 * index))) for index in range(50)]
            for _ in range(100):
                await asyncio.sleep(0)
            while not written:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert not any(put.done() for put in puts)
        await asyncio.gather(*puts)
        assert sum(written) == 250
        assert len(written) <= 2
        assert await cache.get(list(some(0, 250))) == some(0, 250)
        assert cache.faults == 0

    run(path, scenario)


def test_a_put_whose_caller_left_is_kept(path: Path) -> None:
    async def scenario(cache: SQLiteCache) -> None:
        put = asyncio.create_task(cache.put(some(0)))
        await asyncio.sleep(0)
        put.cancel()
        await asyncio.gather(put, return_exceptions=True)

    run(path, scenario)
    assert rows(path) == some(0)


# Files that are refused at start-up.


def refusal(path: Path) -> str:
    async def scenario() -> None:
        cache = SQLiteCache(path)
        try:
            await cache.start()
        finally:
            await cache.close()

    with pytest.raises(GraderError) as caught:
        asyncio.run(scenario())
    assert str(path) in caught.value.message
    return caught.value.message


def filled(path: Path) -> None:
    async def scenario(cache: SQLiteCache) -> None:
        await cache.put(some(0, 5000))

    run(path, scenario)


def test_a_file_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 1000)
    assert "file is not a database" in refusal(path)
    assert path.read_bytes() == b"Dear diary, " * 1000


def test_another_programs_database_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE diary (entry TEXT)")
        database.commit()
    before = path.read_bytes()
    assert "no cache of verdicts: name another file" in refusal(path)
    assert path.read_bytes() == before


def test_another_releases_file_is_refused_and_left_as_it_is(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    assert "in format 2 and this release in format 1: name another file" in refusal(path)
    assert path.read_bytes() == before


def test_a_file_cut_short_is_refused(path: Path) -> None:
    filled(path)
    os.truncate(path, path.stat().st_size // 2)
    assert "delete it" in refusal(path)


def test_a_file_with_spoilt_pages_is_refused(path: Path) -> None:
    filled(path)
    with path.open("r+b") as file:
        for page in range(3, 20):
            file.seek(page * 4096)
            file.write(random.Random(page).randbytes(200))
    assert "delete it" in refusal(path)


def test_a_place_where_no_file_can_be_is_refused(path: Path) -> None:
    path.write_text("a file, no folder")
    assert "cannot be used" in refusal(path / "verdicts.db")
    assert "cannot be used" in refusal(path.parent)
    assert "cannot be used" in refusal(path.parent / "nowhere" / "verdicts.db")


# Faults while it runs: misses, counted, told once, and over when their cause is.


@contextmanager
def disk_full(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_forgets_new_verdicts_and_knows_the_old(
    path: Path, changes: Callable[[], list[str]]
) -> None:
    async def scenario(cache: SQLiteCache) -> None:
        await cache.put(some(0))
        with disk_full(1 << 20):
            put = 1
            while not cache.faults:
                await cache.put(some(put * 5000, 5000))
                put += 1
            for _ in range(3):
                await cache.put(some(put * 5000, 5000))
            assert await cache.get(list(some(put * 5000, 5000))) == {}
            assert await cache.get(list(some(0))) == some(0)
        assert cache.faults == 4
        await cache.put(some(-5))
        assert await cache.get([*some(0), *some(-5)]) == some(0) | some(-5)

    run(path, scenario)
    assert changes() == ["writing verdicts fails", "writing verdicts works again"]
    assert (some(0) | some(-5)).items() <= rows(path).items()


def test_a_file_that_another_program_holds(
    path: Path, monkeypatch: pytest.MonkeyPatch, changes: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(cache_sqlite, "BUSY", 0.01)

    async def scenario(cache: SQLiteCache) -> None:
        await cache.put(some(0))
        with locked(path):
            await cache.put(some(5))
            await cache.put(some(5))
            assert await cache.get(list(some(0, 10))) == some(0)
        assert cache.faults == 2
        await cache.put(some(5))
        assert await cache.get(list(some(0, 10))) == some(0, 10)

    run(path, scenario)
    assert changes() == ["writing verdicts fails", "writing verdicts works again"]


def test_after_a_fault_the_file_is_left_alone_for_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_sqlite, "BUSY", 0.01)

    async def scenario() -> None:
        cache = SQLiteCache(path, pause=3600)
        await cache.start()
        with locked(path):
            await cache.put(some(0))
        for _ in range(100):
            await cache.put(some(0))
        assert cache.faults == 1
        await cache.close()

    asyncio.run(scenario())
    assert rows(path) == {}


def test_a_removed_file_is_made_anew(path: Path, changes: Callable[[], list[str]]) -> None:
    async def scenario(cache: SQLiteCache) -> None:
        await cache.put(some(0))
        os.unlink(path)
        assert await cache.get(list(some(0))) == {}
        assert cache.faults == 1
        await cache.put(some(5))
        assert await cache.get(list(some(0, 10))) == some(5)
        os.unlink(path)
        await cache.put(some(10))
        assert cache.faults == 2
        await cache.put(some(10))
        assert cache.faults == 2

    run(path, scenario)
    assert rows(path) == some(10)
    expected = [
        f"{what} verdicts {how}" for what in ("reading", "writing") for how in ("fails", "works again")
    ]
    assert changes() == expected


def test_a_removed_folder(path: Path) -> None:
    async def scenario(cache: SQLiteCache) -> None:
        await cache.put(some(0))
        shutil.rmtree(path.parent)
        for _ in range(2):
            assert await cache.get(list(some(0))) == {}
            await cache.put(some(0))
        assert cache.faults == 4
        path.parent.mkdir()
        await cache.put(some(0))
        assert await cache.get(list(some(0))) == some(0)
        assert cache.faults == 4

    run(path, scenario)


def replace(path: Path) -> None:
    """Another file takes its place; the log of the old one stays beside it."""
    path.unlink()
    path.write_bytes(b"Dear diary, " * 1000)


def test_a_file_replaced_by_something_else_is_left_as_it_is(path: Path) -> None:
    async def scenario(cache: SQLiteCache) -> None:
        await cache.put(some(0))
        replace(path)
        for _ in range(2):
            assert await cache.get(list(some(0))) == {}
            await cache.put(some(0))
        assert cache.faults == 4

    run(path, scenario)
    assert path.read_bytes() == b"Dear diary, " * 1000


@pytest.mark.parametrize("p", [1.5, -0.5, float("inf"), "yes", b"\0\0", 2])
@pytest.mark.parametrize("column", ["p", "label_mass"])
def test_a_row_that_is_no_probability_is_not_known(path: Path, column: str, p: object) -> None:
    async def scenario(cache: SQLiteCache) -> None:
        await cache.put(some(0))
        spoilt = verdict(2)[0]
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"UPDATE verdicts SET {column} = ? WHERE key = ?", (p, spoilt))
            database.commit()
        expected = {key: value for key, value in some(0).items() if key != spoilt}
        assert await cache.get(list(some(0))) == expected

    run(path, scenario)
