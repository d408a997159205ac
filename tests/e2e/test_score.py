"""`rbr score`: killed at any moment and run again, it ends with the bytes of an undisturbed run."""

import json
import os
import pty
import random
import signal
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from .commands import PATIENCE, RBR, Finished, rbr
from .processes import until
from .samples import lines

ROWS = 900


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows to score, some of them bad."""
    path = tmp_path_factory.mktemp("score") / "in.jsonl"
    path.write_text("\n".join(lines(ROWS)) + "\n")
    return path


@pytest.fixture(scope="module", params=[".jsonl", ".parquet"])
def undisturbed(request: pytest.FixtureRequest, source: Path) -> tuple[Path, Finished]:
    """The output of a run that nothing happened to, and what the run said."""
    output = source.with_name("undisturbed" + request.param)
    return output, rbr("score", source, "-o", output)


def journal(output: Path) -> Path:
    """Where the rows done so far are."""
    return output.with_name(output.name + ".journal")


def rows_in(kept: Path) -> int:
    """Whole rows in a journal; none when it is gone."""
    try:
        return max(kept.read_bytes().count(b"\n") - 1, 0)
    except FileNotFoundError:
        return 0


def kill_when_it_has(rows: int, source: Path, output: Path) -> int:
    """Start a run and kill it when that many rows are in its journal; with all, as it writes the output."""
    partial = output.with_name(output.name + ".partial")
    run = subprocess.Popen([*RBR, "score", source, "-o", output], stderr=subprocess.DEVNULL)
    try:
        until(
            lambda: (
                run.poll() is not None
                or (rows_in(journal(output)) >= rows and (rows < ROWS or partial.exists()))
            )
        )
    finally:
        run.kill()
        run.wait(PATIENCE)
    return run.returncode


def tear(kept: Path) -> None:
    """Leave a journal as a write that was cut short would."""
    if kept.exists():
        with kept.open("ab") as file:
            file.write(b'{"line": 7, "id":')


def test_killed_and_run_again(source: Path, undisturbed: tuple[Path, Finished], tmp_path: Path) -> None:
    expected = undisturbed[0].read_bytes()
    output = tmp_path / ("out" + undisturbed[0].suffix)
    for rows in (random.Random(output.suffix).randrange(1, ROWS // 2), ROWS):
        killed = kill_when_it_has(rows, source, output)
        assert killed == -signal.SIGKILL or rows == ROWS, "the run ended before it was killed"
        tear(journal(output))
        assert not output.exists() or output.read_bytes() == expected
    finished = rbr("score", source, "-o", output)
    assert finished.returncode == 0, finished.stderr
    assert output.read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_bad_rows_are_reported_and_stand_in_the_output(
    source: Path, undisturbed: tuple[Path, Finished]
) -> None:
    output, finished = undisturbed
    bad = list(range(97, ROWS + 1, 97))
    assert finished.returncode == 0
    for number in bad:
        assert finished.stderr.count(f"rbr: {source}:{number}: ") == 1
    assert f"{ROWS} rows, {len(bad)} bad" in finished.stderr
    rows = (
        pq.read_table(output).to_pylist()
        if output.suffix == ".parquet"
        else [json.loads(line) for line in output.read_text().splitlines()]
    )
    assert [row["line"] for row in rows] == list(range(1, ROWS + 1))
    assert [row["line"] for row in rows if row.get("error")] == bad
    good = [row for row in rows if not row.get("error")]
    assert [str(row["id"]) for row in good] == [str(row["line"] - 1) for row in good]
    for row in good:
        assert row["reward"] == pytest.approx(sum(dict(row["contributions"]).values()), abs=1e-6)


def test_strict_refuses_before_scoring(source: Path, tmp_path: Path) -> None:
    finished = rbr("score", source, "-o", tmp_path / "out.jsonl", "--strict")
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"rbr: {source}:97: is not JSON")
    assert len(finished.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_progress_without_a_terminal(source: Path, undisturbed: tuple[Path, Finished]) -> None:
    said = [line for line in undisturbed[1].stderr.splitlines() if line.startswith("rbr: scoring: ")]
    assert said[0] == f"rbr: scoring: 0 of {ROWS} rows"
    assert said[-1] == f"rbr: scoring: {ROWS} of {ROWS} rows"
    assert len(said) == 11
    assert undisturbed[1].stdout == ""


def test_progress_on_a_terminal_begins_where_the_run_was(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    kill_when_it_has(100, source, output)
    before = rows_in(journal(output))
    terminal, theirs = pty.openpty()
    with subprocess.Popen([*RBR, "score", source, "-o", output], stderr=theirs) as run:
        os.close(theirs)
        seen = read_all(terminal)
    assert run.returncode == 0
    assert "scoring  [" in seen
    assert f"]  {before}/{ROWS}" in seen
    assert f"]  {ROWS}/{ROWS}" in seen
    assert seen.index(f"]  {before}/{ROWS}") == seen.index("]  ")


def read_all(terminal: int) -> str:
    """All that was written to a terminal."""
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:  # so Linux says that the other side has closed
        pass
    finally:
        os.close(terminal)
    return b"".join(parts).decode()
