"""The trainer's view of a policy: the same names as the service's, and faults that say where."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.build import rules_folder
from rbr_service.errors import RBRError
from rbr_service.rbr import policy as service
from rbr_trainer.data import policy as trainer
from rbr_trainer.errors import InputError

SHIPPED = ("safety", "assistant_style")
UNKNOWN = ("", "  ", "hard_refusl", "none_", "N one", "K", "out_of_scope", "auto", "error", "ｃomply", "null")


def sides(name: str) -> tuple[service.Policy, trainer.Policy]:
    path = rules_folder() / f"{name}.yaml"
    return service.load(path), trainer.load(path)


POLICIES = {name: sides(name) for name in SHIPPED}


def said(resolve: Any, label: str | None) -> str | None:
    """The response type's name; "refused" where the side refuses the label."""
    try:
        found = resolve(label)
    except (RBRError, InputError):
        return "refused"
    return None if found is None else str(getattr(found, "name", found))


def agree(name: str, label: str | None) -> str | None:
    theirs, ours = POLICIES[name]
    meant = said(ours.resolve, label)
    assert meant == said(theirs.resolve, label)
    return meant


@pytest.mark.parametrize("name", SHIPPED)
def test_every_name_means_what_it_means_to_the_service(name: str) -> None:
    file = POLICIES[name][0].file
    for kind, spec in file.response_types.items():
        for label in (kind, *spec.aliases, kind.upper(), kind.replace("_", "- ")):
            assert agree(name, label) == kind
    for category, entry in file.content_policy.items():
        wanted = None if entry.response_type == "out_of_scope" else entry.response_type
        assert agree(name, f" {category.lower()}\n") == wanted


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("label", [None, *UNKNOWN])
def test_what_is_no_name_is_none_to_both(name: str, label: str | None) -> None:
    agree(name, label)


@pytest.mark.parametrize("name", SHIPPED)
@settings(deadline=None)
@given(
    label=st.text(max_size=20) | st.sampled_from(["Hard-Refuse", "k_r ", "Safe  Refuse 2", "GUIDE", "api"])
)
def test_both_sides_agree_on_any_text(name: str, label: str) -> None:
    agree(name, label)


@pytest.mark.parametrize("unlabelled", ["out_of_scope", "error", "auto", "comply"])
def test_both_sides_agree_on_a_sample_without_a_name(unlabelled: str) -> None:
    text = (rules_folder() / "safety.yaml").read_text()
    text = text.replace("unlabelled: out_of_scope", f"unlabelled: {unlabelled}", 1)
    ours = trainer.parse(yaml.safe_load(text), "policy")
    assert said(ours.resolve, "") == said(service.parse(text, "policy").resolve, "")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_services_answer_gives_the_same_view_as_the_file(name: str) -> None:
    theirs, ours = POLICIES[name]
    assert trainer.parse(theirs.file.model_dump(), "the service") == ours


def test_classes_and_metrics() -> None:
    safety = POLICIES["safety"][1]
    five = ("ideal", "minimum_acceptable", "unacceptable", "illogical", "disallowed")
    assert set(safety.response_types.values()) == {five}
    assert safety.unsafe == {kind: {"disallowed"} for kind in safety.response_types}
    assert safety.overrefusal == {"comply": {"unacceptable"}}
    assert POLICIES["assistant_style"][1].response_types["data"][-1] == "wrong_format"


def test_an_unknown_name_lists_the_names_there_are_nearest_first() -> None:
    with pytest.raises(
        InputError, match=r"^'hard_refusl' is neither .* 'safety'; .* it has hard_refusal, "
    ) as told:
        POLICIES["safety"][1].resolve("hard_refusl")
    names = str(told.value).partition("it has ")[2].split(", ")
    assert sorted(names) == sorted([*POLICIES["safety"][0].response_types, *POLICIES["safety"][0].categories])


def smallest() -> dict[str, Any]:
    return {
        "policy": "small", "classes": ["good", "bad"], "unlabelled": "error",
        "response_types": {"answer": {"aliases": ["reply"]}}, "rules": {"answer": {"good": {}, "bad": {}}},
        "content_policy": {"A": {"response_type": "answer"}},
        "metrics": {"unsafe": {"answer": ["bad"]}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"policy": 3}, r"small: policy: "),
        ({"rules": {}}, r"small: rules: has no rules for the response type 'answer'"),
        ({"unlabelled": "reply"}, r"small: unlabelled: there is no type 'reply'"),
        ({"content_policy": {"A": {"response_type": "B"}}}, r"content_policy\.A\.response_type: .*'B'"),
        ({"content_policy": {"Reply": {"response_type": "answer"}}}, r"'Reply' stands for two things"),
        ({"content_policy": {"auto": {"response_type": "answer"}}}, r"'auto' is empty or reserved"),
        ({"metrics": {"unsafe": {"reply": []}}}, r"small: metrics\.unsafe\.reply: "),
        ({"metrics": {"overrefusal": {"answer": ["ugly"]}}}, r"no class 'ugly' of this type"),
    ],
)  # fmt: skip
def test_a_faulty_policy_names_the_key(changed: dict[str, Any], told: str) -> None:
    assert trainer.parse(smallest(), "small").resolve("a") == "answer"
    with pytest.raises(InputError, match=told):
        trainer.parse(smallest() | changed, "small")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the whole"), ("[1]", "the whole"), ("a: [", "not valid YAML"),
        ("a: 1\na: 2", "'a' stands twice"), ("? [a]\n: 1", "not valid YAML"),
        ("policy: !!int x", "not valid YAML"),
        ("\xff", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_policy(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"^{path}: .*{told}"):
        trainer.load(path)
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        trainer.load(tmp_path / "none.yaml")
