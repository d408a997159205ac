"""The `rbr` commands as a person runs them: what they say, what they write, how they end.

Each exit code comes from a process once; the rest runs in the test's own, which is faster by far.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from rbr_service.build import rules_folder

from .commands import here, rbr, refused, said

HELP = {
    (): "Rule Based Rewards",
    ("serve",): "Serve rewards over HTTP until SIGTERM.",
    ("score",): "Score every row of IN",
    ("policy",): "Check, show and compare policies",
    ("policy", "check"): "Validate a policy whole",
    ("policy", "show"): "Print a policy",
    ("policy", "diff"): "Say what changes between two policies",
    ("evaluate",): "Measure the grader on labelled completions.",
    ("fit",): "Fit the weights of a policy",
    ("ablate",): "Held-out ranking error without each part of the reward",
    ("synthesize",): "Write ranked completions for a policy",
    ("calibrate",): "Calibrate the grader on labelled completions.",
    ("label",): "Label the completions of IN",
    ("agreement",): "Measure how far two annotators agree",
}
FIGURES = ("proposition_accuracy", "balanced_accuracy", "class_accuracy", "class_macro_recall")


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A copy of the shipped safety policy, to be edited."""
    return Path(shutil.copy(rules_folder() / "safety.yaml", tmp_path))


def replace(path: Path, old: str, new: str) -> None:
    """Edit a file in one place."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("command", HELP, ids=" ".join)
def test_help(command: tuple[str, ...]) -> None:
    text = said(*command, "--help")
    assert text.startswith(f"Usage: {' '.join(('rbr', *command))} ")
    assert HELP[command] in text
    assert "\\b" not in text


@pytest.mark.parametrize(
    "arguments",
    [("score",), ("no-such-command",), ("policy", "check"), ("serve", "--port", "many")],
    ids=" ".join,
)
def test_bad_usage_is_told_with_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = here(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_exit_codes_of_the_process(tmp_path: Path) -> None:
    assert rbr("policy", "check", "safety").returncode == 0
    refusal = rbr("policy", "check", tmp_path / "missing.yaml")
    assert refusal.returncode == 2
    assert "Traceback" not in refusal.stderr
    (tmp_path / "in.jsonl").write_text('{"prompt": "x", "completion": "y", "response_type": "comply"}\n')
    (tmp_path / "out.jsonl.partial").mkdir()  # the output cannot be written
    failure = rbr("score", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
    assert failure.returncode == 1
    assert failure.stderr.splitlines()[-1].startswith("rbr: ")
    assert "run the same command again" in failure.stderr
    assert "Traceback" not in failure.stderr
    (tmp_path / "out.jsonl.partial").rmdir()
    assert rbr("score", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl").returncode == 0


def test_the_first_steps_of_the_help_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    steps = re.findall(r"^ +(rbr (?:policy|synthesize|fit|ablate) .+?)(?:  |$)", said("--help"), re.MULTILINE)
    assert [step.split()[1] for step in steps] == ["policy", "synthesize", "fit", "ablate"]
    for step in steps:
        words = step.split()[1:]
        said(*words, *(["--count", "10", "--unfiltered"] if words[0] == "synthesize" else []))
    assert Path("weights.json").is_file()


@pytest.mark.parametrize(("policy", "kinds"), [("safety", 4), ("assistant_style", 3)])
def test_policy_check(policy: str, kinds: int) -> None:
    first, *rest = said("policy", "check", policy).splitlines()
    assert first.startswith(f"{policy}: sound; version ")
    assert len(rest) == kinds
    assert all("proved exclusive and exhaustive" in line for line in rest)


def test_policy_show() -> None:
    text = said("policy", "show", "safety")
    for expected in ("apology", "hard_refusal", "K-R", "aliases: Hard Refuse", "unlabelled: out_of_scope"):
        assert expected in text


def test_policy_diff_of_a_reworded_question(edited: Path) -> None:
    question = question_of(edited, "apology")
    replace(edited, question, question.replace("?", " at all?"))
    lines = dict(line.split(": ", 1) for line in said("policy", "diff", "safety", edited).splitlines()[1:])
    assert lines["questions to grade again with layout conversation-first or released"] == "apology (changed)"
    assert lines["questions to grade again with layout book"].startswith("all 23, ")
    assert lines["response types whose weights are void with layout book"] == "all"
    assert lines["response types whose weights are void"] == "hard_refusal (changed)"
    assert lines["response types that need weights"] == "none"


def question_of(policy: Path, name: str) -> str:
    """A proposition's question, as it stands in a policy file."""
    text = policy.read_text()
    begin = text.index("question: ", text.index(f"\n  {name}:", text.index("\npropositions:")))
    return text[begin : text.index("?", begin) + 1]


def test_policy_diff_of_an_alias_leaves_all_weights(edited: Path) -> None:
    replace(edited, "aliases: [Hard Refuse]", "aliases: [Hard Refuse, Plain No]")
    lines = dict(line.split(": ", 1) for line in said("policy", "diff", "safety", edited).splitlines()[1:])
    assert lines["questions to grade again with layout conversation-first or released"] == "none"
    assert lines["questions to grade again with layout book"] == "none"
    assert lines["response types whose weights are void"] == "none"
    assert "response_types" in lines["other keys that changed"]


def test_policy_diff_of_the_same(edited: Path) -> None:
    edited.write_text("# another comment\n" + edited.read_text())
    assert said("policy", "diff", "safety", edited) == "the same policy\n"


def test_a_broken_policy_is_refused_by_place(edited: Path) -> None:
    replace(edited, "unlabelled: out_of_scope", "unlabelled: no_such_type")
    line = 1 + edited.read_text().splitlines().index("unlabelled: no_such_type")
    assert refused("policy", "check", edited).startswith(f"rbr: {edited}:{line}: unlabelled: ")


def test_evaluate(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    table = said("evaluate", "--gold", repository / "tests/data/gold.jsonl", "--json", out)
    figures = json.loads(out.read_text())
    assert figures["rows"] == 38
    for key in FIGURES:
        assert 0.5 < figures[key] <= 1
        assert f"{figures[key]:5.3f}" in next(line for line in table.splitlines() if line.startswith(key))
    ideal = figures["cells"]["hard_refusal"]["ideal"]
    assert ideal["n"] == 16
    assert ideal["recall"] > 0.5
    assert figures["propositions"]["apology"]["positives"] == 32


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"prompt": "x", "completion": "y", "propositions": {"no_such": true}}', "no_such"),
        ('{"prompt": "x", "completion": "y", "propositions": {"apology": 1}}', "true and false"),
        ("{", "is not JSON"),
    ],
    ids=["unknown proposition", "no boolean", "no JSON"],
)
def test_evaluate_refuses_a_bad_row_by_place(tmp_path: Path, row: str, problem: str) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text(f"\n{row}\n")
    line = refused("evaluate", "--gold", gold)
    assert line.startswith(f"rbr: {gold}:2: ")
    assert problem in line


@pytest.mark.parametrize(
    ("source", "output", "problem"),
    [
        ("missing.jsonl", "out.jsonl", "missing.jsonl: no such file"),
        ("in.jsonl", "missing/out.jsonl", "missing/out.jsonl: its folder does not exist"),
        ("in.jsonl", "in.jsonl", "in.jsonl: is an input"),
        ("in.jsonl", ".", "is a folder"),
        ("in.parquet", "out.jsonl", "in.parquet: is not Parquet"),
    ],
)
def test_score_refuses_paths(tmp_path: Path, source: str, output: str, problem: str) -> None:
    for name in ("in.jsonl", "in.parquet"):
        (tmp_path / name).write_text('{"prompt": "x", "completion": "y", "response_type": "comply"}\n')
    assert problem in refused("score", tmp_path / source, "-o", tmp_path / output)


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    config = tmp_path / "rbr.yaml"
    config.write_text("polcy: safety\n")
    assert f"{config}: polcy: is not a setting" in refused("serve", "--config", config)


@pytest.mark.parametrize("command", ["fit", "ablate", "evaluate"])
def test_an_output_without_a_folder_is_refused_before_any_work(
    repository: Path, tmp_path: Path, command: str
) -> None:
    output = tmp_path / "none" / "out.json"
    gold = repository / "tests/data/gold.jsonl"
    data = repository / "tests/data/safety.ranked.jsonl"
    arguments: dict[str, list[str | Path]] = {
        "fit": ["--data", data, "-o", output],
        "ablate": ["--data", data, "--json", output],
        "evaluate": ["--gold", gold, "--json", output],
    }
    assert f"{output}: its folder does not exist" in refused(command, *arguments[command])


def test_what_lies_beside_a_policy_is_asked_for_by_name(repository: Path, tmp_path: Path) -> None:
    policy = tmp_path / "mine.yaml"
    policy.write_text((rules_folder() / "safety.yaml").read_text())
    assert "mine.ranked.jsonl: no ranked completions" in refused("fit", "--policy", policy)
    gold = repository / "tests/data/gold.jsonl"
    missing = refused("evaluate", "--policy", policy, "--gold", gold)
    assert "mine.lexical.yaml: the lexical grader has no cues" in missing
