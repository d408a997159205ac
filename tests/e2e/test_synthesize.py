"""`rbr synthesize` as a process: killed and run again, and over the shipped policies' own texts."""

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbr_service import ranked
from rbr_service.build import rules_folder
from rbr_service.rbr.briefs import class_of
from rbr_service.rbr.policy import load
from rbr_service.writers import pieces
from tests.unit.chat_server import ChatServer

from .commands import PATIENCE, RBR, here, rbr, refused
from .processes import until

DATA = Path(__file__).parents[1] / "data"
POLICY = DATA / "markers.yaml"
PROMPTS = 40
SHIPPED = ("safety", "assistant_style")


class Server:
    """A chat server in a thread of its own."""

    def __init__(self) -> None:
        self.chat = ChatServer()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])
        self._over = asyncio.Event()

    async def _serve(self) -> None:
        async with self.chat.served() as self.url:
            await self._over.wait()

    def __enter__(self) -> "Server":
        self._thread.start()
        until(lambda: self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)
        self._loop.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "prompts.jsonl"
    path.parent.mkdir()
    rows = [{"prompt": f"Question {n}?", "response_type": "reply", "id": n} for n in range(PROMPTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(server: Server, source: Path, output: Path, *more: str | Path) -> list[str | Path]:
    return [
        "synthesize", "-o", output, "--prompts", source, "--policy", POLICY, "--writer", "openai",
        "--writer-url", server.url, "--writer-model", "m", "--writer-concurrency", "3", *more,
    ]  # fmt: skip


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_killed_and_run_again(server: Server, source: Path, tmp_path: Path) -> None:
    expected, output = tmp_path / "expected.jsonl", tmp_path / "out.jsonl"
    figures = [tmp_path / "expected.json", tmp_path / "yields.json"]
    known = rbr(*command(server, source, expected, "--json", figures[0]))
    assert known.returncode == 0, known.stderr
    whole = [*server.chat.answered]
    server.chat.answered.clear()
    server.chat.holds_after = len(whole) // 2
    run = subprocess.Popen(
        [*RBR, *map(str, command(server, source, output, "--json", figures[1]))], stderr=subprocess.DEVNULL
    )
    try:
        # All that can be done is done when every row in flight waits for the server.
        until(lambda: run.poll() is not None or server.chat.at_once_held >= 3)
    finally:
        run.kill()
        run.wait(PATIENCE)
    assert run.returncode == -signal.SIGKILL, "the run ended before it was killed"
    assert not output.exists()
    journal = tmp_path / "out.jsonl.journal"
    done = rows(journal)[1:]
    assert 0 < len(done) < PROMPTS
    with journal.open("ab") as file:
        file.write(b'{"index": 7, "compl')  # as a write that was cut short would leave it
    before = [*server.chat.answered]
    server.chat.answered.clear()
    server.chat.holds_after = None
    again = rbr(*command(server, source, output, "--json", figures[1]))
    assert again.returncode == 0, again.stderr
    assert f"rbr: writing: {len(done)} of {PROMPTS} prompts" in again.stderr
    kept = {f"user: Question {row['index']}?" for row in done}
    assert kept.isdisjoint(server.chat.answered), "what was done is not asked for again"
    assert len({*before} & {*server.chat.answered}) <= 3, "only what was in flight is"
    assert sorted(whole) == sorted([p for p in before if p in kept] + server.chat.answered)
    assert output.read_bytes() == expected.read_bytes()
    assert figures[0].read_text() == figures[1].read_text()
    assert not journal.exists()


def test_parquet_and_named_classes(server: Server, tmp_path: Path) -> None:
    source, output = tmp_path / "in.parquet", tmp_path / "out.jsonl"
    table = [{"prompt": f"Ask {n}", "category": ("small talk", "data", "other")[n % 3]} for n in range(12)]
    pq.write_table(pa.Table.from_pylist(table), source)
    result = here(
        *command(
            server, source, output, "--classes", "good,bad,bad", "--tries", "9", "--response-types", "reply"
        )
    )
    assert result.exit_code == 0, result.output
    assert "8 rows of other types or out of scope" in result.stderr
    assert [[one["class"] for one in row["completions"]] for row in rows(output)] == [
        ["good", "bad", "bad"]
    ] * 4
    assert {row["category"] for row in rows(output)} == {"small talk"}


def test_a_model_writes_for_the_templates_requests(server: Server, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    arguments = command(server, tmp_path, output, "--count", "3")
    place = arguments.index("--prompts")
    result = here(*arguments[:place], *arguments[place + 2 :])
    assert result.exit_code == 0, result.output
    own = pieces.load(DATA / "markers.templates.yaml", load(POLICY))
    asked = {one.text for kind in own.requests for one in pieces.requests(own, kind, 0)[:3]}
    assert {one.split("user: ")[1] for one in server.chat.answered} == asked
    assert {row["prompt"][0]["content"] for row in rows(output)} <= asked


def test_a_failing_server_leaves_what_is_done(server: Server, source: Path, tmp_path: Path) -> None:
    server.chat.breaks_after = 60
    result = here(*command(server, source, tmp_path / "out.jsonl"))
    assert result.exit_code == 1
    assert "answered 404" in result.stderr
    assert "run the same command again to go on" in result.stderr
    assert len(rows(tmp_path / "out.jsonl.journal")) > 1


@pytest.mark.parametrize("policy", SHIPPED)
def test_shipped_texts_make_data_that_fit_reads(policy: str, tmp_path: Path) -> None:
    output, sft, figures = (tmp_path / name for name in ("out.jsonl", "sft.jsonl", "yields.json"))
    arguments = ["synthesize", "--policy", policy, "--count", "25", "--unfiltered"]
    result = here(*arguments, "-o", output, "--sft", sft, "--json", figures)
    assert result.exit_code == 0, result.output
    known = load(rules_folder() / f"{policy}.yaml")
    found = json.loads(figures.read_text())
    assert found["prompts"] == 25 * len(known.response_types)
    assert found["completions"] >= 0.97 * sum(
        made["asked"] for yields in found["yields"].values() for made in yields.values()
    )
    for row in rows(output):
        kind = known.response_types[row["response_type"]]
        for one in row["completions"]:
            assert class_of(kind, one["propositions"]) == one["class"]
    entries = ranked.read(output, known, given=False)
    assert sum(map(len, entries.values())) == found["completions"]
    assert all(line["messages"][-1]["role"] == "assistant" for line in rows(sft))
    assert len(rows(sft)) == found["prompts"]
    again, other = tmp_path / "again.jsonl", tmp_path / "other.jsonl"
    here(*arguments, "-o", again)
    here(*arguments, "-o", other, "--seed", "1")
    assert again.read_bytes() == output.read_bytes() != other.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--prompts", "IN"], "can answer its own requests only"),
        (["--prompts", "IN", "--writer", "openai"], "writer openai needs writer_url"),
        (["--writer", "vllm"], "give --grader vllm"),
        (["--templates", "absent.yaml"], "absent.yaml: no templates there"),
        (["--classes", "good,great"], "great: no classes of the policy 'markers'"),
        (["--classes", "good,good"], "reply needs two or more of its own"),
        (["--classes", "good,fair"], "record needs two or more of its own"),
        (["--response-types", "replies"], "replies: not of the policy 'markers'"),
        (["--json", "no/folder"], "its folder does not exist"),
    ],
)
def test_bad_usage(arguments: list[str], problem: str, source: Path, tmp_path: Path) -> None:
    given = [str(source) if one == "IN" else one for one in arguments]
    assert problem in refused("synthesize", "-o", tmp_path / "out.jsonl", "--policy", POLICY, *given)
    assert not list(tmp_path.glob("out*"))


def test_bad_usage_with_a_model(server: Server, source: Path, tmp_path: Path) -> None:
    assert "--count" in refused(*command(server, source, tmp_path / "out.jsonl", "--count", "3"))
    assert "is an input" in refused(*command(server, source, source))
    source.write_text('{"prompt": "x", "response_type": "reply"}\n{"prompt": "y"}\n')
    assert f"{source}:2: " in refused(*command(server, source, tmp_path / "out.jsonl"))
    source.write_text('{"prompt": "x", "category": "other"}\n')
    assert "no prompt for reply, record" in refused(*command(server, source, tmp_path / "out.jsonl"))
