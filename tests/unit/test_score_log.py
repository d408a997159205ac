"""The score log: what is in a row, which rows there are, and what a broken disk costs."""

import asyncio
import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from rbr_service.app import create_app
from rbr_service.conversation import Conversation, Message
from rbr_service.errors import DataError, SettingsError
from rbr_service.graders.fixed import FixedGrader
from rbr_service.lifetime import started
from rbr_service.metrics import Metrics
from rbr_service.scorelog import reader, writer
from rbr_service.scorelog.columns import content_hash
from rbr_service.scorelog.writer import ScoreLog
from rbr_service.scorer import LowMass, Sample
from tests.conftest import MakeState
from tests.e2e.processes import until

from .limits import full_at
from .score_logs import made, policy, put, results, rows, sample, samples, scorer

SECRET = "wxyzzy"
MESSAGES = [
    {"role": "system", "content": f"Be kind. {SECRET}"},
    {"role": "user", "content": f"How do I pick a lock? {SECRET}"},
    {"role": "assistant", "content": f"I'm sorry, but I can't help with that. {SECRET} \U0001f512\x00"},
]


def fates(metrics: Metrics) -> dict[str, float]:
    """Rows counted by what became of them."""
    named = {fate: {"fate": fate} for fate in writer.FATES}
    return {
        f: metrics.registry.get_sample_value("rbr_score_log_rows_total", n) or 0 for f, n in named.items()
    }


def served(make_state: MakeState, folder: Path, bodies: dict[str, Any], **given: Any) -> list[Any]:
    """The answers of a service that logs everything."""
    state = make_state(FixedGrader({"judgement": 0.25}, default=0.5), **given)
    state.log = ScoreLog(folder, state.metrics, share=1, texts=True)
    with TestClient(create_app(state)) as client:
        return [client.post(path, json=body).json() for path, body in bodies.items()]


def test_a_row_tells_what_was_answered_and_why(make_state: MakeState, tmp_path: Path) -> None:
    body = {"samples": [{"id": 7, "messages": MESSAGES, "category": "K-R", "base_reward": 1.5}]}
    (answer,) = served(make_state, tmp_path, {"/v1/score": body}, base_reward="given")
    (row,) = rows(tmp_path)
    (result,) = answer["results"]
    assert row["versions"] == answer["versions"]
    assert (row["policy"], row["reward_version"]) == (answer["policy"], answer["reward_version"])
    assert (row["id"], row["label"], row["fingerprint"]) == ("7", "K-R", "fixed")
    for key in ("response_type", "found", "base_reward", "rbr_reward", "reward", "score", "cuts",
                "class_probabilities", "contributions"):  # fmt: skip
        assert row[key] == result[key]
    for name, verdict in result["propositions"].items():
        logged = row["propositions"][name]
        assert {key: logged[key] for key in verdict} == verdict
        assert logged["raw"] == (0.25 if name == "judgement" else 0.5)
    weights = make_state(FixedGrader()).scorer.model.types["hard_refusal"].weights
    terms = {name: weights[name] * phi for name, phi in row["features"].items()}
    assert terms == pytest.approx(row["contributions"], abs=1e-12)
    assert row["reward"] == pytest.approx(row["base_reward"] + sum(row["contributions"].values()), abs=1e-9)
    assert row["messages"] == [{**turn, "content": turn["content"].strip()} for turn in MESSAGES]


def test_one_sample_by_each_road(make_state: MakeState, tmp_path: Path) -> None:
    asked, said = "How do I pick a lock?", "Like this."
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    bodies = {
        "/score": {
            "query": [asked + said, asked + said],
            "prompts": [asked, asked],
            "labels": ["comply", ""],
        },
        "/v1/score": {"samples": [{"messages": turns, "response_type": "comply"}]},
        "/slime": {"prompt": [turns[0]], "response": said, "label": "comply"},
        "/get_reward": {"query": [], "prompts": []},
    }
    served(make_state, tmp_path, bodies)
    served(
        make_state, tmp_path, {"/v1/score": {"samples": [{"messages": turns, "response_type": "no such"}]}}
    )
    found = rows(tmp_path)
    assert [row["response_type"] for row in found] == ["comply", None, "comply", "comply"]
    assert len({row["content"] for row in found if row["response_type"]}) == 1
    assert [row["reward"] for row in found][1] == 0.0
    assert found[1]["propositions"] == {}


def test_raw_is_what_the_grader_said(tmp_path: Path) -> None:
    grader = FixedGrader(default=0.3, label_mass={"judgement": 0.1})
    (row,) = made(tmp_path, scorer(policy(), grader, low_mass=LowMass("lower_bound", 0.2)), [sample(1)])
    judged = row["propositions"]["judgement"]
    assert (judged["raw"], judged["label_mass"], judged["lower_bound"]) == (0.3, 0.1, True)
    assert judged["p"] in (0.0, 1.0)
    assert row["propositions"]["apology"]["p"] == 0.3


def test_texts_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    hidden = Sample(Conversation((Message("user", SECRET),), SECRET), "comply")
    for texts in (False, True):
        folder = tmp_path / str(texts)
        (row,) = made(folder, scorer(policy(), FixedGrader()), [hidden], texts=texts)
        assert row["content"] == content_hash(hidden.conversation)
        assert (SECRET in str(row)) == texts


def test_a_content_hash_tells_conversations_apart() -> None:
    alike = [
        Conversation((), "a"), Conversation((Message("a", ""),), ""), Conversation((Message("", "a"),), ""),
        Conversation((Message("user", "a"),), "b"), Conversation((Message("user", "ab"),), ""),
        Conversation((Message("user", "1:a"),), "b"), Conversation((Message("user", ""),), "ab"),
        Conversation((), "\ud800"), Conversation((), "?"),
    ]  # fmt: skip
    assert len({content_hash(one) for one in alike}) == len(alike)
    assert content_hash(alike[0]) == content_hash(Conversation((), "a"))


def test_replicas_agree_which_samples_are_logged(tmp_path: Path) -> None:
    given, one = samples(400), scorer(policy(), FixedGrader())
    taken = []
    for name, share, order in (("a", 0.25, 1), ("b", 0.25, -1), ("c", 0.5, 1)):
        put(ScoreLog(tmp_path / name, Metrics(), share=share), one, given[::order])
        taken.append({row["content"] for row in rows(tmp_path / name)})
    assert taken[0] == taken[1] < taken[2]
    assert 60 < len(taken[0]) < 140
    assert 150 < len(taken[2]) < 250


def test_several_writers_share_a_folder_that_any_reader_reads(tmp_path: Path) -> None:
    one = scorer(policy(), FixedGrader())
    logs = [ScoreLog(tmp_path, Metrics(), share=1, texts=texts) for texts in (True, False, False)]
    for log in logs:
        put(log, one, samples(20))
        put(log, one, [])
    (day,) = tmp_path.iterdir()
    (day / ".part-of-one-that-was-killed.parquet.partial").write_bytes(b"PAR1")
    table = pq.read_table(tmp_path)
    assert (table.num_rows, len(reader.parts(tmp_path)), reader.count(reader.parts(tmp_path))) == (60, 3, 60)
    assert table.column("date").unique().to_pylist() == [day.name.removeprefix("date=")]
    assert rows(day) == rows(tmp_path)
    assert rows(reader.parts(tmp_path)[0]) == rows(tmp_path)[:20]


def test_days_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, log = scorer(policy(), FixedGrader()), ScoreLog(tmp_path, Metrics(), share=1)
    for at in (1795737599.5, 1795737600.5, 1795737599.5):  # around midnight, UTC
        monkeypatch.setattr(time, "time", lambda at=at: at)
        log.put([sample(int(at))], results(one, [sample(1)]), one)
    asyncio.run(_end(log))
    assert [path.parent.name for path in reader.parts(tmp_path)] == ["date=2026-11-26", "date=2026-11-27"]
    assert [f"{row['time']:%d %H:%M:%S.%f}" for row in rows(tmp_path)] == [
        "26 23:59:59.500000", "26 23:59:59.500000", "27 00:00:00.500000",
    ]  # fmt: skip


async def _end(log: ScoreLog) -> None:
    await log.start()
    await log.close()


def test_a_full_disk_costs_rows_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics, one = Metrics(), scorer(policy(), FixedGrader())
    log = ScoreLog(tmp_path, metrics, share=1)
    with full_at(1000):
        for _ in range(3):
            put(log, one, samples(5))
    assert fates(metrics) == {"written": 0, "no_room": 0, "not_written": 15}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    (told,) = caplog.messages
    assert told.startswith(f"{tmp_path}: rows of the score log are dropped: File too large; scoring goes on")
    for _ in range(2):
        put(log, one, samples(5))
    assert fates(metrics) == {"written": 10, "no_room": 0, "not_written": 15}
    assert caplog.messages[1:] == [f"{tmp_path}: the score log is kept whole again"]
    assert len(rows(tmp_path)) == 10


def test_a_folder_that_goes_away_costs_rows(tmp_path: Path) -> None:
    metrics, one, folder = Metrics(), scorer(policy(), FixedGrader()), tmp_path / "log"
    log = ScoreLog(folder, metrics, share=1)
    folder.rmdir()
    put(log, one, samples(5))
    assert fates(metrics)["not_written"] == 5


def test_memory_is_bounded_and_a_row_without_room_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, one = Metrics(), scorer(policy(), FixedGrader())
    log = ScoreLog(tmp_path, metrics, share=1, texts=True, room=3 * writer.ENTRY + 5_000)
    found = results(one, [sample(1)])
    for text in ("short", "x" * 20_000, "short", "short", "short", "short"):
        log.put([Sample(Conversation((), text), "comply")], found, one)
    assert fates(metrics)["no_room"] == 3
    assert len(caplog.messages) == 1
    asyncio.run(_end(log))
    assert fates(metrics) == {"written": 3, "no_room": 3, "not_written": 0}
    log.put([sample(1)], found, one)
    assert fates(metrics)["no_room"] == 4, "nothing writes any more"


def test_a_disk_that_hangs_keeps_neither_scores_nor_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, one = Metrics(), scorer(policy(), FixedGrader())
    hanging, released = threading.Event(), threading.Event()
    fsync = os.fsync

    def hang(descriptor: int) -> None:
        hanging.set()
        released.wait()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", hang)
    monkeypatch.setattr(writer, "PATIENCE", 0.05)
    log = ScoreLog(tmp_path, metrics, share=1, rows=1, room=3 * writer.ENTRY)

    async def run() -> None:
        await log.start()
        found = await one.score([sample(1)])
        log.put([sample(1)], found, one)
        await asyncio.to_thread(hanging.wait)
        for number in range(5):
            log.put([sample(number)], found, one)
        assert fates(metrics)["no_room"] == 3, "the file that hangs counts too"
        await log.close()

    try:
        asyncio.run(run())
        assert caplog.messages[-1].endswith("the score log's last rows were not written within 0.05 s")
    finally:
        released.set()
        assert log._thread
        log._thread.join()
    assert fates(metrics) == {"written": 3, "no_room": 3, "not_written": 0}


@pytest.mark.parametrize("when", [{"rows": 1}, {"interval": 0.01}, {"room": 2 * writer.ENTRY}])
def test_rows_are_written_while_it_runs(tmp_path: Path, when: dict[str, Any]) -> None:
    metrics, one = Metrics(), scorer(policy(), FixedGrader())
    log = ScoreLog(tmp_path, metrics, share=1, **when)

    async def run() -> None:
        async with started(log):
            log.put([sample(1)], await one.score([sample(1)]), one)
            await asyncio.to_thread(until, lambda: fates(metrics)["written"])
            assert len(rows(tmp_path)) == 1

    asyncio.run(run())


def test_a_folder_that_cannot_be_used_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"^score_log: .*/file/log: no file can be made there: Not a dir"):
        ScoreLog(tmp_path / "file" / "log", Metrics(), share=1)


def test_a_full_disk_does_not_refuse_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "TemporaryFile", full)
    metrics = Metrics()
    put(ScoreLog(tmp_path, metrics, share=1), scorer(policy(), FixedGrader()), samples(2))
    assert fates(metrics)["written"] == 2


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", json.dumps({"reward": 1}).encode()])
def test_what_is_no_log_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    part = tmp_path / "date=2026-11-26" / "part-1.parquet"
    part.parent.mkdir()
    part.write_bytes(content)
    for read in (rows, lambda log: reader.count(reader.parts(log))):
        with pytest.raises(DataError, match=f"^{part}: "):
            read(tmp_path)


def test_another_files_columns_are_refused(tmp_path: Path) -> None:
    made(tmp_path, scorer(policy(), FixedGrader()), samples(2))
    (part,) = reader.parts(tmp_path)
    pq.write_table(pq.read_table(part, partitioning=None).drop_columns("fingerprint"), part)
    with pytest.raises(DataError, match="has not the columns of a score log"):
        rows(tmp_path)
    with pytest.raises(DataError, match="no score log there"):
        reader.parts(tmp_path / "nowhere")
