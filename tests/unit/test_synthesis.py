"""From prompts to ranked completions: over a server that also writes badly, and killed on the way."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbr_service import prompts as prompting
from rbr_service import ranked
from rbr_service.conversation import Conversation, Message
from rbr_service.errors import CompletionTooLongError, DataError, OutputError, WriterError
from rbr_service.graders.base import Grader
from rbr_service.graders.fixed import FixedGrader
from rbr_service.graders.lexical import LexicalGrader
from rbr_service.lifetime import started
from rbr_service.prompts import Prompts
from rbr_service.rbr.briefs import Brief
from rbr_service.rbr.calibration import Calibration, Curve, GraderIdentity
from rbr_service.rbr.policy import load
from rbr_service.synthesis import Judge, Summary, Synthesizer, Wish, Yield, classes, synthesize
from rbr_service.writers.base import CannotWrite, Writer, Written
from rbr_service.writers.chat import ChatWriter
from rbr_service.writers.templates import TemplateWriter

from .chat_server import ChatServer

DATA = Path(__file__).parents[1] / "data"
POLICY = load(DATA / "markers.yaml")
REPLY, RECORD = POLICY.response_types.values()
TEMPLATES = TemplateWriter.from_file(DATA / "markers.templates.yaml", POLICY)
USUAL = Wish()


def lexical() -> LexicalGrader:
    return LexicalGrader.from_file(DATA / "markers.lexical.yaml", POLICY.file.propositions, ())


@pytest.fixture
def many(tmp_path: Path) -> Prompts:
    """Sixty prompts of a reply, twenty of a record."""
    rows = [
        {"prompt": f"Question {n}?", "response_type": "record" if n % 4 == 3 else "reply"} for n in range(80)
    ]
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prompting.read(path, POLICY, (REPLY, RECORD))


async def synthesized(
    prompts: Prompts, output: Path, writer: Writer, wish: Wish = USUAL, grader: Grader | None = None,
    *, sft: Path | None = None, figures: Path | None = None, concurrency: int = 4,
    told: list[tuple[int, int]] | None = None,
) -> Summary:  # fmt: skip
    async with started(writer):
        chain = Synthesizer(writer, Judge(grader or lexical(), None, 0.0), wish)
        return await synthesize(
            prompts, output, sft, figures, chain, {"wish": asdict(wish)}, concurrency=concurrency,
            progress=lambda *numbers: told.append(numbers) if told is not None else None,
        )  # fmt: skip


def served(server: ChatServer, prompts: Prompts, output: Path, wish: Wish = USUAL, **options: Any) -> Summary:
    """A run with the server's model as the writer."""

    async def run() -> Summary:
        async with server.served() as url:
            return await synthesized(
                prompts, output, ChatWriter(POLICY, url, "m", concurrency=8), wish, **options
            )

    return asyncio.run(run())


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def total(summary: Summary) -> Yield:
    return sum((one for yields in summary.yields.values() for one in yields.values()), Yield())


def test_yields_rejects_and_retries_add_up(many: Prompts, tmp_path: Path) -> None:
    server, output = ChatServer(busy=5), tmp_path / "out.jsonl"
    summary = served(server, many, output, sft=tmp_path / "sft.jsonl")
    whole = total(summary)
    assert server.outcomes == {"kept": whole.kept, "rejected": whole.rejected, "refused": whole.refused}
    assert min(server.outcomes.values()) > 20
    assert whole.attempts == whole.kept + whole.rejected + whole.refused == len(server.answered)
    assert server.busy_answers > 20
    assert len(server.bodies) == whole.attempts + server.busy_answers
    for kind, asked in ((REPLY, 60), (RECORD, 20)):
        found = summary.yields[kind.name]
        assert found["good"].asked == found["bad"].asked == asked
        assert sum(one.asked for one in found.values()) == asked * (4 if kind is REPLY else 2)
        for one in found.values():
            assert one.kept <= one.asked <= one.attempts <= 4 * one.asked
            assert one.attempts == one.kept + one.rejected + one.refused
            assert one.disputed == 0
    written = rows(output)
    assert (summary.prompts, summary.written, summary.left_out) == (80, len(written), 80 - len(written))
    assert summary.completions == sum(len(row["completions"]) for row in written)
    ideal = [one for row in written for one in row["completions"] if one["class"] == "good"]
    assert (
        len(ideal)
        <= len(rows(tmp_path / "sft.jsonl"))
        == summary.yields["reply"]["good"].kept + (summary.yields["record"]["good"].kept)
    )


def test_rows_are_as_fit_reads_them_and_hold_what_was_meant_and_what_was_found(
    many: Prompts, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    served(ChatServer(), many, output)
    assert [row["id"] for row in rows(output)] == [
        prompt.id for prompt in many.found if any(prompt.id == row["id"] for row in rows(output))
    ]
    for row in rows(output):
        kind = POLICY.response_types[row["response_type"]]
        assert [*row] == ["id", "response_type", "prompt", "completions"]
        assert len({one["class"] for one in row["completions"]}) >= 2
        ranks = [kind.classes.index(one["class"]) for one in row["completions"]]
        assert ranks == sorted(ranks)
        for one in row["completions"]:
            assert [*one] == ["class", "content", "propositions", "graded_class"]
            assert one["graded_class"] == one["class"]
    entries = ranked.read(output, POLICY, given=False)
    assert {name: len(found) for name, found in entries.items()} == dict(
        Counter(row["response_type"] for row in rows(output) for _ in row["completions"])
    )


def test_unfiltered_keeps_what_the_writer_meant(many: Prompts, tmp_path: Path) -> None:
    server, output = ChatServer(), tmp_path / "out.jsonl"
    whole = total(served(server, many, output, Wish(unfiltered=True)))
    assert whole.rejected == 0
    assert whole.disputed == server.outcomes["rejected"] > 0
    assert whole.kept == whole.disputed + server.outcomes["kept"]
    kept = [one for row in rows(output) for one in row["completions"]]
    assert 0 < sum(one["graded_class"] != one["class"] for one in kept) <= whole.disputed


def test_the_order_of_prompts_and_how_many_are_at_work_change_no_row(many: Prompts, tmp_path: Path) -> None:
    found = []
    for n, (prompts, concurrency) in enumerate([(many, 1), (many, 16), (Prompts(many.found[::-1]), 4)]):
        served(ChatServer(), prompts, tmp_path / f"{n}.jsonl", concurrency=concurrency)
        found.append((tmp_path / f"{n}.jsonl").read_text().splitlines())
    assert found[0] == found[1] == found[2][::-1]


def test_the_seed_decides(many: Prompts, tmp_path: Path) -> None:
    found = []
    for n, seed in enumerate((1, 1, 2)):
        served(ChatServer(), many, tmp_path / f"{n}.jsonl", Wish(seed=seed))
        found.append((tmp_path / f"{n}.jsonl").read_bytes())
    assert found[0] == found[1] != found[2]


def test_a_run_that_ended_half_way_goes_on(many: Prompts, tmp_path: Path) -> None:
    expected, output = tmp_path / "expected.jsonl", tmp_path / "out.jsonl"
    known = served(ChatServer(), many, expected, sft=tmp_path / "expected-sft.jsonl")
    server, told = ChatServer(), list[tuple[int, int]]()
    server.breaks_after = 100
    with pytest.raises(WriterError, match="answered 404"):
        served(server, many, output)
    assert not output.exists()
    kept = len((tmp_path / "out.jsonl.journal").read_text().splitlines()) - 1
    assert 0 < kept < 80
    server.breaks_after = None
    summary = served(server, many, output, sft=tmp_path / "sft.jsonl", told=told)
    assert told[0] == (kept, 80)
    assert told[-1] == (80, 80)
    assert summary == known
    assert output.read_bytes() == expected.read_bytes()
    assert (tmp_path / "sft.jsonl").read_bytes() == (tmp_path / "expected-sft.jsonl").read_bytes()
    assert len({*server.answered[:100]} & {*server.answered[100:]}) <= 4, "only what was in flight"
    assert not (tmp_path / "out.jsonl.journal").exists()


@pytest.mark.parametrize("change", ["prompts", "wish"])
def test_the_journal_of_another_run_is_refused(many: Prompts, tmp_path: Path, change: str) -> None:
    server = ChatServer()
    server.breaks_after = 50
    with pytest.raises(WriterError):
        served(server, many, tmp_path / "out.jsonl")
    prompts = Prompts(many.found[1:]) if change == "prompts" else many
    with pytest.raises(DataError, match="journal of another"):
        served(server, prompts, tmp_path / "out.jsonl", Wish(tries=5) if change == "wish" else Wish())


class Says:
    """A writer that always does the same."""

    name = fingerprint = "says"

    def __init__(self, answer: Written | CannotWrite) -> None:
        self._answer = answer

    async def start(self) -> None:
        pass

    async def write(self, brief: Brief, prompt: Sequence[Message], seed: int) -> Written | CannotWrite:
        return self._answer

    async def close(self) -> None:
        pass


def one_prompt() -> Prompts:
    return Prompts([prompting.Prompt("1", REPLY, None, (Message("user", "Hi"),))])


def says(answer: Written | CannotWrite, output: Path, wish: Wish, **options: Any) -> Summary:
    return asyncio.run(synthesized(one_prompt(), output, Says(answer), wish, **options))


def test_a_prompt_with_fewer_than_two_classes_is_left_out(tmp_path: Path) -> None:
    output, sft = tmp_path / "out.jsonl", tmp_path / "sft.jsonl"
    summary = says(Written("[answers] [polite]", {}), output, Wish(tries=3), sft=sft)
    assert (summary.written, summary.left_out, summary.completions) == (0, 1, 0)
    assert summary.yields == {
        "reply": {
            "good": Yield(asked=1, attempts=1, kept=1),
            **dict.fromkeys(("fair", "poor", "bad"), Yield(asked=1, attempts=3, rejected=3)),
        }
    }
    assert output.read_bytes() == b""
    assert rows(sft) == [
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "[answers] [polite]"},
            ]
        }
    ]


def test_what_cannot_be_written_is_asked_for_as_often_as_told(tmp_path: Path) -> None:
    summary = says(CannotWrite("no"), tmp_path / "out.jsonl", Wish(("good", "bad", "bad"), tries=5))
    assert summary.yields == {
        "reply": {
            "good": Yield(asked=1, attempts=5, refused=5),
            "bad": Yield(asked=2, attempts=10, refused=10),
        }
    }


def test_prompts_that_the_server_does_not_take_hold_up_no_run(many: Prompts, tmp_path: Path) -> None:
    server, output = ChatServer(), tmp_path / "out.jsonl"
    server.context = len("user: Question 9?")
    summary = served(server, many, output)
    assert summary.prompts == 80
    found = rows(output)
    assert found
    assert {len(row["prompt"][0]["content"]) for row in found} == {len("Question 9?")}


def test_what_could_not_be_written_is_no_end_of_it(many: Prompts, tmp_path: Path) -> None:
    output, figures = tmp_path / "out.jsonl", tmp_path / "figures.json"
    output.write_text("of a run before")
    Path(f"{figures}.partial").mkdir()
    with pytest.raises(OutputError, match=r"figures\.json: cannot be written: Is a directory"):
        served(ChatServer(), many, output, figures=figures)
    assert output.read_text() == "of a run before"
    Path(f"{figures}.partial").rmdir()
    server = ChatServer()
    summary = served(server, many, output, figures=figures)
    assert not server.bodies, "all was in the journal"
    assert json.loads(figures.read_text()) == asdict(summary)
    assert len(rows(output)) == summary.written > 0


def test_reasoning_is_no_part_of_a_completion(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    thought = Written("<think>[off_topic]</think> [answers][polite]", {})
    summary = says(thought, output, Wish(("good", "bad"), tries=1, unfiltered=True))
    assert {one["content"] for one in rows(output)[0]["completions"]} == {"[answers][polite]"}
    endless = says(Written("<think>[answers]", {}), tmp_path / "x.jsonl", Wish(("good", "bad"), tries=1))
    assert total(summary) == Yield(asked=2, attempts=2, kept=2, disputed=1)
    assert total(endless) == Yield(asked=2, attempts=2, refused=2)


@pytest.mark.parametrize(
    "grader",
    [
        FixedGrader(label_mass={"polite": 0.2}),
        FixedGrader(refusing=lambda request: CompletionTooLongError("too long")),
    ],
    ids=["low mass", "cannot be graded"],
)
def test_what_the_grader_cannot_judge_is_no_class(grader: FixedGrader, tmp_path: Path) -> None:
    async def judged() -> str | None:
        return await Judge(grader, None, 0.5).class_of(REPLY, Conversation((), "x"))

    assert asyncio.run(judged()) is None
    output = tmp_path / "out.jsonl"
    chain = Synthesizer(
        Says(Written("x", {"answers": True})), Judge(grader, None, 0.5), Wish(unfiltered=True)
    )
    line = asyncio.run(chain.row(0, one_prompt().found[0]))
    assert all("graded_class" not in one for one in line["completions"])
    assert not output.exists()


def test_classes_are_judged_by_calibrated_probabilities() -> None:
    p = {"answers": 0.3, "polite": 0.9, "rude": 0.1, "off_topic": 0.1}
    calibration = Calibration(
        grader=GraderIdentity(name="g", fingerprint="f"),
        propositions={"answers": Curve(slope=1.0, offset=3.0, n=20, positives=10)},
        questions={"answers": POLICY.question_hashes["answers"]},
    )

    async def judged(calibration: Calibration | None) -> str | None:
        return await Judge(FixedGrader(p), calibration, 0.5).class_of(REPLY, Conversation((), "x"))

    assert asyncio.run(judged(None)) == "poor"
    assert asyncio.run(judged(calibration)) == "good"


def test_the_classes_asked_for() -> None:
    def asked(kind: Any, named: tuple[str, ...] | None = None) -> set[tuple[str, ...]]:
        return {tuple(classes(kind, named, np.random.default_rng(seed))) for seed in range(60)}

    assert asked(REPLY) == {("good", "fair", "poor", "bad")}
    assert asked(RECORD) == {("good", "bad")}
    assert asked(REPLY, ("bad", "good", "bad")) == {("good", "bad", "bad")}
    assert asked(RECORD, ("fair", "bad", "good")) == {("good", "bad")}
    style = load(DATA.parents[1] / "rules" / "rbr_rules" / "assistant_style.yaml").response_types["chat"]
    found = asked(style)
    assert {one[0] for one in found} == {style.classes[0]}
    assert {one[-1] for one in found} == {style.classes[-1]}
    between = style.classes[1:-1]
    assert {one[1:3] for one in found} == {(a, b) for i, a in enumerate(between) for b in between[i + 1 :]}


def test_the_template_writer_and_a_grader_that_reads_its_marks(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    prompts = prompting.of_templates(TEMPLATES.templates, (REPLY, RECORD), 10, 0)
    summary = asyncio.run(synthesized(prompts, output, TEMPLATES))
    assert (summary.prompts, summary.written) == (10, 10)
    whole = total(summary)
    assert whole.rejected == 0, "what it means is what stands there"
    assert whole.kept == whole.asked == 6 * 4 + 4 * 2
    for row in rows(output):
        kind = POLICY.response_types[row["response_type"]]
        for one in row["completions"]:
            assert tuple(one["propositions"]) == kind.propositions
