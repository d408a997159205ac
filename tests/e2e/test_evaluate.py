"""`rbr evaluate`: its slices, intervals, confusion and report."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .commands import here, refused

REFUSAL = "I'm sorry, but I can't help with that."
SCOLDING = "I'm sorry, but I can't help with that. You should be ashamed of asking."


def row(number: int, source: str | None, completion: str, *, judgement: bool) -> dict[str, Any]:
    """A labelled refusal."""
    return {
        "prompt": f"Question {number}?",
        "completion": completion,
        "response_type": "hard_refusal",
        "source": source,
        "number": number,
        "propositions": {"apology": True, "inability_to_comply": True, "judgement": judgement},
    }


def rows() -> list[dict[str, Any]]:
    """90 refusals; of those of the source "b" the grader gets half wrong."""
    found = [row(i, "a", REFUSAL, judgement=False) for i in range(40)]
    found += [row(i, "b", SCOLDING if i % 2 else REFUSAL, judgement=i % 4 > 1) for i in range(40, 80)]
    found += [row(i, None, REFUSAL, judgement=False) for i in range(80, 90)]
    rules = (
        "fully_complies", "disallowed_content", "illogical_continuation_of_prompt", "additional_content",
        "requests_information", "insulting_language", "threatening_language", "meta_commentary",
        "third_person", "reference_safety_policy", "encourage_professional_help",
    )  # fmt: skip
    for one in found:
        one["propositions"] |= dict.fromkeys(rules, False)
    return found


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows()))
    return path


def evaluated(gold: Path, *arguments: str | Path) -> tuple[str, dict[str, Any]]:
    """The table and the JSON of a run that succeeds."""
    out = gold.with_name("figures.json")
    result = here("evaluate", "--gold", gold, "--json", out, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout, json.loads(out.read_text())


def test_a_bad_slice_is_found(gold: Path) -> None:
    text, figures = evaluated(gold, "--slice", "source")
    found = {(t["value"], t["measure"]): t for t in figures["slices"]["tests"]}
    assert figures["slices"]["correction"] == "holm"
    assert {value for value, _ in found} == {"a", "b", "(none)"}
    assert found["b", "class_right"]["differs"]
    assert found["b", "class_right"]["here"] < found["b", "class_right"]["elsewhere"]
    assert found["a", "class_right"]["here"] == 1
    line = next(line for line in text.splitlines() if line.startswith("source = b"))
    assert "*" in line
    assert found["(none)", "class_right"]["n"] == 10


def test_the_usual_slices_and_width(gold: Path) -> None:
    text, figures = evaluated(gold)
    assert {test["column"] for test in figures["slices"]["tests"]} == {"response_type", "length"}
    assert max(map(len, text.splitlines())) <= 100


def test_numbers_and_the_other_correction(gold: Path) -> None:
    _, holm = evaluated(gold, "--slice", "number")
    _, bh = evaluated(gold, "--slice", "number", "--correction", "bh")
    assert [t["value"] for t in holm["slices"]["tests"][:3]] == ["0 to 29", "30 to 59", "60 to 89"]
    pairs = list(zip(holm["slices"]["tests"], bh["slices"]["tests"], strict=True))
    assert all(a["p"] == b["p"] and a["adjusted"] >= b["adjusted"] for a, b in pairs)
    assert any(a["adjusted"] > b["adjusted"] for a, b in pairs)


def test_parquet_gives_the_same_slices(gold: Path, tmp_path: Path) -> None:
    parquet = tmp_path / "gold.parquet"
    pq.write_table(pa.Table.from_pylist(rows()), parquet)
    assert evaluated(gold, "--slice", "source")[1]["slices"] == evaluated(
        parquet, "--slice", "source")[1]["slices"]  # fmt: skip


def test_a_column_that_no_row_has_is_refused(gold: Path) -> None:
    assert f"{gold}: --slice sauce: no row has such a column" in refused(
        "evaluate", "--gold", gold, "--slice", "sauce"
    )


def test_confusion_intervals_and_reliability(gold: Path) -> None:
    _, figures = evaluated(gold)
    confusion = figures["response_types"]["hard_refusal"]["confusion"]
    assert sum(map(sum, confusion["counts"])) == 90
    right = sum(counts[i] for i, counts in enumerate(confusion["counts"]))
    assert figures["class_accuracy"] == pytest.approx(right / 90)
    interval = figures["intervals"]["class_accuracy"]
    assert interval["low"] < interval["value"] == figures["class_accuracy"] < interval["high"]
    apology = figures["propositions"]["apology"]
    assert apology["brier"] == pytest.approx((1 - apology["bins"][0]["p"]) ** 2)
    assert figures["propositions"]["disclaimer"]["ece"] is None


def test_a_report_is_written(gold: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.html"
    evaluated(gold, "--report", report, "--slice", "source")
    page = report.read_text()
    for told in ("source = b", "differs", "lexical", "hard_refusal"):
        assert told in page


def test_completions_of_a_prompt_are_no_independent_evidence(gold: Path) -> None:
    """The same faults, of twelve prompts' completions instead of 90 prompts'."""
    alone = evaluated(gold, "--slice", "source")[1]["slices"]
    together = [{**one, "prompt": f"Question {one['number'] // 8}?"} for one in rows()]
    gold.write_text("".join(json.dumps(one) + "\n" for one in together))
    found = evaluated(gold, "--slice", "source")[1]["slices"]
    assert alone["differing"] > 0
    assert (found["comparisons"], found["differing"]) == (0, 0)  # of too few prompts to be compared


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_an_input_is_not_overwritten(gold: Path, option: str) -> None:
    before = gold.read_bytes()
    assert "input" in refused("evaluate", "--gold", gold, option, gold)
    assert gold.read_bytes() == before


def test_outputs_are_not_the_same_file(gold: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "another output" in refused("evaluate", "--gold", gold, "--json", out, "--report", out)
    assert not out.exists()


def test_layouts_go_with_neither_report_nor_calibration(gold: Path, tmp_path: Path) -> None:
    grader = ("--grader", "openai", "--grader-model", "m", "--grader-url", "http://127.0.0.1:9")
    both = ("evaluate", "--gold", gold, "--layouts", "book,released", *grader)
    assert "--layouts and --report" in refused(*both, "--report", tmp_path / "r.html")
    assert "--layouts and --calibration" in refused(*both, "--calibration", tmp_path / "c.json")
