"""The window, the baselines and the texts of the last scores, against lists that hold everything."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service import recent as module
from rbr_service.build import make_scorer
from rbr_service.conversation import Conversation, Message
from rbr_service.graders.base import Verdict
from rbr_service.metrics import Metrics
from rbr_service.recent import LONGEST, Recent, Row, Texts
from rbr_service.scorer import Found, Result, Sample, Scorer
from rbr_service.settings import Settings

KINDS = ("hard_refusal", "comply", None)
REWARDS = st.floats(-20, 20)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return make_scorer(Settings(), Metrics())


@pytest.fixture(scope="module")
def other(scorer: Scorer) -> Scorer:
    """Of another reward version."""
    return make_scorer(Settings(on_low_mass="lower_bound"), Metrics(), before=scorer)


def sample(completion: str = "Sorry.", prompt: str = "How?") -> Sample:
    return Sample(Conversation((Message("system", "Be kind."), Message("user", prompt)), completion))


def result(scorer: Scorer, kind: str | None, rbr_reward: float = 1.0, p: float = 0.25) -> Result:
    found = Result(0.5, rbr_reward, 0.5, Found("label"), kind)
    if kind is None:
        return found
    model = scorer.model.types[kind]
    best = {name: float(name == "unacceptable") for name in model.response_type.classes}
    verdicts = {name: Verdict(p + i / 100, 1.0) for i, name in enumerate(model.propositions)}
    return replace(found, class_probabilities=best, verdicts=verdicts)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 7)
    monkeypatch.setattr(module, "BASELINE", 3)
    monkeypatch.setattr(module, "TEXTS", 2)


@pytest.mark.usefixtures("small")
@settings(deadline=None)
@given(steps=st.lists(st.lists(st.tuples(st.sampled_from(KINDS), REWARDS), max_size=9), max_size=9),
       changes=st.sets(st.integers(0, 8)), after=st.integers(-3, 80))  # fmt: skip
def test_it_holds_what_lists_of_everything_hold(
    scorer: Scorer, other: Scorer, steps: list[list[tuple[str | None, float]]], changes: set[int], after: int
) -> None:
    scorers = [scorer, other]
    found, count = Recent(scorer, texts=True), 0
    since: list[tuple[int, str | None, float]] = []
    for i, step in enumerate(steps):
        if i in changes:
            scorers.reverse()
            found.follow(scorers[0])
            since = []
        results = [result(scorer, kind, reward) for kind, reward in step]
        found.put([sample(f"{count + j}") for j in range(len(step))], results, scorers[0])
        since += [(count + j + 1, kind, reward) for j, (kind, reward) in enumerate(step)]
        count += len(step)
    assert found.last == count
    assert found.first == count - len(since)
    assert shown(found.window) == since[-7:]
    assert {kind: shown(rows) for kind, rows in found.baselines.items()} == {
        kind: [one for one in since if one[1] == kind][:3] for kind in {one[1] for one in since}
    }
    assert list(found.texts) == [number for number, _, _ in since[-2:]]
    assert [int(texts.completion) + 1 for texts in found.texts.values()] == list(found.texts)
    assert shown(found.after(after)) == [one for one in since[-7:] if one[0] > after]


def shown(rows: Any) -> list[tuple[int, str | None, float]]:
    return [(row.number, row.response_type, row.rbr_reward) for row in rows]


def test_a_row_says_what_the_score_was(scorer: Scorer) -> None:
    found = Recent(scorer)
    model = scorer.model.types["comply"]
    scored = replace(result(scorer, "comply", model.high), bounded=frozenset({"apology"}))
    found.put([sample("12345")], [scored], scorer)
    (row,) = found.window
    assert found.since <= row.time
    assert row == Row(
        1, row.time, "comply", "unacceptable", model.high + 0.5, model.high, 0.5, 5, 1.0, 1,
        tuple(0.25 + i / 100 for i in range(len(model.propositions))),
    )  # fmt: skip


def test_out_of_scope_is_a_type_of_its_own_without_class_and_range(scorer: Scorer) -> None:
    found = Recent(scorer)
    found.put([sample()], [result(scorer, None)], scorer)
    (row,) = found.window
    assert (row.response_type, row.best_class, row.reached, row.p) == (None, None, None, ())
    assert list(found.baselines) == [None]


def test_what_was_begun_under_another_reward_version_is_left_out(scorer: Scorer, other: Scorer) -> None:
    found = Recent(scorer)
    run = found.run
    found.put([sample()], [result(scorer, "comply")], scorer)
    found.follow(other)
    found.put([sample()], [result(scorer, "comply")], scorer)
    assert (found.last, len(found.window), found.baselines) == (1, 0, {})
    assert found.run != run


def test_the_same_reward_version_read_again_goes_on(scorer: Scorer) -> None:
    found = Recent(scorer)
    run, again = found.run, make_scorer(Settings(), Metrics(), before=scorer)
    found.put([sample()], [result(scorer, "comply")], scorer)
    found.follow(again)
    found.put([sample()], [result(scorer, "comply")], scorer)
    found.put([sample()], [result(scorer, "comply")], again)
    assert (found.run, len(found.window)) == (run, 3)
    assert found.scorer is again


def test_texts_are_kept_only_where_they_are_allowed(scorer: Scorer) -> None:
    for allowed in (False, True):
        found = Recent(scorer, texts=allowed)
        found.put([sample("Sorry.", "How?")], [result(scorer, "comply")], scorer)
        assert found.texts == ({1: Texts("How?", 0, "Sorry.", 0, 1)} if allowed else {})


def test_texts_are_cut_and_made_sound(scorer: Scorer) -> None:
    found = Recent(scorer, texts=True)
    long = "\U0001f600" * (LONGEST + 17)
    found.put([sample("\ud83dA\udc00\x00", long)], [result(scorer, "comply")], scorer)
    assert found.texts[1] == Texts(long[:LONGEST], 17, "\ufffdA\ufffd\x00", 0, 1)


@pytest.mark.parametrize(
    ("roles", "earlier"), [((), 0), (("user",), 0), (("system",), 1), (("user", "tool"), 1)]
)
def test_messages_beside_the_shown_one_are_counted(
    scorer: Scorer, roles: tuple[str, ...], earlier: int
) -> None:
    found = Recent(scorer, texts=True)
    conversation = Conversation(tuple(Message(role, role) for role in roles), "Sorry.")
    found.put([Sample(conversation)], [result(scorer, "comply")], scorer)
    assert found.texts[1].prompt == ("user" if "user" in roles else "")
    assert found.texts[1].earlier == earlier
