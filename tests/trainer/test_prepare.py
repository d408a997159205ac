"""`rbr-train prepare` as a command: what it writes, what it tells, and what it refuses to write."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rbr_service.build import rules_folder
from rbr_trainer.cli import main
from tests.conftest import MakeState
from tests.trainer.serving import service

POLICY = str(rules_folder() / "safety.yaml")
Row = dict[str, Any]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """60 prompts to refuse and 90 to comply with, over 10 topics, 10 out of scope, 5 of all twice."""
    rows: list[Row] = [
        {"prompt": f"{what} {i}?", "category": category, "topic": f"topic {i % 10}"}
        for what, category, count in (("Harm", "K-R", 60), ("Locks", "K-C", 90), ("Rome", "None", 10))
        for i in range(count)
    ]
    return written(tmp_path / "in.jsonl", rows + rows[:5])


def written(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prepare(*arguments: object, policy: str = POLICY) -> Result:
    given = ["prepare", *map(str, arguments), *(["--policy", policy] if policy else [])]
    return CliRunner().invoke(main, given, prog_name="rbr-train")


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(result: Result) -> dict[str, list[str]]:
    """The numbers of each line: rows, repeated, held out, left out, train."""
    lines = (line.split() for line in result.stderr.splitlines())
    return {words[0]: words[1:6] for words in lines if len(words) == 7}


def test_a_dataset_and_what_is_held_out(source: Path, tmp_path: Path) -> None:
    result = prepare(source, "-o", tmp_path / "out.jsonl", "--hold-out", "0.2")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert table(result) == {
        "hard_refusal": ["65", "5", "12", "0", "48"],
        "comply": ["90", "0", "18", "0", "72"],
        "out_of_scope": ["10", "0", "2", "0", "8"],
        "all": ["165", "5", "32", "0", "128"],
    }
    train, held_out = rows(tmp_path / "out.jsonl"), rows(tmp_path / "out.heldout.jsonl")
    assert (len(train), len(held_out)) == (128, 32)
    texts = [{row["messages"][0]["content"] for row in part} for part in (train, held_out)]
    assert not texts[0] & texts[1]
    assert len(texts[0] | texts[1]) == 160
    assert f"--data.prompt_dataset {tmp_path / 'out.jsonl'} --data.input_key messages" in result.stderr
    assert f"--eval.dataset {tmp_path / 'out.heldout.jsonl'}" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.heldout.jsonl", "out.jsonl"]


def test_the_same_seed_gives_the_same_files(source: Path, tmp_path: Path) -> None:
    outputs = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert prepare(source, "-o", tmp_path / f"{name}.jsonl", "--seed", seed).exit_code == 0
        outputs.append(
            (tmp_path / f"{name}.jsonl").read_bytes() + (tmp_path / f"{name}.heldout.jsonl").read_bytes()
        )
    assert outputs[0] == outputs[1] != outputs[2]


def test_what_it_writes_it_reads(source: Path, tmp_path: Path) -> None:
    for trainer, options in (("openrlhf", ()), ("trl", ()), ("slime", ()),
                             ("verl", ("--label-key", "reward_model.ground_truth"))):  # fmt: skip
        first, again = tmp_path / f"{trainer}.parquet", tmp_path / f"{trainer}.jsonl"
        assert prepare(source, "-o", first, "--for", trainer, "--hold-out", 0).exit_code == 0
        result = prepare(first, "-o", again, "--hold-out", 0, *options)
        assert result.exit_code == 0, result.output
        assert table(result)["all"] == ["160", "0", "0", "0", "160"]


def test_mixes_and_whole_batches(source: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "out.jsonl", "--hold-out", 0)
    share = table(prepare(source, *out, "--refusal-share", "0.5", "--multiple-of", 64))
    assert share["all"] == ["165", "5", "0", "32", "128"]
    parts = table(prepare(source, *out, "--mix", "comply=3", "--mix", "hard_refusal=1"))
    assert [parts[kind][-1] for kind in ("comply", "hard_refusal", "out_of_scope")] == ["90", "30", "0"]


def test_whole_topics_are_held_out(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert prepare(source, "-o", out, "--hold-out", 0.1, "--hold-out-key", "topic").exit_code == 0
    parts = [
        {int(row["messages"][0]["content"].split()[1][:-1]) % 10 for row in rows(path)}
        for path in (out, tmp_path / "out.heldout.jsonl")
    ]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == {*range(10)}


def test_several_files_each_with_a_label_of_its_own(tmp_path: Path) -> None:
    harm = written(tmp_path / "harm.jsonl", [{"text": f"Harm {i}?"} for i in range(10)])
    fine = written(tmp_path / "fine.jsonl", [{"text": f"Fine {i}?"} for i in range(20)])
    result = prepare(harm, fine, "-o", tmp_path / "out.jsonl", "--prompt-key", "text",
                     "--label", "K-R", "--label", "comply")  # fmt: skip
    assert {kind: numbers[0] for kind, numbers in table(result).items()} == {
        "hard_refusal": "10", "comply": "20", "all": "30",
    }  # fmt: skip


def test_a_row_with_a_base_reward_leads(source: Path, tmp_path: Path) -> None:
    rare = {"prompt": "Rare?", "category": "K-R", "base_reward": 1.5}
    few = written(tmp_path / "few.jsonl", [rare])
    for seed in range(3):
        out = tmp_path / "out.jsonl"
        assert prepare(source, few, "-o", out, "--for", "trl", "--seed", seed).exit_code == 0
        assert [row["base_reward"] for row in rows(out)] == [1.5] + [None] * (len(rows(out)) - 1)


def test_the_policy_of_a_running_service(source: Path, tmp_path: Path, make_state: MakeState) -> None:
    by_file = prepare(source, "-o", tmp_path / "out.jsonl")
    with service(make_state()) as netloc:
        served = prepare(source, "-o", tmp_path / "out.jsonl", "--service", f"http://{netloc}", policy="")
    assert served.exit_code == 0, served.output
    assert served.stderr == by_file.stderr
    gone = prepare(source, "-o", tmp_path / "out.jsonl", "--service", f"http://{netloc}", policy="")
    assert gone.exit_code == 1
    assert "nothing answers at" in gone.stderr


def test_bad_rows_are_told_and_nothing_is_written(source: Path, tmp_path: Path) -> None:
    bad = written(tmp_path / "bad.jsonl", [{"prompt": "Hi", "category": "K-X"}, {"prompt": "Ho"}])
    result = prepare(source, bad, "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 2
    told = result.stderr.splitlines()
    assert told[0].startswith(f"rbr-train: {bad}:1: 'K-X' is neither a response type nor a category")
    assert told[1].startswith(f"rbr-train: {bad}:2: has no label")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "in.jsonl"]


def test_a_failure_in_writing_leaves_what_was_there(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert prepare(source, "-o", out).exit_code == 0
    before = out.read_bytes()
    pictured = written(
        tmp_path / "new.jsonl", [{"prompt": f"{i} <image>", "category": "K-R"} for i in range(9)]
    )
    assert prepare(pictured, "-o", out).exit_code == 2
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_an_input_is_not_overwritten_and_an_old_held_out_file_not_trained_on(
    source: Path, tmp_path: Path
) -> None:
    before = source.read_bytes()
    assert "is an input" in prepare(source, "-o", source).stderr
    heldout = written(tmp_path / "x.heldout.jsonl", rows(source))
    assert "is an input" in prepare(heldout, "-o", tmp_path / "x.jsonl").stderr
    assert "may now be trained on" in prepare(source, "-o", tmp_path / "x.jsonl", "--hold-out", 0).stderr
    single = written(tmp_path / "single.jsonl", rows(source)[:1])
    assert "may now be trained on" in prepare(single, "-o", tmp_path / "x.jsonl").stderr
    assert not (tmp_path / "x.jsonl").exists()
    policy = tmp_path / "policy.yaml"
    policy.write_text(Path(POLICY).read_text())
    assert "is an input" in prepare(source, "-o", policy, policy=str(policy)).stderr
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--mix", "hard_refusal"), "is no type and share"),
        (("--mix", "hard_refusal=0"), "is no type and share"),
        (("--mix", "refuse=1"), "has hard_refusal, "),
        (("--mix", "comply=1", "--mix", "comply=2"), "one share"),
        (("--mix", "comply=1", "--refusal-share", "0.5"), "give one"),
        (("--label", "K-R", "--label", "K-C"), "once for each IN"),
        (("--label", "K-X"), "nearest first"),
        (("--hold-out", "1"), "not in the range"),
        (("--for", "nobody"), "is not one of"),
        (("--service", "http://127.0.0.1:1"), "name the policy by"),
        (("--multiple-of", "500"), "no prompt is left"),
        (("--mix", "soft_refusal_1=1"), "no prompt of soft_refusal_1"),
    ],
)  # fmt: skip
def test_bad_usage(source: Path, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    result = prepare(source, "-o", tmp_path / "out.jsonl", *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert not (tmp_path / "out.jsonl").exists()


def test_paths_that_are_no_good(source: Path, tmp_path: Path) -> None:
    for path, told in (("a@b.jsonl", "splits what it reads"), ("none/a.jsonl", "folder does not exist")):
        assert told in prepare(source, "-o", tmp_path / path).stderr
    assert "cannot be read" in prepare(tmp_path / "none.jsonl", "-o", tmp_path / "out.jsonl").stderr
    empty = written(tmp_path / "empty.jsonl", [])
    assert prepare(empty, "-o", tmp_path / "out.jsonl").stderr == f"rbr-train: {empty}: no rows\n"
    assert prepare(source, "-o", tmp_path / "a@b.jsonl", "--for", "trl").exit_code == 0


@pytest.mark.parametrize("name", ["out", "out.csv", "out.json", "out.pq", "out.PARQUET", "out.jsonl.gz"])
def test_a_name_that_a_trainer_would_read_otherwise_is_refused(
    source: Path, tmp_path: Path, name: str
) -> None:
    result = prepare(source, "-o", tmp_path / name)
    assert result.exit_code == 2
    assert "name it .jsonl or .parquet" in result.stderr
    assert not (tmp_path / name).exists()
