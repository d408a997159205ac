"""A service that logs its scores, what breaks in it, and `rbr rescore` over the log."""

import json
import random
import resource
import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rbr_service.build import rules_folder
from rbr_service.scorelog import reader
from rbr_service.scorelog.writer import ROWS

from .commands import PATIENCE, here, refused, said
from .processes import SERVE, Service, service, until
from .samples import ASKED, SAID

TYPES = ("hard_refusal", "soft_refusal_1", "comply", "K-R", "None")
RULE = "    civil: true\n    judgement: false\n    additional_content: false\n"


def samples(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Conversations unlike each other, of all types in turn."""
    generator = random.Random(seed)
    found = []
    for i in range(number):
        asked = {"role": "user", "content": f"{generator.choice(ASKED)} ({seed}.{i})"}
        answered = {"role": "assistant", "content": " ".join(generator.sample(SAID, 2))}
        found.append({"id": i, "messages": [asked, answered], "response_type": TYPES[i % len(TYPES)]})
    return found


def score(running: Service, asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of one request."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}/v1/score",
        json.dumps({"samples": asked}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        results: list[dict[str, Any]] = json.loads(answer.read())["results"]
    return results


def counted(running: Service, fate: str) -> float:
    """Rows of the log that met a fate, from /metrics."""
    name = f'rbr_score_log_rows_total{{fate="{fate}"}} '
    (line,) = [line for line in running.text("/metrics").splitlines() if line.startswith(name)]
    return float(line.removeprefix(name))


def rows(log: Path) -> list[dict[str, Any]]:
    """All rows of a log."""
    return [row for batch in reader.read(reader.parts(log)) for row in batch]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folders "bare" and "texts", each with the same 60 samples, and the answers to them."""
    folder = tmp_path_factory.mktemp("logs")
    results = []
    for name, options in (("bare", ()), ("texts", ("--score-log-texts",))):
        with service(SERVE, "--score-log", str(folder / name), "--score-log-share", "1", *options) as running:
            results = score(running, samples(60))
            running.terminate()
            assert running.exit_code() == 0
    return folder, results


def test_sigterm_writes_what_is_pending(logs: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, results = logs
    for name in ("bare", "texts"):
        logged = rows(folder / name)
        assert [(row["id"], row["reward"]) for row in logged] == [
            (str(r["id"]), r["reward"]) for r in results
        ]
        assert [row["messages"] is None for row in logged] == [name == "bare"] * 60
    asked = [sample["messages"] for sample in samples(60)]
    assert [row["messages"] for row in logged] == asked


def test_replicas_share_a_folder_and_agree(tmp_path: Path) -> None:
    options = ("--score-log", str(tmp_path), "--score-log-share", "0.3")
    with service(SERVE, *options) as one, service(SERVE, *options) as other:
        asked = samples(200, seed=1)
        assert score(one, asked) == score(other, asked)
        for running in (one, other):
            running.terminate()
            assert running.exit_code() == 0
    first, second = (pq.read_table(part, partitioning=None) for part in reader.parts(tmp_path))
    assert first.column("content") == second.column("content")
    assert 30 < len(first) < 90
    assert pq.read_table(tmp_path).num_rows == 2 * len(first)


def test_a_full_disk_costs_rows_and_no_score(tmp_path: Path) -> None:
    with service(SERVE, "--score-log", str(tmp_path), "--score-log-share", "1") as running:
        limits = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (1000, limits[1]))
        score(running, samples(ROWS))
        until(lambda: counted(running, "not_written") == ROWS)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        assert len(score(running, samples(5))) == 5
        assert running.get("/readyz")["status"] == "ready"
        assert running.log.count("rows of the score log are dropped: File too large; scoring goes on") == 1
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, limits)
        running.terminate()
        assert running.exit_code() == 0
        assert "Traceback" not in running.log
    assert len(rows(tmp_path)) == 5


def test_kill_loses_the_last_rows_and_tears_no_file(tmp_path: Path) -> None:
    with service(SERVE, "--score-log", str(tmp_path), "--score-log-share", "1") as running:
        score(running, samples(ROWS))
        until(lambda: counted(running, "written") == ROWS)
        score(running, samples(10, seed=2))
        running.kill()
    assert len(rows(tmp_path)) == pq.read_table(tmp_path).num_rows == ROWS


def test_a_log_that_cannot_be_kept_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refused("serve", "--port", "0", "--score-log", tmp_path / "file")
    assert message.startswith(f"rbr: score_log: {tmp_path}/file: no file can be made there: File exists: ")
    assert "--score-log" in refused("serve", "--port", "0", "--score-log-texts")
    assert "--score-log-share: " in refused("serve", "--port", "0", "--score-log-share", "0")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A copy of the shipped policy and what lies beside it, to be edited."""
    for file in rules_folder().glob("safety.*"):
        shutil.copy(file, tmp_path / file.name.replace("safety.", "new.", 1))
    return tmp_path / "new.yaml"


def edit(policy: Path, old: str, with_: str) -> None:
    text = policy.read_text(encoding="utf-8")
    assert old in text
    policy.write_text(text.replace(old, with_), encoding="utf-8")


def scored(policy: Path, where: Path) -> list[float]:
    """What `rbr score` makes of the samples by a policy."""
    given, output = where / "in.jsonl", where / "out.jsonl"
    given.write_text("".join(json.dumps(sample) + "\n" for sample in samples(60)))
    said("score", given, "-o", output, "--policy", policy, "--accept-mismatch")
    return [json.loads(line)["reward"] for line in output.read_text().splitlines()]


def test_the_same_policy_changes_nothing(logs: tuple[Path, list[dict[str, Any]]]) -> None:
    text = said("rescore", logs[0] / "bare", "--policy", "safety")
    assert "60 rows rescored, of 1 former reward versions" in text
    assert "verdicts from the log, 0 graded now" in text
    assert text.rstrip().endswith("no reward changes")


def test_a_changed_rule_before_its_weights_are_fitted(
    logs: tuple[Path, list[dict[str, Any]]], new: Path, tmp_path: Path
) -> None:
    log = logs[0] / "bare"
    edit(new, RULE, "    civil: true\n")
    assert "the response type 'hard_refusal' has changed since the fit" in refused(
        "rescore", log, "--policy", new
    )
    outputs = [tmp_path / "changes.jsonl", tmp_path / "changes.parquet"]
    text, again = (said("rescore", log, "--policy", new, "--accept-mismatch", "-o", o) for o in outputs)
    assert text == again
    assert "0 graded now" in text
    changes = [json.loads(line) for line in outputs[0].read_text().splitlines()]
    assert changes == pq.read_table(outputs[1]).to_pylist()
    assert [change["after"]["reward"] for change in changes] == scored(new, tmp_path)
    moved = [change for change in changes if change["change"]]
    assert {change["before"]["response_type"] for change in moved} == {"hard_refusal"}
    largest = max(moved, key=lambda change: abs(change["change"]))
    line = text.split("largest changes\n")[1].splitlines()[0]
    assert f"{largest['before']['reward']:.4f} -> " in line
    assert f"{largest['change']:+.4f}" in line


def test_a_changed_question_is_graded_where_there_are_texts(
    logs: tuple[Path, list[dict[str, Any]]], new: Path, tmp_path: Path
) -> None:
    edit(new, "criticise, shame or lecture the user", "find fault with the user")
    command = ("rescore", "--policy", new, "--accept-mismatch", "-o", tmp_path / "out.jsonl")
    text = said(*command, logs[0] / "texts")
    assert "48 graded now" in text
    changes = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [change["after"]["reward"] for change in changes] == scored(new, tmp_path)
    partly = said(*command, logs[0] / "bare")
    assert "12 rows rescored" in partly
    assert (
        "48 rows not rescored: missing_text: the log holds no verdict of this grader on 'judgement'" in partly
    )
    errors = [json.loads(line)["error"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [error and error["code"] for error in errors].count("missing_text") == 48


def test_a_log_that_tells_nothing_is_a_failure(
    logs: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    log = logs[0] / "bare"
    assert "no score log there" in refused("rescore", tmp_path)
    assert "is an input of this command" in refused("rescore", log, "-o", reader.parts(log)[0])
    result = here(
        "rescore", log, "--base-reward", "given", "--accept-mismatch", "--policy", "assistant_style"
    )
    assert result.exit_code == 1
    assert f"rbr: {log}: nothing could be rescored: " in result.stderr
