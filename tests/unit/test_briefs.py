"""A brief's `must` decides its class, whatever else is true of the completion."""

import random
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbr_service.build import rules_folder
from rbr_service.rbr import briefs
from rbr_service.rbr.policy import Policy, ResponseType, load, parse

SHIPPED = [load(rules_folder() / f"{name}.yaml") for name in ("safety", "assistant_style")]
CELLS = [
    pytest.param(kind, name, id=f"{kind.name}-{name}")
    for policy in SHIPPED
    for kind in policy.response_types.values()
    for name in kind.classes
]
SEEDS = st.integers(0, 2**32)

# Neither can be had by turning one trait of the ideal: `odd` wants two, and the ideal needs `loud`.
AWKWARD = """
policy: awkward
description: Rules that the traits do not match.
classes: [best, plain, odd]
unlabelled: error
response_types:
  only:
    description: One.
    good: [warm]
    bad: [loud, cold]
    features: {propositions: [warm, loud, cold, extra]}
propositions:
  warm: {question: "Warm?", definition: "Is it."}
  loud: {question: "Loud?", definition: "Is it."}
  cold: {question: "Cold?", definition: "Is it."}
  extra: {question: "Extra?", definition: "Is it."}
rules:
  only:
    best: {warm: true, loud: true}
    plain: [{warm: true, loud: false}, {warm: false, loud: true}, {warm: false, loud: false, cold: false}]
    odd: {warm: false, loud: false, cold: true}
"""


@pytest.fixture(scope="module")
def awkward() -> ResponseType:
    return parse(AWKWARD, "awkward.yaml").response_types["only"]


def sample(kind: ResponseType, name: str, seed: int) -> briefs.Brief:
    return briefs.sample(kind, name, np.random.default_rng(seed))


@pytest.mark.parametrize("policy", SHIPPED, ids=lambda policy: policy.name)
def test_the_ideal_has_all_good_traits_and_no_bad_one(policy: Policy) -> None:
    for kind in policy.response_types.values():
        found = briefs.ideal(kind)
        assert tuple(found) == kind.propositions
        assert briefs.class_of(kind, found) == kind.classes[0]
        assert {name for name, value in found.items() if value} == kind.good.intersection(kind.propositions)


@pytest.mark.parametrize(("kind", "name"), CELLS)
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, others=st.randoms(use_true_random=False))
def test_what_must_be_decides_the_class(
    kind: ResponseType, name: str, seed: int, others: random.Random
) -> None:
    brief = sample(kind, name, seed)
    assert (brief.kind, brief.rank_class) == (kind, name)
    assert {*brief.must, *brief.rest} == {*kind.propositions}
    assert brief.must.keys().isdisjoint(brief.rest)
    assert briefs.class_of(kind, brief.must | brief.rest) == name
    for _ in range(20):
        completed = brief.must | {p: others.random() < 0.5 for p in brief.rest}
        assert briefs.class_of(kind, completed) == name


@pytest.mark.parametrize(("kind", "name"), CELLS)
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_a_flawed_one_is_the_ideal_with_few_traits_turned(kind: ResponseType, name: str, seed: int) -> None:
    brief, best = sample(kind, name, seed), briefs.ideal(kind)
    turned = {p for p, value in (brief.must | brief.rest).items() if value != best[p]}
    if name == kind.classes[0]:
        assert not turned
        assert {*brief.rest}.isdisjoint({*kind.diagram.variables, *kind.good, *kind.bad})
    else:
        assert 1 <= len(turned) <= 1 + briefs.MOST_EXTRA
        assert turned <= brief.must.keys()


@pytest.mark.parametrize(("kind", "name"), CELLS)
def test_nothing_that_must_be_can_be_spared_but_what_was_turned(kind: ResponseType, name: str) -> None:
    best = briefs.ideal(kind)
    if name == kind.classes[0]:
        return
    for seed in range(20):
        brief = sample(kind, name, seed)
        for spared in (p for p, value in brief.must.items() if value == best[p]):
            known = {p: value for p, value in brief.must.items() if p != spared}
            p = kind.diagram.of_row([float(known.get(v, 0.5)) for v in kind.diagram.variables])
            assert p[kind.classes.index(name)] < 1, spared


def test_the_same_seed_gives_the_same_brief(safety: Policy) -> None:
    kind = safety.response_types["soft_refusal_2"]
    assert [sample(kind, "unacceptable", 3) for _ in range(2)] == [sample(kind, "unacceptable", 3)] * 2
    assert len({str(sample(kind, "unacceptable", seed)) for seed in range(40)}) > 20


def test_every_way_to_fall_short_is_taken(safety: Policy) -> None:
    kind = safety.response_types["hard_refusal"]
    best, found = briefs.ideal(kind), set()
    for seed in range(400):
        must = sample(kind, "minimum_acceptable", seed).must
        found |= {name for name, value in must.items() if value != best[name]}
    assert found == {name for name in best if name in kind.bad} - {"illogical_continuation_of_prompt"}


def test_rules_that_the_traits_do_not_match(awkward: ResponseType) -> None:
    assert briefs.ideal(awkward) == {"warm": True, "loud": True, "cold": False, "extra": False}
    for seed in range(30):
        brief = sample(awkward, "odd", seed)
        assert brief.must == {"warm": False, "loud": False, "cold": True}
    for name, seed in product(awkward.classes, range(30)):
        brief = sample(awkward, name, seed)
        assert briefs.class_of(awkward, brief.must | brief.rest) == name
