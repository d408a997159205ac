"""`rbr calibrate` from labelled rows to a file that `rbr evaluate` applies."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbr_service.rbr.calibration import Calibration

from .commands import here, refused

REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "The pins keep the plug from turning until the right key lifts them."


def row(number: int, completion: str, *, apology: bool) -> dict[str, Any]:
    """A labelled row whose grader is not always right."""
    return {
        "prompt": f"Question {number}?",
        "completion": completion,
        "response_type": "hard_refusal",
        "propositions": {"apology": apology, "judgement": False},
    }


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """300 rows: the grader sees an apology in half, of which 100 are labelled so, and 25 of the others."""
    rows = [row(i, REFUSAL, apology=i < 100) for i in range(150)]
    rows += [row(i, ANSWER, apology=i < 175) for i in range(150, 300)]
    path = tmp_path / "my gold.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def calibrated(gold: Path, *arguments: str | Path) -> str:
    """What the command that succeeds writes to stdout."""
    result = here("calibrate", "--gold", gold, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_file_is_made_and_applied(gold: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / "c.json", tmp_path / "f.json"
    text = calibrated(gold, "-o", out, "--json", figures)
    *table, written = text.splitlines()
    assert max(map(len, table)) <= 100
    made = Calibration.load(out, "")
    assert list(made.propositions) == ["apology"]
    assert made.grader.name == "lexical"
    assert (made.propositions["apology"].n, made.propositions["apology"].positives) == (300, 125)
    assert made.origin["data"] == gold.name
    assert made.origin["data_sha256"] == hashlib.sha256(gold.read_bytes()).hexdigest()
    assert made.origin["rows"] == 300
    assert f"--gold '{gold}'" in made.origin["command"]
    assert written == f"{out}: written, version {made.version[:12]}"

    found = json.loads(figures.read_text())
    apology = found["propositions"]["apology"]
    assert apology["calibrated"]["ece"] < apology["ece"] / 3  # .95 and .03 become 2/3 and 1/6
    assert apology["calibrated"]["accuracy"] == apology["accuracy"] == 225 / 300
    eces = apology["calibrated"]["eces"]
    assert len(eces) == found["repeats"] == made.origin["cross_validated"]["repeats"] == 10
    assert found["means"]["ece"] == pytest.approx(
        {"before": apology["ece"], "after": np.mean(eces), "low": min(eces), "high": max(eces)}
    )
    assert f"[{min(eces):.3f} to {max(eces):.3f}]" in text.replace("  ", " ")

    evaluated = tmp_path / "e.json"
    result = here("evaluate", "--gold", gold, "--calibration", out, "--json", evaluated)
    after = json.loads(evaluated.read_text())
    assert after["in_sample"]
    assert "in sample: the calibration was fitted on these very rows" in result.stdout
    assert after["calibration"] == made.version
    assert [point["p"] for point in after["propositions"]["apology"]["bins"]] == pytest.approx(
        [1 / 6, 2 / 3], abs=0.01
    )


def test_what_is_left_as_it_is_says_why(gold: Path, tmp_path: Path) -> None:
    text = calibrated(gold, "-o", tmp_path / "c.json")
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "as it was: 0 yes, 300 no, 10 of each needed" in lines["judgement"]
    assert "as it was: 0 yes, 0 no" in lines["disclaimer"]


def test_the_same_command_gives_the_same_bytes(gold: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        calibrated(gold, "-o", file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_report_is_written(gold: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.html"
    calibrated(gold, "-o", tmp_path / "c.json", "--report", report)
    page = report.read_text()
    assert "calibration of the lexical grader" in page
    assert "apology" in page


def test_too_few_labels_are_refused(gold: Path, tmp_path: Path) -> None:
    gold.write_text("".join(gold.read_text().splitlines(keepends=True)[95:105]))
    out = tmp_path / "c.json"
    assert "no proposition has 10 labels of yes and 10 of no" in refused(
        "calibrate", "--gold", gold, "-o", out
    )
    assert not out.exists()


def test_a_file_fitted_to_another_grader_is_refused(gold: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    calibrated(gold, "-o", out)
    content = json.loads(out.read_text())
    content["grader"]["fingerprint"] = "0" * 64
    out.write_text(json.dumps(content))
    assert "rbr calibrate" in refused("evaluate", "--gold", gold, "--calibration", out)


def test_a_damaged_file_is_refused_by_name_and_key(gold: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    calibrated(gold, "-o", out)
    content = json.loads(out.read_text())
    content["propositions"]["apology"]["slope"] = -1
    out.write_text(json.dumps(content))
    assert f"{out}: propositions.apology.slope: " in refused("evaluate", "--gold", gold, "--calibration", out)
    out.write_text(out.read_text()[:-10])
    assert f"{out}: content: " in refused("evaluate", "--gold", gold, "--calibration", out)
    assert f"{tmp_path / 'none.json'}: cannot be read" in refused(
        "evaluate", "--gold", gold, "--calibration", tmp_path / "none.json"
    )


def test_other_rows_are_not_in_sample(gold: Path, tmp_path: Path) -> None:
    out, evaluated = tmp_path / "c.json", tmp_path / "e.json"
    calibrated(gold, "-o", out)
    gold.write_text("".join(gold.read_text().splitlines(keepends=True)[1:]))
    result = here("evaluate", "--gold", gold, "--calibration", out, "--json", evaluated)
    assert json.loads(evaluated.read_text())["in_sample"] is False
    assert "in sample" not in result.stdout


@pytest.mark.parametrize("command", ["calibrate", "evaluate"])
def test_a_pipe_is_refused(command: str) -> None:
    assert "is no regular file" in refused(command, "--gold", "/dev/null")


@pytest.mark.parametrize("option", ["-o", "--json", "--report"])
def test_an_input_is_not_overwritten(gold: Path, tmp_path: Path, option: str) -> None:
    others: tuple[str | Path, ...] = () if option == "-o" else ("-o", tmp_path / "c.json")
    before = gold.read_bytes()
    assert "input" in refused("calibrate", "--gold", gold, option, gold, *others)
    assert gold.read_bytes() == before


@pytest.mark.parametrize("option", ["-o", "--json", "--report"])
def test_an_output_without_a_folder_is_refused_before_any_work(
    gold: Path, tmp_path: Path, option: str
) -> None:
    path = tmp_path / "none" / "out"
    others: tuple[str | Path, ...] = () if option == "-o" else ("-o", tmp_path / "c.json")
    assert f"{path}: its folder does not exist" in refused("calibrate", "--gold", gold, option, path, *others)
    assert not (tmp_path / "c.json").exists()
