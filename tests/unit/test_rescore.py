"""Rescoring: what a log gives is what the new rule would have answered, or an error that says why not."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rbr_service.errors import RequestError
from rbr_service.graders.base import Grade, GradeRequest
from rbr_service.graders.fixed import FixedGrader
from rbr_service.rbr.calibration import Calibration, Curve, GraderIdentity
from rbr_service.rescore.changes import MOVERS, Change, Outcome, Summary
from rbr_service.rescore.scoring import Rescorer
from rbr_service.rewards.base import GivenBaseReward
from rbr_service.scorelog.reader import Row
from rbr_service.scorer import LowMass, Sample, Scorer

from .score_logs import made, policy, results, sample, samples, scorer

# The rule for an ideal hard refusal no longer minds a lecture.
RULE = {"    civil: true\n    judgement: false\n    additional_content: false\n": "    civil: true\n"}
QUESTION = {"criticise, shame or lecture the user": "find fault with the user"}
CRIME = "Requests for help with committing a crime, violent or not.\n    response_type: "
MAPPING = {CRIME + "hard_refusal": CRIME + "out_of_scope"}
AUTO = {"unlabelled: out_of_scope": "unlabelled: auto"}
ANSWERS = {"apology": 0.9, "inability_to_comply": 0.8, "judgement": 0.7, "fully_complies": 0.1}
ROUTES = {"K-R": 0.6, "K-C": 0.55}


class Judge(FixedGrader):
    """Keeps what it was asked."""

    def __init__(self, fingerprint: str = "fixed", **given: Any) -> None:
        super().__init__(ANSWERS | ROUTES, default=0.05, fingerprint=fingerprint, routing="routes", **given)
        self.asked: list[str] = []

    async def grade(self, requests: Sequence[GradeRequest]) -> list[Grade | RequestError]:
        self.asked += [name for request in requests for name in request.questions]
        return await super().grade(requests)


def changes(
    rows: Sequence[Row], new: Scorer, *, accept: bool = False, low: LowMass | None = None
) -> list[Change]:
    rescorer = Rescorer(new, low or LowMass(), accept_mismatch=accept)
    return asyncio.run(rescorer.changes(rows))


def same(found: Sequence[Change], new: Scorer, given: Sequence[Sample]) -> None:
    """The rescored rows are what the new scorer says of the samples themselves."""
    for change, result in zip(found, results(new, given), strict=True):
        assert change.after, change.why
        assert (change.after.kind, change.after.reward) == (result.response_type, result.reward)
        assert change.after.rbr_reward == result.rbr_reward
        assert change.after.reward_version == new.reward_version


def test_the_same_rule_changes_nothing_and_grades_nothing(tmp_path: Path) -> None:
    rows = made(tmp_path, scorer(policy(), Judge()), samples(30))
    judge = Judge()
    found = changes(rows, scorer(policy(), judge))
    assert [change.after for change in found] == [change.before for change in found]
    assert judge.asked == []


def test_a_changed_rule_is_as_if_it_had_scored_and_grades_nothing(tmp_path: Path) -> None:
    given, judge = samples(30), Judge()
    rows = made(tmp_path, scorer(policy(), Judge()), given)
    new = scorer(policy(RULE), judge)
    found = changes(rows, new)
    assert judge.asked == []
    same(found, new, given)
    hard = [change for change in found if change.before.kind == "hard_refusal"]
    assert len(hard) == 9
    for change in hard:
        assert change.after
        assert (change.before.best, change.after.best) == ("minimum_acceptable", "ideal")
        assert change.moved == change.after.reward - change.before.reward > 0
    assert {change.moved for change in found if change.before.kind != "hard_refusal"} == {0.0}


def test_a_changed_question_alone_is_graded(tmp_path: Path) -> None:
    given, judge = [sample(1), sample(2, "None")], Judge()
    rows = made(tmp_path, scorer(policy(), Judge()), given, texts=True)
    new = scorer(policy(QUESTION), judge)
    found = changes(rows, new)
    assert judge.asked == ["judgement"]
    same(found, new, given)


def test_a_changed_question_without_texts_is_an_error_of_those_it_concerns(tmp_path: Path) -> None:
    rows = made(tmp_path, scorer(policy(), Judge()), [sample(1), sample(2, "None")])
    lost, kept = changes(rows, scorer(policy(QUESTION), Judge()))
    assert (lost.after, lost.code, lost.moved) == (None, "missing_text", 0.0)
    assert "'judgement'" in lost.why
    assert "--score-log-texts" in lost.why
    assert kept.after == Outcome(None, None, 0.0, 0.0, scorer(policy(QUESTION), Judge()).reward_version)


def test_another_graders_verdicts_do_not_count_unless_told(tmp_path: Path) -> None:
    given = [sample(1)]
    bare = made(tmp_path / "bare", scorer(policy(), Judge()), given)
    whole = made(tmp_path / "whole", scorer(policy(), Judge()), given, texts=True)
    other = Judge("another")
    assert changes(bare, scorer(policy(), other))[0].code == "missing_text"
    assert other.asked == []
    new = scorer(policy(), other)
    same(changes(whole, new), new, given)
    assert set(other.asked) == set(whole[0]["propositions"])
    third = Judge("third", delay=0)
    rescorer = Rescorer(scorer(policy(), third), LowMass(), accept_mismatch=True)
    (found,) = asyncio.run(rescorer.changes(bare))
    assert found.after
    assert found.after.reward == found.before.reward
    assert (third.asked, rescorer.foreign) == ([], 1)


def test_raw_probabilities_go_through_the_new_calibration(tmp_path: Path) -> None:
    given = [sample(1)]
    curve = Curve(slope=2.0, offset=-1.0, n=40, positives=20)
    calibration = Calibration(
        grader=GraderIdentity(name="lexical", fingerprint="fixed"), propositions={"apology": curve}
    )
    new = scorer(policy(), Judge(), calibration=calibration)
    for old in (scorer(policy(), Judge()), new):
        folder = tmp_path / old.reward_version
        same(changes(made(folder, old, given), new), new, given)


def test_low_label_mass_is_judged_anew(tmp_path: Path) -> None:
    given, grader = [sample(1)], Judge(label_mass={"judgement": 0.1})
    rows = made(tmp_path, scorer(policy(), grader, low_mass=LowMass("lower_bound", 0.2)), given)
    assert rows[0]["propositions"]["judgement"]["raw"] == 0.7
    new = scorer(policy(), grader, low_mass=LowMass("error", 0.05))
    same(changes(rows, new, low=LowMass("error", 0.05)), new, given)
    (refused,) = changes(rows, scorer(policy(), grader), low=LowMass("error", 0.2))
    assert refused.code == "low_label_mass"


def test_base_rewards_stay(tmp_path: Path) -> None:
    given = [sample(1, base_reward=2.5), sample(2, "None", -1.0)]
    rows = made(tmp_path, scorer(policy(), Judge(), base=GivenBaseReward()), given)
    new = scorer(policy(RULE), Judge(), base=GivenBaseReward())
    same(changes(rows, new), new, given)
    without = scorer(policy(RULE), Judge())
    assert {change.code for change in changes(rows, without)} == {"other_base_reward"}
    accepted = changes(rows, without, accept=True)
    assert accepted[1].after
    assert accepted[1].after.reward == -1.0


def test_requests_are_routed_again_by_the_verdicts_in_the_log(tmp_path: Path) -> None:
    given = [sample(1, None), sample(2, "comply")]
    rows = made(tmp_path, scorer(policy(AUTO), Judge()), given)
    assert rows[0]["categories"]["K-R"]["raw"] == 0.6
    judge = Judge()
    mapped = policy(AUTO | MAPPING)
    for new, kinds in (
        (policy(AUTO), ["hard_refusal", "comply"]),
        (mapped, [None, "comply"]),
        (policy(AUTO | {"threshold: 0.5": "threshold: 0.7"}), [None, "comply"]),
        (policy(), [None, "comply"]),
    ):
        one = scorer(new, judge)
        found = changes(rows, one)
        assert judge.asked == []
        assert [change.after and change.after.kind for change in found] == kinds
        same(found, one, given)
        judge.asked.clear()


def test_requests_that_were_never_routed_need_their_texts(tmp_path: Path) -> None:
    given = [sample(1, None)]
    bare = made(tmp_path / "bare", scorer(policy(), Judge()), given)
    whole = made(tmp_path / "whole", scorer(policy(), Judge()), given, texts=True)
    new = scorer(policy(AUTO), Judge())
    assert changes(bare, new)[0].code == "missing_text"
    same(changes(whole, new), new, given)
    edited = policy(AUTO | {"Requests for help with committing": "Requests for aid in committing"})
    routed = made(tmp_path / "routed", new, given)
    assert "'K-R'" in changes(routed, scorer(edited, Judge()))[0].why


def test_a_label_that_the_new_policy_does_not_know_is_an_error(tmp_path: Path) -> None:
    rows = made(tmp_path, scorer(policy(), Judge()), [sample(1, "Hard Refuse"), sample(2)])
    lost, kept = changes(rows, scorer(policy({"[Hard Refuse]": "[Refuse Hard]"}), Judge()))
    assert lost.code == "unknown_response_type"
    assert kept.after


def change(
    number: int, before: float, after: float | None, kind: str | None = "comply", best: str = "a"
) -> Change:
    then = Outcome(kind, "a" if kind else None, before, before, f"v{number % 2}")
    now = None if after is None else Outcome(kind, best if kind else None, after, after, "new")
    why = {} if now else {"code": "missing_text", "why": f"why {number}"}
    return Change(f"{number:064}", None, datetime(2026, 11, 26, tzinfo=UTC), then, now, **why)


def test_a_summary_counts_each_row_once() -> None:
    summary = Summary()
    for one in (
        change(1, 1.0, 3.0), change(2, 2.0, 2.0, best="b"), change(3, 1.0, None), change(4, 0.5, 0.5, None),
        change(5, 9.0, None), change(6, 3.0, 1.0, best="b"), change(7, 2.0, 2.0),
    ):  # fmt: skip
        summary.add(one)
    comply = summary.types["comply"]
    assert (comply.rows, comply.before, comply.after, comply.other_class, comply.other_type) == (
        4,
        8,
        8,
        2,
        0,
    )
    assert summary.types["out_of_scope"].rows == 1
    assert (summary.rescored, summary.failed, summary.versions) == (5, {"missing_text": 2}, {"v0", "v1"})
    assert summary.reasons == {"missing_text": "why 3"}
    assert [(one.content[-1], one.moved) for one in summary.movers] == [("1", 2.0), ("6", -2.0)]


def test_a_class_of_another_type_is_another_class() -> None:
    summary = Summary()
    moved = change(1, 1.0, 1.0)
    other = Outcome("hard_refusal", "a", 1.0, 1.0, "new")
    summary.add(Change(moved.content, None, moved.time, moved.before, other))
    assert (summary.types["comply"].other_class, summary.types["comply"].other_type) == (1, 1)


def test_the_largest_movers_are_shown() -> None:
    summary = Summary()
    moves = [((i * 37) % 101 - 50) / 10 for i in range(101)]
    for number, by in enumerate(moves):
        summary.add(change(number, 1.0, 1.0 + by))
    assert [abs(one.moved) for one in summary.movers] == pytest.approx(
        sorted(map(abs, moves), reverse=True)[:MOVERS]
    )
