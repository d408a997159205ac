"""`rbr score` without the process around it: whatever stops a run, the next one ends it the same."""

import asyncio
import fcntl
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbr_service import batch, rows
from rbr_service.batch import Summary, score_file
from rbr_service.errors import DataError, GraderError, RequestError
from rbr_service.graders.base import Grade, GradeRequest
from rbr_service.graders.fixed import FixedGrader
from rbr_service.reading import Reader
from tests.conftest import MakeState

GOOD = 10
LINES = [
    json.dumps({"id": i, "prompt": "Hello?", "completion": f"Hello {i}.", "response_type": "comply"})
    for i in range(GOOD)
]
LINES.insert(4, "{x")
LINES.insert(7, "")
BAD_LINE = 5

Score = Callable[..., Summary]


class CountingGrader(FixedGrader):
    """Fails from its `fails_at`-th call on; `seen` counts the completions it judged."""

    def __init__(self, fails_at: int = 1000) -> None:
        super().__init__({"apology": 0.9})
        self.fails_at, self.seen = fails_at, 0

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        if self.calls + 1 >= self.fails_at:
            raise GraderError("the engine is gone")
        self.seen += len(requests)
        return await super().grade(requests)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten good rows, a bad one and a blank line."""
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(LINES) + "\n")
    return path


@pytest.fixture(params=[".jsonl", ".parquet"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the rewards go, in either format."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / f"out{request.param}"


@pytest.fixture
def score(make_state: MakeState, monkeypatch: pytest.MonkeyPatch) -> Score:
    """Scores a file in batches of three: `score(source, output, grader, strict=..., **settings)`."""
    monkeypatch.setattr(batch, "BATCH", 3)
    usual = make_state(CountingGrader())

    def run(
        source: Path, output: Path, grader: FixedGrader | None = None, *, strict: bool = False,
        progress: Callable[[int, int], None] = lambda *_: None,
        report: Callable[[str], None] = lambda _: None, **settings: Any,
    ) -> Summary:  # fmt: skip
        state = make_state(grader or CountingGrader(), **settings) if grader or settings else usual
        return asyncio.run(
            score_file(
                source, output, state.scorer, Reader(state.settings), strict=strict,
                progress=progress, report=report,
            )
        )  # fmt: skip

    return run


@pytest.fixture
def expected(score: Score, source: Path, output: Path) -> bytes:
    """The bytes of a run that nothing happened to; nothing else is left of it."""
    score(source, output)
    content = output.read_bytes()
    output.unlink()
    assert list(output.parent.iterdir()) == []
    return content


def journal(output: Path) -> Path:
    """Where the rows done so far are."""
    return output.with_name(output.name + ".journal")


def test_rows_keep_their_order_and_bad_ones_stand_among_them(
    score: Score, source: Path, output: Path
) -> None:
    said: list[str] = []
    summary = score(source, output, report=said.append)
    assert summary == Summary(rows=GOOD + 1, bad=1, out_of_scope=0)
    problem = "Expecting property name enclosed in double quotes at character 2"
    assert said == [f"{source}:{BAD_LINE}: is not JSON: {problem}"]
    found = read(output)
    assert [row["line"] for row in found] == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]
    assert [row["id"] for row in found if not row.get("error")] == [as_id(output, i) for i in range(GOOD)]
    assert found[BAD_LINE - 1]["error"]["code"] == "invalid_request"


def as_id(output: Path, number: int) -> str | int:
    """An id in the output: a column of Parquet has one type."""
    return str(number) if rows.is_parquet(output) else number


def read(output: Path) -> list[dict[str, Any]]:
    """The rows of an output."""
    if rows.is_parquet(output):
        return list(pq.read_table(output).to_pylist(maps_as_pydicts="strict"))
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_both_formats_say_the_same(score: Score, source: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "a.jsonl", tmp_path / "a.parquet"]
    for output in outputs:
        score(source, output)
    text, table = (read(output) for output in outputs)
    for row, cells in zip(text, table, strict=True):
        row["id"] = None if row["id"] is None else str(row["id"])
        assert cells == dict.fromkeys(cells) | row


def test_both_formats_are_read_the_same(score: Score, tmp_path: Path) -> None:
    given = [json.loads(line) for line in LINES if line.startswith('{"')]
    turns = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Go on."}]
    given.append({"id": GOOD, "response_type": None, "messages": turns})
    columns = ("id", "prompt", "completion", "response_type", "messages")
    text, table = tmp_path / "in.jsonl", tmp_path / "in.parquet"
    text.write_text("".join(json.dumps(row) + "\n" for row in given))
    pq.write_table(pa.table({name: [row.get(name) for row in given] for name in columns}), table)
    outputs = [tmp_path / "text.jsonl", tmp_path / "table.jsonl"]
    for source, output in zip((text, table), outputs, strict=True):
        assert score(source, output) == Summary(rows=GOOD + 1, bad=0, out_of_scope=1)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_failing_grader_costs_only_its_batch(
    score: Score, source: Path, output: Path, expected: bytes
) -> None:
    with pytest.raises(GraderError, match="the engine is gone"):
        score(source, output, CountingGrader(fails_at=3))
    assert not output.exists()
    again, told = CountingGrader(), list[tuple[int, int]]()
    score(source, output, again, progress=lambda *numbers: told.append(numbers))
    assert again.seen == GOOD - 5  # two batches of three, one row of them bad, were done
    assert told[0] == (6, GOOD + 1)
    assert told[-1] == (GOOD + 1, GOOD + 1)
    assert output.read_bytes() == expected


class KilledError(BaseException):
    """In place of SIGKILL: nothing catches it."""


@pytest.mark.parametrize("step", ["_finish", "os.fsync", "os.replace", "Path.unlink"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_in_the_end(
    score: Score, source: Path, output: Path, expected: bytes, step: str, after: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    of_system = {"os.fsync": (os, "fsync"), "os.replace": (os, "replace"), "Path.unlink": (Path, "unlink")}
    owner, name = of_system.get(step, (batch, step))
    original = getattr(owner, name)

    def killed(*arguments: Any) -> None:
        if after:
            original(*arguments)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KilledError):
            score(source, output)
    assert not output.exists() or output.read_bytes() == expected
    score(source, output)
    assert output.read_bytes() == expected
    assert list(output.parent.iterdir()) == [output]


def test_a_journal_torn_anywhere_is_taken_up(score: Score, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    score(source, output)
    expected = output.read_bytes()
    with pytest.raises(GraderError):
        score(source, output, CountingGrader(fails_at=3))
    whole = journal(output).read_bytes()
    header = whole.index(b"\n") + 1
    for end in (
        *range(0, header + 2, 7),
        header - 1,
        header,
        *range(header, len(whole), 211),
        len(whole) - 1,
    ):
        journal(output).write_bytes(whole[:end])
        score(source, output)
        assert output.read_bytes() == expected
        assert not journal(output).exists()


@pytest.mark.parametrize("change", ["input", "setting", "reward", "not a journal", "short"])
def test_a_foreign_journal_is_refused_and_left_alone(
    score: Score, source: Path, output: Path, change: str
) -> None:
    with pytest.raises(GraderError):
        score(source, output, CountingGrader(fails_at=2))
    grader, settings = CountingGrader(), dict[str, Any]()
    if change == "input":
        source.write_text(source.read_text() + LINES[0] + "\n")
    elif change == "setting":
        settings["strip_reasoning"] = False
    elif change == "reward":
        grader.fingerprint = "another"
    else:
        journal(output).write_text("my notes\n" * 500 if change == "not a journal" else "my notes")
    before = journal(output).read_bytes()
    with pytest.raises(DataError, match=r"is the journal of another .* delete the journal"):
        score(source, output, grader, **settings)
    assert journal(output).read_bytes() == before
    assert grader.calls == 0


def test_two_runs_never_write_one_journal(score: Score, source: Path, output: Path) -> None:
    with journal(output).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another run is writing"):
            score(source, output)
    score(source, output)


def test_strict_refuses_a_bad_row_before_grading_any(score: Score, source: Path, output: Path) -> None:
    grader = CountingGrader()
    with pytest.raises(DataError, match=rf"in\.jsonl:{BAD_LINE}: is not JSON"):
        score(source, output, grader, strict=True)
    assert grader.calls == 0
    assert list(output.parent.iterdir()) == []


def test_strict_also_looks_at_what_an_earlier_run_passed(score: Score, source: Path, output: Path) -> None:
    with pytest.raises(GraderError):
        score(source, output, CountingGrader(fails_at=3))
    with pytest.raises(DataError, match=f":{BAD_LINE}:"):
        score(source, output, strict=True)


@pytest.mark.parametrize("content", ["", "\n \n"], ids=["nothing", "blank lines"])
def test_an_empty_input_gives_an_empty_output(
    score: Score, tmp_path: Path, output: Path, content: str
) -> None:
    source = tmp_path / "empty.jsonl"
    source.write_text(content)
    assert score(source, output) == Summary()
    assert read(output) == []


def test_an_unwritable_journal_is_named(score: Score, source: Path, output: Path) -> None:
    journal(output).mkdir()
    with pytest.raises(DataError, match=r"\.journal: cannot be written: Is a directory"):
        score(source, output)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_count_agrees_with_read(score: Score, source: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    score(source, path)
    assert rows.count(path) == len(list(rows.read(path))) == GOOD + 1


@pytest.mark.parametrize("read", [rows.count, lambda path: list(rows.read(path))], ids=["count", "read"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("no Parquet")
    with pytest.raises(DataError, match=r"a\.parquet: is not Parquet"):
        read(path)
    with pytest.raises(DataError, match=r"b\.jsonl: cannot be read: No such file"):
        read(tmp_path / "b.jsonl")
