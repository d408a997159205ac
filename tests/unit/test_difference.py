"""What a change of a policy comes to: each kind of edit, and any of them together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.build import rules_folder
from rbr_service.rbr.difference import Change, Difference, KeyChange, Rule, difference
from rbr_service.rbr.policy import Policy, load, parse
from rbr_service.rbr.schema import Proposition

TEXT = (rules_folder() / "safety.yaml").read_text(encoding="utf-8")
REFUSAL = "  correct_refusal:\n    acceptable_refusal: true\n"
# By kind of edit: what is replaced by what, the types it voids, and the questions it touches.
EDITS: dict[str, tuple[str, str, set[str], set[str]]] = {
    "question": ("exactly one apology, and a", "exactly one apology, a", {"hard_refusal"}, {"apology"}),
    "derived": (REFUSAL + "    civil: true\n", REFUSAL, {"hard_refusal"}, set()),
    "shared derived": (
        "    conditional_verbiage: false\n  acceptable_soft_refusal",
        "    conditional_verbiage: true\n  acceptable_soft_refusal",
        {"soft_refusal_1", "soft_refusal_2"},
        set(),
    ),
    "alias": ("aliases: [Hard Refuse]", "aliases: [Hard Refuse, Plain No]", set(), set()),
    "trait": ("good: [fully_complies, partially_complies]", "good: [fully_complies]", {"comply"}, set()),
    "category": (
        "description: Requests for help with committing a crime, violent or not.",
        "description: Requests for help with any crime.",
        set(),
        set(),
    ),
}


def edited(*edits: tuple[str, str]) -> Policy:
    text = TEXT
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return parse(text, "edited")


def found(safety: Policy, *edits: tuple[str, str]) -> Difference:
    return difference(safety, edited(*edits))


def test_a_reworded_question_is_told_with_both_wordings(safety: Policy) -> None:
    old, new, *_ = EDITS["question"]
    told = found(safety, (old, new))
    [change] = told.questions
    assert (change.name, change.how) == ("apology", "changed")
    assert change.old is not None
    assert change.new is not None
    assert change.new.question == change.old.question.replace(old, new)
    assert change.new.definition == change.old.definition
    [kind] = told.response_types
    assert (kind.name, kind.how, kind.rules, kind.questions) == ("hard_refusal", "changed", (), ("apology",))
    assert told.graded_again(book=False) == ("apology",)
    assert told.graded_again(book=True) == tuple(safety.file.propositions)


def test_a_derived_name_that_means_something_else_is_told_through_the_rules_that_read_it(
    safety: Policy,
) -> None:
    told = found(safety, EDITS["derived"][:2])
    [derived] = told.derived
    assert (derived.name, derived.how, derived.through) == ("correct_refusal", "changed", ())
    assert derived.old is not None
    assert derived.new == derived.old.replace(" and civil", "")
    [kind] = told.response_types
    words = "acceptable_refusal and not correct_refusal"
    assert kind.rules == (
        Rule("ideal", "correct_refusal", "correct_refusal", ("correct_refusal",)),
        Rule("minimum_acceptable", words, words, ("correct_refusal",)),
    )
    assert told.graded_again(book=True) == told.graded_again(book=False) == ()


def test_a_change_two_names_deep_is_followed(safety: Policy) -> None:
    told = found(safety, EDITS["shared derived"][:2])
    assert {one.name: one.through for one in told.derived} == {
        "pushy": (),
        "acceptable_soft_refusal": ("pushy",),
        "correct_soft_refusal": ("acceptable_soft_refusal",),
        "correct_soft_refusal_of_instructions": ("correct_soft_refusal",),
    }
    rules = {one.name: [rule.name for rule in one.rules] for one in told.response_types}
    touched = ["ideal", "minimum_acceptable", "unacceptable"]
    assert rules == {"soft_refusal_1": touched, "soft_refusal_2": touched}


def test_a_rules_condition_is_told_old_and_new(safety: Policy) -> None:
    kept = "{acceptable_refusal: true, correct_refusal: false}"
    told = found(
        safety,
        (kept, "{admissible: true, correct_refusal: false}"),
        ("    unacceptable: {admissible: true, acceptable_refusal: false}\n", ""),
    )
    [kind] = told.response_types
    assert [(rule.name, rule.how, rule.old, rule.new, rule.through) for rule in kind.rules] == [
        ("minimum_acceptable", "changed", "acceptable_refusal and not correct_refusal",
         "admissible and not correct_refusal", ()),
        ("unacceptable", "removed", "admissible and not acceptable_refusal", None, ()),
    ]  # fmt: skip


def test_other_keys_are_told_by_their_place(safety: Policy) -> None:
    told = found(safety, EDITS["alias"][:2], ("\nunlabelled: out_of_scope", "\nunlabelled: auto"))
    aliases = KeyChange(
        ("response_types", "hard_refusal", "aliases"), ["Hard Refuse"], ["Hard Refuse", "Plain No"]
    )
    assert told.other == (KeyChange(("unlabelled",), "out_of_scope", "auto"), aliases)
    assert told.keys == ("unlabelled", "response_types")
    assert (told.void, told.questions) == ((), ())


def test_a_category_that_comes_is_told_by_its_parts(safety: Policy) -> None:
    told = found(
        safety, ("content_policy:\n", "content_policy:\n  X.Y: {description: New., response_type: comply}\n")
    )
    assert told.other == (
        KeyChange(("content_policy", "X.Y", "description"), None, "New."),
        KeyChange(("content_policy", "X.Y", "response_type"), None, "comply"),
    )


def test_the_order_of_questions_counts_in_a_book_alone(safety: Policy) -> None:
    names = list(safety.file.propositions)
    turned = {name: safety.file.propositions[name] for name in reversed(names)}
    told = difference(safety, Policy(safety.file.model_copy(update={"propositions": turned})))
    assert told.same
    assert told.graded_again(book=True) == tuple(reversed(names))
    assert told.graded_again(book=False) == ()


def test_another_policy_is_all_removed_and_added(safety: Policy) -> None:
    style = load(rules_folder() / "assistant_style.yaml")
    told = difference(safety, style)
    assert {one.name for one in told.void} == set(safety.response_types)
    assert set(told.needy) == set(style.response_types)
    assert {one.how for one in told.void} == {"removed"}
    assert told.graded_again(book=False) == tuple(sorted(style.file.propositions))
    assert told.keys[0] == "policy"


@settings(max_examples=15, deadline=None)
@given(kinds=st.sets(st.sampled_from(sorted(EDITS))))
def test_edits_add_up_and_turn_round(safety: Policy, kinds: set[str]) -> None:
    after = edited(*(EDITS[kind][:2] for kind in kinds))
    told, back = difference(safety, after), difference(after, safety)
    assert told.same == (not kinds)
    assert {one.name for one in told.void} == {name for kind in kinds for name in EDITS[kind][2]}
    assert {one.name for one in told.questions} == {name for kind in kinds for name in EDITS[kind][3]}
    assert [_turned(one) for one in back.questions] == list(told.questions)
    assert [(one.name, one.new, one.old, one.through) for one in back.derived] == [
        (one.name, one.old, one.new, one.through) for one in told.derived
    ]
    assert [(one.place, one.new, one.old) for one in back.other] == [
        (one.place, one.old, one.new) for one in told.other
    ]


def _turned(change: Change[Proposition]) -> Change[Proposition]:
    return Change(change.name, change.new, change.old)


@pytest.mark.parametrize("name", ["safety", "assistant_style"])
def test_nothing_differs_from_itself(name: str) -> None:
    policy = load(rules_folder() / f"{name}.yaml")
    told = difference(policy, policy)
    assert told.same
    assert (told.questions, told.derived, told.response_types, told.other) == ((), (), (), ())
    assert told.graded_again(book=True) == ()
