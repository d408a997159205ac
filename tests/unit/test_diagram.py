"""Class probabilities against brute force and against the figures known for the released rules."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.build import rules_folder
from rbr_service.rbr.diagram import Conditions, Diagram, RuleBook
from rbr_service.rbr.policy import Policy, load

SHIPPED = ("safety", "assistant_style")


@pytest.fixture(scope="module", params=SHIPPED)
def policy(request: pytest.FixtureRequest) -> Policy:
    return load(rules_folder() / f"{request.param}.yaml")


@pytest.fixture(scope="module")
def released() -> Policy:
    return load(Path(__file__).parents[1] / "data" / "released.yaml")


def truth(policy: Policy, condition: Conditions, world: dict[str, bool]) -> bool:
    """A condition's value by plain evaluation, without diagrams."""
    if isinstance(condition, list):
        return any(truth(policy, part, world) for part in condition)
    assert isinstance(condition, dict)
    derived = policy.file.derived
    return all(
        (truth(policy, derived[name], world) if name in derived else world[name]) is wanted
        for name, wanted in condition.items()
    )


def perfect(diagram: Diagram, yes: set[str], right: float = 0.95) -> list[float]:
    return [right if name in yes else 1 - right for name in diagram.variables]


@pytest.mark.parametrize(
    ("kind", "yes", "expected"),
    [
        (
            "hard_refusal",
            {"apology", "inability_to_comply"},
            {"ideal": 0.488, "minimum_acceptable": 0.286, "unacceptable": 0.129, "illogical": 0.048,
             "disallowed": 0.050},
        ),
        (
            "soft_refusal_2",
            {"apology_acknowledges_emotional_state", "encourage_professional_help", "disclaimer",
             "gentle_encouragement_for_help", "inability_to_comply"},
            {"ideal": 0.418},
        ),
        ("comply", {"fully_complies", "partially_complies"}, {"ideal": 0.817}),
    ],
)  # fmt: skip
def test_released_rules_give_the_known_figures(
    released: Policy, kind: str, yes: set[str], expected: dict[str, float]
) -> None:
    diagram = released.response_types[kind].diagram
    found = dict(zip(diagram.classes, diagram.of_row(perfect(diagram, yes)), strict=True))
    assert {name: round(found[name], 3) for name in expected} == pytest.approx(expected, abs=6e-4)


def test_a_completion_with_all_good_and_no_bad_traits_is_most_probably_of_the_best_class(
    policy: Policy,
) -> None:
    for name, kind in policy.response_types.items():
        classes = kind.diagram.of_row(perfect(kind.diagram, set(kind.good)))
        assert classes[0] == max(classes), name


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_classes_sum_to_one_and_lie_in_the_unit_interval(policy: Policy, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(policy.response_types)))
    diagram = policy.response_types[kind].diagram
    p = data.draw(st.lists(st.floats(0, 1), min_size=len(diagram.variables), max_size=len(diagram.variables)))
    classes = diagram.of_row(p)
    assert sum(classes) == pytest.approx(1.0, abs=1e-12)
    assert all(-1e-15 <= c <= 1 + 1e-12 for c in classes)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_under_certainty_exactly_the_class_whose_rule_holds(policy: Policy, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(policy.response_types)))
    diagram = policy.response_types[name].diagram
    world = {v: data.draw(st.booleans(), label=v) for v in diagram.variables}
    holds = [truth(policy, policy.file.rules[name][c], world) for c in diagram.classes]
    assert diagram.of_row([float(world[v]) for v in diagram.variables]) == [float(h) for h in holds]


def test_exact_by_enumeration_over_all_worlds(safety: Policy) -> None:
    diagram = safety.response_types["comply"].diagram
    p = np.random.default_rng(0).uniform(size=len(diagram.variables))
    expected = np.zeros(len(diagram.classes))
    for bits in product((False, True), repeat=len(p)):
        weight = float(np.prod([x if bit else 1 - x for x, bit in zip(p, bits, strict=True)]))
        world = dict(zip(diagram.variables, bits, strict=True))
        rules = safety.file.rules["comply"]
        expected += [weight * truth(safety, rules[c], world) for c in diagram.classes]
    assert diagram.of_row(p.tolist()) == pytest.approx(expected.tolist(), abs=1e-12)


def test_rows_and_single_row_agree(policy: Policy) -> None:
    for kind in policy.response_types.values():
        p = np.random.default_rng(1).uniform(size=(7, len(kind.diagram.variables)))
        single = np.array([kind.diagram.of_row(row.tolist()) for row in p])
        np.testing.assert_allclose(kind.diagram.of_rows(p), single, atol=1e-15)


def test_witnesses_are_real() -> None:
    book = RuleBook(["a", "b", "c"], {})
    rules = {"x": {"a": True}, "y": {"b": True}}
    overlap = book.overlap(rules)
    assert overlap is not None
    first, second, example = overlap
    assert (first, second) == ("x", "y")
    assert example == {"a": True, "b": True}
    assert book.hole(rules) == {"a": False, "b": False}
    sound = {"x": {"a": True}, "y": {"a": False}}
    assert book.overlap(sound) is None
    assert book.hole(sound) is None
