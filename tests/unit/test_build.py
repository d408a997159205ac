"""Calibrations in force: found beside the policy, bound to the grader, and to the weights."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from rbr_service.build import how_to_fit, identity, load_calibration, make_scorer, policy_path, rules_folder
from rbr_service.conversation import Conversation, Message
from rbr_service.errors import CalibrationError, WeightsError
from rbr_service.graders.lexical import LexicalGrader
from rbr_service.metrics import Metrics
from rbr_service.rbr.calibration import Calibration, Curve, GraderIdentity
from rbr_service.rbr.policy import Policy, load
from rbr_service.scorer import Sample, Scorer
from rbr_service.settings import Settings

SAMPLE = Sample(
    Conversation((Message("user", "How do I pick a lock?"),), "I'm sorry, but I can't help with that."),
    "hard_refusal",
)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The safety policy, its cues and its weights, in a folder of their own."""
    for file in rules_folder().glob("safety.*"):
        shutil.copy(file, tmp_path / file.name.replace("safety.", "mine.", 1))
    return tmp_path / "mine.yaml"


def parts(path: Path) -> tuple[Policy, LexicalGrader]:
    policy = load(path)
    cues = path.with_name("mine.lexical.yaml")
    return policy, LexicalGrader.from_file(cues, policy.file.propositions, policy.categories)


def calibrate(path: Path, slope: float = 0.5, **changes: object) -> Calibration:
    """A calibration beside the policy that flattens P(apology)."""
    policy, grader = parts(path)
    made = Calibration.model_validate(
        {
            "grader": identity(grader),
            "propositions": {"apology": Curve(slope=slope, offset=0.0, n=100, positives=50)},
            "questions": {"apology": policy.question_hashes["apology"]},
            **changes,
        }
    )
    path.with_name("mine.lexical.calibration.json").write_text(made.model_dump_json())
    return made


def scorer(path: Path, **settings: object) -> Scorer:
    return make_scorer(Settings.model_validate({"policy": str(path), **settings}), Metrics())


def test_without_a_file_there_is_none(mine: Path) -> None:
    policy, grader = parts(mine)
    assert load_calibration(Settings(policy=str(mine)), policy, mine, grader) is None
    assert scorer(mine).versions.calibration == "none"


def test_one_beside_the_policy_is_in_force_and_needs_its_own_weights(mine: Path) -> None:
    made = calibrate(mine)
    with pytest.raises(WeightsError, match=f"fitted with the calibration none, not {made.version[:12]}"):
        scorer(mine)
    assert scorer(mine, calibration="none").versions.calibration == "none"
    weights = mine.with_name("mine.lexical.json")
    weights.write_text(json.dumps({**json.loads(weights.read_text()), "calibration": made.version}))
    assert scorer(mine).versions.calibration == made.version
    with pytest.raises(WeightsError, match="fitted with the calibration"):
        scorer(mine, calibration="none")


def scored(found: Scorer) -> tuple[float, float]:
    """P of the apology as used and shown, and its part of the reward."""
    (result,) = asyncio.run(found.score([SAMPLE]))
    return result.verdicts["apology"].p, result.contributions["p:apology"]


def test_it_is_applied_before_features_and_shown(mine: Path) -> None:
    p, part = scored(scorer(mine))
    made = calibrate(mine, slope=0.5)
    flat, flat_part = scored(scorer(mine, accept_mismatch=True))
    assert flat == pytest.approx(made.propositions["apology"].of(p))
    assert 0.5 < flat < p
    assert flat_part / flat == pytest.approx(part / p)


def test_another_graders_calibration_is_refused_with_the_remedy(mine: Path) -> None:
    calibrate(mine, grader=GraderIdentity(name="lexical", fingerprint="0" * 64))
    with pytest.raises(CalibrationError, match="fitted on the grader lexical/000000000000") as refused:
        scorer(mine)
    assert f"rbr calibrate --policy {mine} --grader lexical --gold labelled.jsonl" in str(refused.value)
    assert "--calibration none" in str(refused.value)
    trial = scorer(mine, accept_mismatch=True)
    assert any("the calibration: fitted on the grader" in one for one in trial.model.mismatches)


def test_a_changed_question_voids_its_curve(mine: Path) -> None:
    calibrate(mine, questions={"apology": "0" * 64})
    with pytest.raises(CalibrationError, match="the questions of apology have changed"):
        scorer(mine)


def test_a_broken_or_missing_file_is_named(mine: Path) -> None:
    file = mine.with_name("mine.lexical.calibration.json")
    file.write_text('{"grader"')
    with pytest.raises(CalibrationError, match=rf"{file}: content"):
        scorer(mine)
    with pytest.raises(CalibrationError, match=r"none\.json: cannot be read: No such file"):
        scorer(mine, calibration=mine.with_name("none.json"))
    assert policy_path(str(mine)) == mine


def test_how_to_come_by_weights_begins_with_ranked_completions_where_there_are_none(mine: Path) -> None:
    settings, weights = Settings(policy=str(mine), calibration=Path("none")), mine.with_name("new.json")
    graded = f"--policy {mine} --grader lexical --calibration none"
    made = how_to_fit(settings, weights)
    first, _, then = made.partition(" && ")
    assert first == f"rbr synthesize {graded} --unfiltered -o ranked.jsonl"
    assert then == f"rbr fit {graded} --base-reward none --data ranked.jsonl -o {weights}"
    mine.with_name("mine.ranked.jsonl").touch()
    assert how_to_fit(settings, weights) == f"rbr fit {graded} --base-reward none -o {weights}"
    weights.touch()
    assert how_to_fit(settings, weights).endswith("-o weights.json, then start with --weights weights.json")
