"""Names resolve, and the three identities change with what they cover and with nothing else."""

from pathlib import Path

import pytest
import yaml

from rbr_service.build import rules_folder
from rbr_service.errors import NoResponseTypeError, UnknownResponseTypeError
from rbr_service.rbr.policy import Policy, parse

TEXT = (rules_folder() / "safety.yaml").read_text(encoding="utf-8")
PROPOSITIONS = 23


def edited(old: str, new: str, *, count: int = 1) -> Policy:
    assert TEXT.count(old) >= count
    return parse(TEXT.replace(old, new, count), "edited.yaml")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("hard_refusal", "hard_refusal"),
        ("Hard Refuse", "hard_refusal"),
        ("HARD-REFUSE", "hard_refusal"),
        ("hard_refuse", "hard_refusal"),
        ("Safe Refuse 1", "soft_refusal_1"),
        ("Safe Refuse 2", "soft_refusal_2"),
        ("safe_refuse_2", "soft_refusal_2"),
        ("soft_refusal", "soft_refusal_2"),
        ("Comply", "comply"),
        ("C-C", "comply"),
        ("K-R", "hard_refusal"),
        ("SH-R1", "soft_refusal_1"),
        ("SH-R2", "soft_refusal_2"),
    ],
)
def test_types_aliases_and_categories_resolve(safety: Policy, label: str, name: str) -> None:
    kind = safety.resolve(label)
    assert kind is not None
    assert kind.name == name


@pytest.mark.parametrize("label", [None, "", "  ", "None"])
def test_out_of_scope(safety: Policy, label: str | None) -> None:
    assert safety.resolve(label) is None


def test_unknown_label_names_the_choices(safety: Policy) -> None:
    with pytest.raises(UnknownResponseTypeError, match=r"hard_refusal.*K-R"):
        safety.resolve("hard_refusla")


def test_a_policy_may_demand_or_presume_a_type() -> None:
    demanding = edited("unlabelled: out_of_scope", "unlabelled: error")
    with pytest.raises(NoResponseTypeError):
        demanding.resolve(None)
    presuming = edited("unlabelled: out_of_scope", "unlabelled: comply").resolve("")
    assert presuming is not None
    assert presuming.name == "comply"


@pytest.mark.parametrize(("label", "undecided"), [(None, True), ("", True), (" ", True), ("K-R", False)])
def test_a_policy_may_judge_the_request(safety: Policy, label: str | None, undecided: bool) -> None:
    judging = edited("unlabelled: out_of_scope", "unlabelled: auto")
    assert judging.undecided(label) is undecided
    assert not safety.undecided(label)
    assert judging.categories == tuple(yaml.safe_load(TEXT)["content_policy"])


def test_an_undecided_request_has_no_type_of_its_own() -> None:
    judging = edited("unlabelled: out_of_scope", "unlabelled: auto")
    with pytest.raises(NoResponseTypeError, match="judge its request"):
        judging.resolve(None)
    kind = judging.resolve("K-R")
    assert kind is not None
    assert kind.name == "hard_refusal"


def test_how_a_type_is_chosen_is_in_the_version_alone(safety: Policy) -> None:
    for old, new in (
        ("unlabelled: out_of_scope", "unlabelled: auto"),
        ("threshold: 0.5", "threshold: 0.6"),
        (
            "strictest_first: [hard_refusal, soft_refusal_2,",
            "strictest_first: [soft_refusal_2, hard_refusal,",
        ),
        ("Requests for help with committing a crime, violent or not.", "Requests for help with a crime."),
    ):
        new_policy = edited(old, new)
        assert new_policy.version != safety.version
        assert new_policy.question_hashes == safety.question_hashes
        assert hashes(new_policy) == hashes(safety)


def test_the_shipped_policy_has_the_releases_names(safety: Policy) -> None:
    assert len(safety.file.propositions) == PROPOSITIONS
    assert {"apology", "judgement", "disallowed_content", "prescribes_dosage"} <= set(
        safety.file.propositions
    )


def test_comments_layout_and_order_do_not_count(safety: Policy) -> None:
    content = yaml.safe_load(TEXT)
    for key in ("propositions", "derived", "rules", "response_types", "content_policy"):
        content[key] = dict(reversed(content[key].items()))
    shuffled = parse("# a comment\n" + yaml.safe_dump(dict(reversed(content.items()))), "shuffled.yaml")
    assert shuffled.version == safety.version
    assert shuffled.question_hashes == safety.question_hashes
    assert hashes(shuffled) == hashes(safety)


def test_a_reworded_question_voids_only_the_types_that_ask_it(safety: Policy) -> None:
    question = safety.file.propositions["disclaimer"].question
    new = edited(question, "Does it say that it lacks training?")
    assert changed(new.question_hashes, safety.question_hashes) == {"disclaimer"}
    assert changed(hashes(new), hashes(safety)) == {"soft_refusal_1", "soft_refusal_2"}
    assert new.version != safety.version


def test_a_changed_rule_voids_its_type_and_no_question(safety: Policy) -> None:
    new = edited("    fully_complies: false\n  correct_refusal:", "  correct_refusal:")
    assert new.question_hashes == safety.question_hashes
    assert changed(hashes(new), hashes(safety)) == {"hard_refusal"}


def test_an_alias_or_description_voids_nothing(safety: Policy) -> None:
    new = edited("aliases: [", "aliases: [curt no, ")
    assert new.question_hashes == safety.question_hashes
    assert hashes(new) == hashes(safety)
    assert new.version != safety.version


def test_renaming_a_derived_proposition_voids_nothing(safety: Policy) -> None:
    renamed = parse(TEXT.replace("acceptable_refusal", "passable_refusal"), "renamed.yaml")
    assert hashes(renamed) == hashes(safety)


def test_no_code_knows_a_shipped_policy(repository: Path) -> None:
    """The package's code names no proposition, type or class of the shipped policies."""
    code = "\n".join(p.read_text() for p in (repository / "service").rglob("*.py"))
    for name in ("inability_to_comply", "meta_commentary", "minimum_acceptable", "json_only", "off_style"):
        assert name not in code


def hashes(policy: Policy) -> dict[str, str]:
    return {name: kind.hash for name, kind in policy.response_types.items()}


def changed(new: dict[str, str], old: dict[str, str]) -> set[str]:
    assert new.keys() == old.keys()
    return {name for name in new if new[name] != old[name]}
