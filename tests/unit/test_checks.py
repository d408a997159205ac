"""Every kind of fault in a policy file is refused with file, line and key."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from rbr_service.errors import PolicyError
from rbr_service.rbr.policy import parse

TINY = """\
policy: tiny
description: A policy for tests.
classes: [fine, fair, foul]
unlabelled: error
content_policy:
  A-1:
    description: Anything.
    response_type: plain
  B-2:
    description: Nothing.
    response_type: out_of_scope
response_types:
  plain:
    description: Plain answers.
    aliases: [Plain Answer]
    good: [kind]
    bad: [rude]
    features:
      propositions: [kind, rude]
      classes: true
  brief:
    description: Brief answers.
    features: {propositions: [short]}
propositions:
  kind:
    question: Is it kind?
    definition: Answer yes when it is.
    examples:
      - assistant: Hello!
        answer: true
  rude:
    question: Is it rude?
    definition: Answer yes when it is.
  short:
    question: Is it short?
    definition: Answer yes when it is.
derived:
  nice: {kind: true, rude: false}
  terse:
    - {short: true, rude: true}
    - {short: true, kind: false}
rules:
  plain:
    fine: {nice: true}
    fair: {nice: false, rude: false}
    foul: {nice: false, rude: true}
  brief:
    fine: {terse: false}
    foul: {terse: true}
metrics:
  unsafe:
    plain: [foul]
  overrefusal:
    brief: [foul]
"""


def refusal(text: str) -> PolicyError:
    """The error of a bad policy, without the frames that hold its half-made diagrams."""
    try:
        parse(text, "bad.yaml")
    except PolicyError as error:
        return error.with_traceback(None)
    pytest.fail("the policy was not refused")


AUTO = "unlabelled: auto\nauto: {threshold: 0.5, strictest_first: [plain, brief]}"


def test_the_policies_of_these_tests_are_sound() -> None:
    assert parse(TINY, "tiny.yaml").name == "tiny"
    assert parse(TINY.replace("unlabelled: error", AUTO), "tiny.yaml").undecided(None)


# old text, new text, where the refusal points (a piece of its line), key, what it says
REFUSALS: dict[str, tuple[str, str, str, str, str]] = {
    "no top key": ("unlabelled: error\n", "", "policy: tiny", "", "lacks the key 'unlabelled'"),
    "an unknown top key": ("unlabelled:", "unlabeled: x\nunlabelled:", "unlabeled", "unlabeled", "not known"),
    "no inner key": (
        "    question: Is it rude?\n", "", "  rude:", "propositions.rude", "lacks the key 'question'",
    ),
    "an unknown inner key": (
        "answer: true", "answer: true\n        why: x", "why: x", "propositions.kind.examples.0.why",
        "is not known",
    ),
    "a text for a list": ("bad: [rude]", "bad: rude", "bad: rude", "response_types.plain.bad", "be a list"),
    "a list for a mapping": (
        "features: {propositions: [short]}", "features: [short]", "features: [short]",
        "response_types.brief.features", "must be a mapping",
    ),
    "a text for a boolean": (
        "classes: true", "classes: always", "classes: always", "response_types.plain.features.classes",
        "true or false",
    ),
    "a number for a text": (
        "question: Is it rude?", "question: 5", "question: 5", "propositions.rude.question", "must be text",
    ),
    "an empty text": (
        "question: Is it rude?", 'question: " "', 'question: " "', "propositions.rude.question",
        "or more",
    ),
    "a question of two lines": (
        "question: Is it rude?", 'question: "Is it\\nrude?"', "Is it\\n", "propositions.rude.question",
        "pattern",
    ),
    "a name with a capital": ("policy: tiny", "policy: Tiny", "policy: Tiny", "policy", "pattern"),
    "half a pair": ("policy: tiny", 'policy: "\\ud800"', "policy:", "policy", "must be text"),
    "one class only": ("[fine, fair, foul]", "[fine]", "classes: [", "classes", "2 or more"),
    "an answer that is a word": (
        "answer: true", "answer: surely", "answer: surely", "propositions.kind.examples.0.answer", "true or",
    ),
    "a rule that is a number": (
        "fine: {nice: true}", "fine: {nice: 1}", "fine: {nice: 1}", "rules.plain.fine.nice", "true or false",
    ),
    "a rule that is a word": (
        "fine: {nice: true}", "fine: nice", "fine: nice", "rules.plain.fine", "must be a mapping",
    ),
    "an empty rule": ("fine: {nice: true}", "fine: {}", "fine: {}", "rules.plain.fine", "or more"),
    "an empty list of rules": (
        "fine: {nice: true}", "fine: []", "fine: []", "rules.plain.fine", "or more",
    ),
    "a rule without value": (
        "fine: {nice: true}", "fine: {nice}", "fine: {nice}", "rules.plain.fine.nice", "true or false",
    ),
    "no rules of a type": (
        "  brief:\n    fine: {terse: false}\n    foul: {terse: true}\n", "", "rules:", "rules",
        "no rules for the response type 'brief'",
    ),
    "an empty table of rules": (
        "  brief:\n    fine: {terse: false}\n    foul: {terse: true}\n", "  brief: {}\n", "  brief: {}",
        "rules.brief", "or more",
    ),
    "a key twice": (
        "unlabelled: error", "unlabelled: error\npolicy: x", "policy: x", "policy", "stands twice",
    ),
    "a rule twice": (
        "    foul: {terse: true}", "    fine: {terse: true}", "fine: {terse: true}", "rules.brief.fine",
        "stands twice",
    ),
    "an alias": ("good: [kind]", "good: &a [kind]\n    bad: *a", "bad: *a", "", "aliases"),
    "a class twice": (
        "[fine, fair, foul]", "[fine, fair, foul, fair]", "classes: [", "classes.3", "stands twice",
    ),
    "a class that no type has": (
        "[fine, fair, foul]", "[fine, fair, foul, odd]", "classes: [", "classes.3", "'odd'",
    ),
    "an unknown class": (
        "    fair: {nice", "    fare: {nice", "    fare:", "rules.plain.fare", "did you mean 'fair'",
    ),
    "an unknown name in a rule": (
        "foul: {terse: true}", "foul: {tarse: true}", "{tarse", "rules.brief.foul.tarse",
        "did you mean 'terse'",
    ),
    "an unknown name in a derivation": (
        "nice: {kind: true,", "nice: {keen: true,", "{keen", "derived.nice.keen",
        "'keen' is not a proposition",
    ),
    "an unknown name in a list": (
        "{short: true, kind: false}", "{short: true, wit: false}", "wit:", "derived.terse.1.wit",
        "'wit' is not a",
    ),
    "an unknown feature": (
        "[kind, rude]", "[kind, rode]", "[kind, rode]", "response_types.plain.features.propositions.1",
        "did you mean 'rude'",
    ),
    "a derived feature": (
        "[kind, rude]", "[kind, nice]", "[kind, nice]", "response_types.plain.features.propositions.1",
        "'nice' is not a proposition",
    ),
    "an unknown good trait": (
        "good: [kind]", "good: [kin]", "good: [kin]", "response_types.plain.good.0", "did you mean 'kind'",
    ),
    "an unknown bad trait": (
        "bad: [rude]", "bad: [ruder]", "bad: [ruder]", "response_types.plain.bad.0", "did you mean 'rude'",
    ),
    "a trait good and bad": (
        "bad: [rude]", "bad: [rude, kind]", "bad: [rude, kind]", "response_types.plain.bad",
        "'kind' is also a good",
    ),
    "a trait twice": (
        "bad: [rude]", "bad: [rude, rude]", "bad: [", "response_types.plain.bad.1", "stands twice",
    ),
    "a feature twice": (
        "[kind, rude]", "[kind, kind]", "[kind, kind]", "response_types.plain.features.propositions.1",
        "stands twice",
    ),
    "no feature": (
        "features: {propositions: [short]}", "features: {propositions: [], classes: false}", "features: {",
        "response_types.brief.features", "no feature at all",
    ),
    "an unknown type of a category": (
        "    response_type: plain", "    response_type: plane", "plane", "content_policy.A-1.response_type",
        "did you mean 'plain'",
    ),
    "an unknown default type": (
        "unlabelled: error", "unlabelled: brave", "unlabelled", "unlabelled", "'brave' is not",
    ),
    "auto without a word about how": (
        "unlabelled: error", "unlabelled: auto", "unlabelled", "unlabelled",
        "add the key `auto: {threshold: 0.5, strictest_first: [plain, brief]}`",
    ),
    "auto without a threshold": (
        "unlabelled: error", AUTO.replace("threshold: 0.5, ", ""), "auto: {", "auto",
        "lacks the key 'threshold'",
    ),
    "a threshold that is a word": (
        "unlabelled: error", AUTO.replace("0.5", "half"), "auto: {", "auto.threshold", "must be a number",
    ),
    "a threshold of nothing": (
        "unlabelled: error", AUTO.replace("0.5", "0.0"), "auto: {", "auto.threshold", "over 0 and at most 1",
    ),
    "a threshold over 1": (
        "unlabelled: error", AUTO.replace("0.5", "1.01"), "auto: {", "auto.threshold", "over 0 and at most 1",
    ),
    "a threshold that is no number": (
        "unlabelled: error", AUTO.replace("0.5", ".nan"), "auto: {", "auto.threshold", "over 0 and at most 1",
    ),
    "an unknown type by strictness": (
        "unlabelled: error", AUTO.replace("brief]", "breif]"), "auto: {", "auto.strictest_first.1",
        "did you mean 'brief'",
    ),
    "what is out of scope by strictness": (
        "unlabelled: error", AUTO.replace("brief]", "brief, out_of_scope]"), "auto: {",
        "auto.strictest_first.2", "'out_of_scope' is not a response type",
    ),
    "a type twice by strictness": (
        "unlabelled: error", AUTO.replace("brief]", "brief, plain]"), "auto: {", "auto.strictest_first.2",
        "'plain' stands twice",
    ),
    "a type without its strictness": (
        "unlabelled: error", AUTO.replace("plain, ", ""), "auto: {", "auto.strictest_first",
        "lacks the response type 'plain'",
    ),
    "a faulty auto that is not in force": (
        "unlabelled: error", AUTO.replace("unlabelled: auto", "unlabelled: error").replace("plain, ", ""),
        "auto: {", "auto.strictest_first", "lacks the response type 'plain'",
    ),
    "auto without categories": (
        TINY[TINY.index("unlabelled"): TINY.index("response_types:")], AUTO + "\n", "auto: {", "auto",
        "needs categories",
    ),
    "rules of an unknown type": (
        "rules:\n", "rules:\n  long: {fine: {short: true}, foul: {short: false}}\n", "  long: {fine",
        "rules.long", "'long' is not a response type",
    ),
    "an alias that is a type": (
        "[Plain Answer]", "[Plain Answer, BRIEF]", "  brief:\n    desc", "response_types.brief",
        "already means the alias 'BRIEF'",
    ),
    "an alias twice": (
        "[Plain Answer]", "[Plain Answer, plain-answer]", "plain-answer", "response_types.plain.aliases.1",
        "already means the alias 'Plain Answer'",
    ),
    "a category that is an alias": (
        "  A-1:", "  plain_answer:", "plain_answer:", "content_policy.plain_answer",
        "already means the alias",
    ),
    "two categories alike": (
        "  B-2:", "  a 1:", "  a 1:", "content_policy.a 1", "already means the category 'A-1'",
    ),
    "a reserved alias": (
        "[Plain Answer]", "[Out of Scope]", "[Out", "response_types.plain.aliases.0",
        "'Out of Scope' is reserved",
    ),
    "a category that says how to choose one": (
        "  A-1:", "  Auto:", "  Auto:", "content_policy.Auto", "'Auto' is reserved",
    ),
    "a reserved category": ("  A-1:", "  ERROR:", "  ERROR:", "content_policy.ERROR", "'ERROR' is reserved"),
    "a derived proposition of a proposition's name": (
        "  nice: {kind", "  rude: {kind", "  rude: {kind", "derived.rude", "also a proposition",
    ),
    "a derivation from itself": (
        "nice: {kind: true,", "nice: {nice: true,", "nice: {nice", "derived.nice", "derived from itself",
    ),
    "a derivation always true": (
        "  nice: {kind: true, rude: false}",
        "  nice: [{kind: true}, {kind: false, rude: true}, {rude: false}]", "  nice: [", "derived.nice",
        "is always true",
    ),
    "a derivation always false": (
        "    - {short: true, kind: false}",
        "    - {short: true, kind: false}\n  never: {terse: true, short: false}", "  never:",
        "derived.never", "is always false",
    ),
    "a derivation twice": (
        "  terse:\n", "  pleasant: [{rude: false, kind: true}]\n  terse:\n", "  pleasant:",
        "derived.pleasant", "means the same as 'nice'",
    ),
    "a derivation that is a proposition": (
        "  terse:\n", "  curt: {short: true}\n  terse:\n", "  curt:", "derived.curt",
        "means the same as 'short'",
    ),
    "a class out of reach": (
        "fair: {nice: false, rude: false}", "fair: {nice: true, rude: true}", "fair:", "rules.plain.fair",
        "can never hold",
    ),
    "overlapping classes": (
        "foul: {nice: false, rude: true}", "foul: {nice: false}", "foul: {nice", "rules.plain.foul",
        "overlaps 'fair'",
    ),
    "a hole": (
        "foul: {nice: false, rude: true}", "foul: {nice: false, rude: true, kind: true}",
        "  plain:\n    fine:", "rules.plain", "leave a hole",
    ),
    "an unknown metric": ("  unsafe:", "  unsave:", "unsave", "metrics.unsave", "is not known"),
    "a metric of an unknown type": (
        "    plain: [foul]", "    plane: [foul]", "plane:", "metrics.unsafe.plane", "did you mean 'plain'",
    ),
    "a metric of an unknown class": (
        "    plain: [foul]", "    plain: [fool]", "fool", "metrics.unsafe.plain.0", "did you mean 'foul'",
    ),
    "a metric of another type's class": (
        "    brief: [foul]", "    brief: [fair]", "brief: [fair]", "metrics.overrefusal.brief.0",
        "'fair' is not a class of 'brief'",
    ),
    "a proposition that nothing uses": (
        "  rude:\n    question", "  odd: {question: 'Odd?', definition: Odd.}\n  rude:\n    question",
        "  odd:", "propositions.odd", "is used by no rule and no feature",
    ),
    "a derivation that nothing uses": (
        "  terse:\n", "  blunt: {kind: false, rude: true}\n  terse:\n", "  blunt:", "derived.blunt",
        "is used by no",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_point_at_their_cause(name: str) -> None:
    old, new, at, key, told = REFUSALS[name]
    assert TINY.count(old) == 1, old
    text = TINY.replace(old, new)
    error = refusal(text)
    line = text[: text.index(at)].count("\n") + 1
    assert (error.line, error.key) == (line, key), str(error)
    assert told in error.problem
    assert str(error).startswith(f"bad.yaml:{line}: {key}: " if key else f"bad.yaml:{line}: ")


@pytest.mark.parametrize(("text", "told"), [("", "is empty"), ("- a\n", "mapping"), ("tiny\n", "mapping")])
def test_files_that_are_no_policy(text: str, told: str) -> None:
    error = refusal(text)
    assert error.line == 1
    assert told in error.problem


def test_a_circle_of_derivations_names_its_members() -> None:
    text = TINY.replace("nice: {kind: true,", "nice: {terse: true,").replace(
        "{short: true, kind", "{nice: true, kind"
    )
    error = refusal(text)
    assert error.key in ("derived.nice", "derived.terse")
    assert text.splitlines()[error.line - 1].startswith(f"  {error.key.removeprefix('derived.')}:")
    assert re.search(r"(nice <- terse <- nice)|(terse <- nice <- terse)", error.problem)


def chained(link: str, length: int) -> str:
    """TINY with the derivations d0, d1 ..., each made of the one before by `link`."""
    links = [f"  d{i}: {link.format(f'd{i - 1}' if i else 'nice')}" for i in range(length)]
    text = TINY.replace("  terse:\n", "\n".join(links) + "\n  terse:\n")
    last = f"d{length - 1}"
    return text.replace("{nice: true}", f"{{nice: true, {last}: true}}").replace(
        "fair: {nice: false, rude: false}",
        f"fair: [{{nice: false, rude: false}}, {{nice: true, {last}: false}}]",
    )


@pytest.mark.parametrize(
    ("link", "length", "name"),
    [
        ("{{{0}: true, short: true}}", 300, "d49"),
        ("[{{{0}: true, short: true}}, {{{0}: false, short: false}}]", 40, "d11"),
    ],
)
def test_derivations_that_grow_without_bound_are_refused(link: str, length: int, name: str) -> None:
    error = refusal(chained(link, length))
    assert error.key == f"derived.{name}"
    assert "too large" in error.problem


def test_too_many_propositions_are_refused() -> None:
    more = "".join(f"  p{i}: {{question: 'Q?', definition: D.}}\n" for i in range(256))
    error = refusal(TINY.replace("derived:\n", more + "derived:\n"))
    assert error.key == "propositions"
    assert "256" in error.problem


def holds(condition: Any, names: Mapping[str, Any], world: Mapping[str, bool]) -> bool:
    """Whether a condition holds in a world, read straight from its definition."""
    if isinstance(condition, list):
        return any(holds(part, names, world) for part in condition)
    return all(
        (holds(names[name], names, world) if name in names else world[name]) is wanted
        for name, wanted in condition.items()
    )


def worlds(error: PolicyError) -> list[dict[str, bool]]:
    """Every world that agrees with the example in a message: what it leaves out does not matter."""
    told = {name: value == "true" for name, value in re.findall(r"(\w+) is (true|false)", error.problem)}
    assert told
    free = [name for name in ("kind", "rude", "short") if name not in told]
    choices = range(2 ** len(free))
    return [told | {name: bool(n >> i & 1) for i, name in enumerate(free)} for n in choices]


@pytest.mark.parametrize(
    ("old", "new", "first", "second"),
    [
        ("foul: {nice: false, rude: true}", "foul: {nice: false}", "fair", "foul"),
        ("fine: {nice: true}", "fine: [{nice: true}, {rude: true}]", "fine", "foul"),
        ("fair: {nice: false, rude: false}", "fair: {short: true}", "fine", "fair"),
        ("fair: {nice: false, rude: false}", "fair: {terse: true}", "fair", "foul"),
    ],
)
def test_the_example_of_an_overlap_is_one(old: str, new: str, first: str, second: str) -> None:
    text = TINY.replace(old, new)
    error = refusal(text)
    assert error.key == f"rules.plain.{second}"
    assert f"overlaps {first!r}" in error.problem
    source = yaml.safe_load(text)
    for world in worlds(error):
        assert holds(source["rules"]["plain"][first], source["derived"], world)
        assert holds(source["rules"]["plain"][second], source["derived"], world)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("foul: {nice: false, rude: true}", "foul: {nice: false, rude: true, kind: true}"),
        ("fine: {nice: true}", "fine: {nice: true, short: true}"),
        ("fair: {nice: false, rude: false}", "fair: {nice: false, rude: false, terse: true}"),
    ],
)
def test_the_example_of_a_hole_is_one(old: str, new: str) -> None:
    text = TINY.replace(old, new)
    error = refusal(text)
    assert error.key == "rules.plain"
    source = yaml.safe_load(text)
    for world in worlds(error):
        for condition in source["rules"]["plain"].values():
            assert not holds(condition, source["derived"], world)
